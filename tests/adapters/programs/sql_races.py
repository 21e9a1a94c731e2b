"""Rounds of INSERT on PostgreSQL while another connection commits: `sql_races.py`, DSN in DSN.

Each row that is inserted says itself of which rows it was made: `mask` has a bit for each id.
"""

import os

import psycopg


class Racing(psycopg.Cursor):
    """Has another connection commit right before, or right after, the statement itself."""

    before = after = None

    def _execute_gen(self, *args, **kwargs):
        if Racing.before is not None:
            other.execute(Racing.before)
        found = yield from super()._execute_gen(*args, **kwargs)
        if Racing.after is not None:
            other.execute(Racing.after)
        return found


dsn = os.environ["DSN"]
other = psycopg.connect(dsn, autocommit=True)
other.execute("CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL)")
other.execute("INSERT INTO orders SELECT n, n % 3 FROM generate_series(1, 9) AS n")
for name in ("seen", "asked"):
    other.execute(
        f"CREATE TABLE {name} (customer int, turn int, mask bigint, PRIMARY KEY (turn, customer))"
    )
other.execute("CREATE TABLE numbered (id serial PRIMARY KEY, customer int)")
turn = "UPDATE orders SET customer = (customer + 1) % 3 WHERE id < 5"
connection = psycopg.connect(dsn, cursor_factory=Racing)
for number, (before, after) in enumerate([(None, None), (turn, None), (None, turn)]):
    for name in ("seen", "asked") if number == 0 else ("seen",):
        cursor = connection.cursor()
        Racing.before, Racing.after = before, after
        cursor.execute(
            f"INSERT INTO {name} SELECT customer, {number}, sum(1 << id) FROM orders "
            "GROUP BY customer"
        )
        Racing.before = Racing.after = None
        connection.commit()
for text in (
    "INSERT INTO numbered (customer) SELECT customer FROM orders",
    "INSERT INTO seen SELECT id, 9, 0 FROM orders ON CONFLICT DO NOTHING",
    "CREATE TABLE made AS SELECT id FROM orders",
    "UPDATE numbered SET customer = customer + 1",
    "DELETE FROM numbered WHERE customer = 1",
    "MERGE INTO numbered AS n USING orders AS o ON n.id = o.id WHEN MATCHED THEN DELETE",
):
    connection.execute(text)
    connection.commit()
print(other.execute("SELECT turn, customer, mask FROM seen ORDER BY 1, 2").fetchall())
