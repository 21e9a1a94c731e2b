"""Rows of PostgreSQL through each driver: a table into a table, and tables into frames and files."""

import importlib
import json
import os
import warnings

import pandas as pd
from sqlalchemy import create_engine

warnings.filterwarnings("ignore", message="pandas only supports SQLAlchemy")


def state(c):
    return c.info.transaction_status, len(getattr(c, "notices", ()) or ())


def follow(driver, dsn, url):
    name_of = driver.__name__
    c = driver.connect(dsn)
    cur = c.cursor()

    def read(name, query, **options):
        frame = pd.read_sql(query, c, **options)
        frame.to_parquet(f"{name_of}-{name}.parquet")
        print(name, state(c), frame.astype(str).values.tolist())

    cur.execute("CREATE TABLE customers (id int PRIMARY KEY, name text, country text)")
    cur.execute("CREATE TABLE orders (id bigint, customer int, amount numeric, PRIMARY KEY (id))")
    cur.execute("CREATE TABLE lines (order_id bigint, place int, PRIMARY KEY (order_id, place))")
    cur.execute("CREATE TABLE unkeyed (a int)")
    cur.execute("CREATE TABLE totals (customer int PRIMARY KEY, n int, total numeric(12, 1))")
    cur.execute("INSERT INTO customers SELECT n, 'name ' || n, CASE WHEN n < 4 THEN 'at' ELSE 'it' END "
                "FROM generate_series(1, 5) AS n")  # fmt: skip
    cur.execute(
        "INSERT INTO orders SELECT 100 + n, n % 6, n * 1.5 FROM generate_series(0, 19) AS n"
    )
    cur.execute("INSERT INTO lines SELECT 100 + n, p FROM generate_series(0, 9) AS n, "
                "generate_series(1, 2) AS p")  # fmt: skip
    cur.execute("INSERT INTO unkeyed VALUES (1), (2)")
    c.commit()

    cur.execute(
        "INSERT INTO totals SELECT o.customer, count(*), sum(o.amount) FROM orders AS o "
        "JOIN customers AS k ON k.id = o.customer WHERE o.amount > %s GROUP BY o.customer",
        [2],
    )
    print(cur.rowcount, cur.statusmessage, state(c))
    c.commit()
    cur.execute("SELECT * FROM totals ORDER BY customer")
    print(cur.fetchall(), state(c))
    c.rollback()

    read("filtered", "SELECT id, amount FROM orders WHERE amount > 20 ORDER BY id DESC")
    read("joined", "SELECT k.name, l.place, o.id FROM orders AS o JOIN customers AS k "
         "ON k.id = o.customer LEFT JOIN lines AS l ON l.order_id = o.id WHERE o.id < 104")  # fmt: skip
    c.commit()
    read("grouped", "SELECT country, count(*) FROM customers WHERE id IN "
         "(SELECT customer FROM orders WHERE amount > %(least)s) GROUP BY country",
         params={"least": 25})  # fmt: skip
    c.commit()
    c.autocommit = True
    read("alone", "SELECT id FROM customers WHERE id > 4")
    read("unkeyed", "SELECT a FROM unkeyed")
    read("tied", "SELECT amount FROM orders ORDER BY customer LIMIT 2")
    read("moment", "SELECT id FROM orders WHERE now() > '2000-01-01'")
    c.autocommit = False
    cur.execute("UPDATE totals SET n = 0 WHERE customer = 1")
    cur.execute("CREATE TABLE made AS SELECT id FROM orders")
    c.commit()
    try:
        cur.execute("INSERT INTO totals SELECT customer, 1, 1 FROM orders")
    except driver.Error as error:
        print(type(error).__name__, state(c))
    c.rollback()


def follow_engine(driver, url):
    engine = create_engine(url)
    frame = pd.read_sql("SELECT id, name FROM customers WHERE id > 3", engine)
    frame[frame.id > 4].to_parquet(f"{driver}-engine.parquet")
    print(frame.values.tolist())


for name, dsn, url in json.loads(os.environ["DATABASES"]):
    follow(importlib.import_module(name), dsn, url)
    follow_engine(name, url)
