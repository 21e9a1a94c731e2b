"""Statements through psycopg2."""

import io
import os

import psycopg2
import psycopg2.extras

c = psycopg2.connect(os.environ["DSN"], cursor_factory=psycopg2.extras.DictCursor)
with c, c.cursor() as cur:
    cur.execute("CREATE TABLE p2 (id int, amount float8)")
    psycopg2.extras.execute_values(cur, "INSERT INTO p2 VALUES %s", [(1, 1.5), (2, 2.5)])
    cur.copy_from(io.StringIO("3\t3.5\n"), "p2")
    cur.execute("SELECT * FROM p2 WHERE id IN %s", ((1, 2),))
    print(cur.fetchall(), type(c))
cur = c.cursor()
cur.execute("CREATE TABLE p3 AS SELECT amount FROM p2")
c.rollback()
cur.execute("CREATE TABLE p4 AS SELECT amount + 1 AS more FROM p2")
c.commit()
