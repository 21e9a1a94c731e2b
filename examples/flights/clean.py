"""Join what is known of each flight: schedule, weather at departure, plane, destination.

Flights that never arrived (cancelled, diverted) have no arrival delay and are left out. Weather,
planes and airports are joined from the left: a flight without them is still a flight.
"""

import duckdb

CLEAN = """
COPY (
    SELECT
        strftime(make_date(flights.year, flights.month, flights.day), '%Y-%m-%d')
            || '-' || flights.carrier || flights.flight || '-' || flights.origin AS flight_id,
        make_date(flights.year, flights.month, flights.day) AS day,
        flights.carrier,
        flights.tailnum,
        flights.origin,
        flights.dest,
        flights.origin || '-' || flights.dest AS route,
        flights.month,
        flights.sched_dep_time // 100 AS sched_hour,
        flights.sched_arr_time // 100 AS sched_arrival_hour,
        flights.distance,
        CAST(flights.arr_delay AS INTEGER) AS arr_delay,
        CAST(flights.arr_delay >= 30 AS INTEGER) AS late30,
        weather.temp,
        weather.humid,
        weather.wind_speed,
        weather.precip,
        weather.pressure,
        weather.visib,
        CAST(planes.year AS INTEGER) AS plane_year,
        planes.seats,
        airports.lat AS dest_lat,
        airports.lon AS dest_lon
    FROM 'data/raw/flights.parquet' AS flights
    LEFT JOIN 'data/raw/weather.parquet' AS weather
        ON weather.origin = flights.origin AND weather.time_hour = flights.time_hour
    LEFT JOIN 'data/raw/planes.parquet' AS planes
        ON planes.tailnum = flights.tailnum
    LEFT JOIN 'data/raw/airports.parquet' AS airports
        ON airports.faa = flights.dest
    WHERE flights.arr_delay IS NOT NULL
    ORDER BY flight_id
) TO 'data/clean.parquet' (FORMAT parquet)
"""


def main() -> None:
    with duckdb.connect() as connection:
        connection.execute(CLEAN)
        total, late = connection.execute(
            "SELECT count(*), sum(late30) FROM 'data/clean.parquet'"
        ).fetchone()
    print(f"clean: {total:,} flights, {late:,} of them 30 minutes late or more")


if __name__ == "__main__":
    main()
