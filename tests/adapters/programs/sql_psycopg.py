"""Statements through psycopg."""

import os

import psycopg

dsn = os.environ["DSN"]
with psycopg.connect(dsn) as c:
    c.execute("CREATE SCHEMA IF NOT EXISTS shop")
    c.execute("CREATE TABLE shop.orders (id serial PRIMARY KEY, amount float8, customer text)")
    c.execute("SET search_path = shop, public")
    with c.cursor() as cur:
        cur.executemany(
            "INSERT INTO orders (amount, customer) VALUES (%s, %s)", [(1.5, "Ann"), (2.5, "Bob")]
        )
        with cur.copy("COPY orders (amount, customer) FROM STDIN") as copy:
            copy.write_row((3.5, "Cyd"))
    c.execute(
        "CREATE TABLE totals AS SELECT customer, sum(amount) AS total FROM orders WHERE customer <> 'secret' GROUP BY customer"
    )
c = psycopg.connect(dsn, options="-c search_path=shop,public")
c.execute(
    "INSERT INTO totals SELECT customer, amount FROM orders WHERE amount > %(least)s", {"least": 2}
)
c.rollback()
try:
    c.execute("INSERT INTO totals SELECT nothing FROM orders")
except psycopg.Error as e:
    print(type(e).__name__)
c.rollback()
with c.transaction():
    c.execute("CREATE VIEW big AS SELECT customer, amount FROM orders WHERE amount > 2")
    try:
        with c.transaction():
            c.execute("DELETE FROM totals")
            int("no number")
    except ValueError:
        print("undone")
c.execute("CREATE TEMP TABLE t AS SELECT customer, amount * 2 AS twice FROM big")
c.execute("UPDATE totals SET total = t.twice FROM t WHERE t.customer = totals.customer")
c.execute("CREATE TABLE old (LIKE orders)")
c.execute(
    "WITH moved AS (DELETE FROM orders WHERE amount > 3 RETURNING *) INSERT INTO old SELECT * FROM moved"
)
c.execute("CREATE FUNCTION twice(x float8) RETURNS float8 LANGUAGE sql AS 'SELECT x * 2'")
c.commit()
c.execute("SELECT twice(amount) FROM orders").fetchall()
c.execute("DO $$ BEGIN PERFORM 1; END $$")
c.commit()
cur = c.cursor()
with open("out.csv", "wb") as f, cur.copy("COPY (SELECT * FROM totals) TO STDOUT") as copy:
    f.writelines(copy)
for row in c.cursor("named").execute("SELECT * FROM old"):
    print(row)
print(c.info.transaction_status)
