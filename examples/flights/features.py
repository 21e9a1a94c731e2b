"""How did this carrier, this route and this plane do over the seven days before the flight?

In three steps, each kept as a file: totals a day, totals over the seven days *before* each day, and
the flights joined with the latter. Totals a day stay small, and a window over days instead of
flights keeps the same-day flights out: nothing that a flight's features are made of happened on
its own day or later.

Sums and counts are integers and every file is ordered by its key, so a second run writes the same
values in the same order.
"""

import duckdb

GROUPS = {"carrier": "carrier", "route": "route", "plane": "tailnum"}

DAILY = """
COPY (
    SELECT
        {key},
        day,
        count(*) AS flights,
        CAST(sum(late30) AS BIGINT) AS late,
        CAST(sum(arr_delay) AS BIGINT) AS delay
    FROM 'data/clean.parquet'
    WHERE {key} IS NOT NULL
    GROUP BY {key}, day
    ORDER BY {key}, day
) TO 'data/{group}_daily.parquet' (FORMAT parquet)
"""

ROLLING = """
COPY (
    SELECT
        today.{key},
        today.day,
        CAST(sum(before.flights) AS INTEGER) AS {group}_flights_7d,
        sum(before.late) / sum(before.flights) AS {group}_late_rate_7d,
        sum(before.delay) / sum(before.flights) AS {group}_mean_delay_7d
    FROM 'data/{group}_daily.parquet' AS today
    JOIN 'data/{group}_daily.parquet' AS before
        ON before.{key} = today.{key}
        AND before.day >= today.day - 7
        AND before.day < today.day
    GROUP BY today.{key}, today.day
    ORDER BY today.{key}, today.day
) TO 'data/{group}_7d.parquet' (FORMAT parquet)
"""

FEATURES = """
COPY (
    SELECT
        clean.flight_id,
        clean.day,
        clean.carrier,
        clean.origin,
        clean.month,
        isodow(clean.day) AS weekday,
        clean.sched_hour,
        clean.sched_arrival_hour,
        clean.distance,
        clean.dest_lat,
        clean.dest_lon,
        clean.temp,
        clean.humid,
        clean.wind_speed,
        clean.precip,
        clean.pressure,
        clean.visib,
        2013 - clean.plane_year AS plane_age,
        clean.seats,
        carrier_7d.carrier_flights_7d,
        carrier_7d.carrier_late_rate_7d,
        carrier_7d.carrier_mean_delay_7d,
        route_7d.route_flights_7d,
        route_7d.route_late_rate_7d,
        route_7d.route_mean_delay_7d,
        plane_7d.plane_flights_7d,
        plane_7d.plane_late_rate_7d,
        plane_7d.plane_mean_delay_7d,
        clean.late30
    FROM 'data/clean.parquet' AS clean
    LEFT JOIN 'data/carrier_7d.parquet' AS carrier_7d
        ON carrier_7d.carrier = clean.carrier AND carrier_7d.day = clean.day
    LEFT JOIN 'data/route_7d.parquet' AS route_7d
        ON route_7d.route = clean.route AND route_7d.day = clean.day
    LEFT JOIN 'data/plane_7d.parquet' AS plane_7d
        ON plane_7d.tailnum = clean.tailnum AND plane_7d.day = clean.day
    ORDER BY clean.flight_id
) TO 'data/features.parquet' (FORMAT parquet)
"""


def main() -> None:
    with duckdb.connect() as connection:
        for group, key in GROUPS.items():
            connection.execute(DAILY.format(group=group, key=key))
            connection.execute(ROLLING.format(group=group, key=key))
            print(f"{group}: totals a day, and over the seven days before")
        connection.execute(FEATURES)
        (rows,) = connection.execute("SELECT count(*) FROM 'data/features.parquet'").fetchone()
    print(f"features: {rows:,} rows")


if __name__ == "__main__":
    main()
