"""Statements through psycopg_async."""

import asyncio
import os

import psycopg


async def main():
    async with await psycopg.AsyncConnection.connect(os.environ["DSN"]) as c:
        await c.execute("CREATE TABLE a1 (x int)")
        async with c.cursor() as cur:
            await cur.executemany("INSERT INTO a1 VALUES (%s)", [(1,), (2,)])
            async with cur.copy("COPY a1 FROM STDIN") as copy:
                await copy.write_row((3,))
        async with c.transaction():
            await c.execute("CREATE TABLE a2 AS SELECT x FROM a1")
        async with c.cursor() as cur:
            print([row async for row in cur.stream("SELECT * FROM a2")])


asyncio.run(main())
