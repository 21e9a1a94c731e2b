"""Statements through sqlite."""

import csv
import sqlite3

c = sqlite3.connect("shop.db")
print(repr(c).split(" at ")[0], repr(c.cursor()).split(" at ")[0])
c.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount REAL, customer TEXT)")
c.executemany("INSERT INTO orders (amount, customer) VALUES (?, ?)", [(1.5, "Ann"), (2.5, "Bob")])
c.commit()
with c:
    c.execute(
        "CREATE TABLE totals AS SELECT customer, sum(amount) AS total FROM orders WHERE customer <> 'secret' GROUP BY customer"
    )
c.execute("INSERT INTO orders SELECT id + 100, amount, customer FROM orders")
c.rollback()
try:
    c.execute("INSERT INTO nowhere SELECT * FROM orders")
except sqlite3.OperationalError as e:
    print(e)
c.execute("CREATE VIEW big AS SELECT customer, amount FROM orders WHERE amount > 2")
c.execute("CREATE TEMP TABLE t AS SELECT customer, amount * 2 AS twice FROM big")
c.execute("INSERT INTO totals (customer, total) SELECT customer, twice FROM t")
c.execute("UPDATE totals SET total = (SELECT max(amount) FROM orders)")
c.execute("REPLACE INTO orders VALUES (?, ?, ?)", (1, 2, "x"))
c.commit()
with open("out.csv", "w") as f:
    f.write("customer,total\n")
    csv.writer(f).writerows(c.execute("SELECT * FROM totals"))
c.close()
