"""One query for each operator, with the links that docs/explanation/rows.md states for it.

None: the query is refused, with the operator's name. "gap": its own rows are linked, and it says
what is not. `DUCKDB_GRAMMAR` has no PostgreSQL spelling.
"""

from __future__ import annotations

from typing import Any, Final

Links = dict[tuple[Any, ...], set[str]]

# t: a = 0…5 in rows 0…5, b = a % 3. u: a = 0, 2, 4 and c = 0, 1, 2 in rows 0, 1, 2.
CASES: Final[dict[str, tuple[str, Links | str | None]]] = {
    "filter": ("SELECT a FROM t WHERE a > 4", {(5,): {"t5"}}),
    "inner join": ("SELECT t.a FROM t JOIN u ON t.a = u.c WHERE u.c > 1", {(2,): {"t2", "u2"}}),
    "outer join": (
        "SELECT t.a, u.c FROM t LEFT JOIN u ON t.a = u.a WHERE t.a < 2",
        {(0, 0): {"t0", "u0"}, (1, None): {"t1"}},
    ),
    "full join": (
        "SELECT t.a, u.c FROM t FULL JOIN u ON t.a = u.c + 4 WHERE t.a IS NULL OR t.a > 4",
        {(5, 1): {"t5", "u1"}, (None, 2): {"u2"}},
    ),
    "group by": ("SELECT b, sum(a) AS s FROM t GROUP BY b HAVING b > 1", {(2, 7): {"t2", "t5"}}),
    "grouping sets": (
        "SELECT b, count(*) AS n FROM t WHERE b = 2 GROUP BY ROLLUP (b)",
        {(2, 2): {"t2", "t5"}, (None, 2): {"t2", "t5"}},
    ),
    "distinct": ("SELECT DISTINCT b FROM t WHERE a IN (1, 4)", {(1,): {"t1", "t4"}}),
    "union all": (
        "SELECT a FROM t WHERE a > 4 UNION ALL SELECT c FROM u WHERE c > 1",
        {(5,): {"t5"}, (2,): {"u2"}},
    ),
    "union": (
        "SELECT a FROM t WHERE a = 2 UNION SELECT c FROM u WHERE c > 1", {(2,): {"t2", "u2"}}
    ),
    "order and limit": ("SELECT a FROM t ORDER BY a DESC LIMIT 1", {(5,): {"t5"}}),
    "common table expression": (
        "WITH x AS (SELECT a FROM t WHERE a > 4) SELECT a FROM x", {(5,): {"t5"}}
    ),
    "limit without order": ("SELECT t.a FROM t JOIN u ON t.a = u.a LIMIT 5", None),
    "random": ("SELECT a, random() AS r FROM t", None),
    # Of all rows, or no test could say which.
    "sample": ("SELECT a FROM t TABLESAMPLE BERNOULLI (100 PERCENT) WHERE a > 4", {(5,): {"t5"}}),
    "sample with a seed over a join": (
        "SELECT s.a FROM (SELECT t.a FROM t, u) AS s TABLESAMPLE BERNOULLI (100) REPEATABLE (1)",
        None,
    ),
    "pivot": (
        "SELECT * FROM t PIVOT (sum(a) FOR b IN (0, 1))",
        {(3, 5): {"t0", "t1", "t2", "t3", "t4", "t5"}},
    ),
    "pivot of values not listed": ("PIVOT t ON b USING sum(a)", None),
    "unpivot": (
        "SELECT v FROM t UNPIVOT (v FOR n IN (a, b)) WHERE v > 3",
        {(4,): {"t4"}, (5,): {"t5"}},
    ),
    "asof join": (
        "SELECT t.a, u.c FROM t ASOF JOIN u ON t.a >= u.a WHERE t.a > 2",
        {(3, 1): {"t3", "u1"}, (4, 2): {"t4", "u2"}, (5, 2): {"t5", "u2"}},
    ),
    "positional join": (
        "SELECT t.a, u.c FROM t POSITIONAL JOIN u WHERE t.a > 1 AND t.a < 4",
        {(2, 2): {"t2", "u2"}, (3, None): {"t3"}},
    ),
    "recursive, distinct": (
        ("WITH RECURSIVE r(n) AS (SELECT a FROM t WHERE a > 2 UNION SELECT n - 2 FROM r WHERE n > 3) "
        "SELECT n FROM r"),
        {(2,): {"t4"}, (3,): {"t3", "t5"}, (4,): {"t4"}, (5,): {"t5"}},
    ),
    "sub-query with a limit": ("SELECT a FROM t WHERE a IN (SELECT c FROM u LIMIT 3)", "gap"),
    "exists": (
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a < t.a AND u.c > 0)",
        {(3,): {"t3", "u1"}, (4,): {"t4", "u1"}, (5,): {"t5", "u1", "u2"}},
    ),
    "not exists": (
        "SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a >= t.a)",
        {(5,): {"t5"}},
    ),
    "in": ("SELECT a FROM t WHERE a IN (SELECT c FROM u) AND a > 0", {(1,): {"t1", "u1"}, (2,): {"t2", "u2"}}),
    "not in": ("SELECT a FROM t WHERE a NOT IN (SELECT c FROM u) AND a < 4", {(3,): {"t3"}}),
    "any": ("SELECT a FROM t WHERE a > ANY (SELECT a FROM u WHERE c > 0) AND a < 4", {(3,): {"t3", "u1"}}),
    "all": ("SELECT a FROM t WHERE a > ALL (SELECT a FROM u)", {(5,): {"t5"}}),
    "semi join": (
        "SELECT t.a FROM t SEMI JOIN u ON t.a = u.c WHERE t.a > 1",
        {(2,): {"t2", "u2"}},
    ),
    "semi join using": ("SELECT b FROM t SEMI JOIN u USING (a) WHERE a > 3", {(1,): {"t4", "u2"}}),
    "anti join": ("SELECT t.a FROM t ANTI JOIN u ON t.a >= u.c + 1", {(0,): {"t0"}}),
    "scalar": (
        "SELECT a, (SELECT c FROM u WHERE u.a = t.a) AS c FROM t WHERE a < 3",
        {(0, 0): {"t0", "u0"}, (1, None): {"t1"}, (2, 1): {"t2", "u1"}},
    ),
    "scalar aggregate": (
        "SELECT a FROM t WHERE a > (SELECT max(a) FROM u)",
        {(5,): {"t5", "u0", "u1", "u2"}},
    ),
    "case": (
        "SELECT CASE WHEN a < 1 THEN (SELECT min(c) FROM u) ELSE a END AS v FROM t WHERE a < 2",
        {(0,): {"t0", "u0", "u1", "u2"}, (1,): {"t1"}},
    ),
    "having": (
        "SELECT b FROM t GROUP BY b HAVING sum(a) > (SELECT sum(a) FROM u WHERE c < 2)",
        {(0,): {"t0", "t3", "u0", "u1"}, (1,): {"t1", "t4", "u0", "u1"}, (2,): {"t2", "t5", "u0", "u1"}},
    ),
    "window": (
        "SELECT a, sum(a) OVER (PARTITION BY b ORDER BY a) AS s FROM t WHERE b = 1",
        {(1, 1): {"t1"}, (4, 5): {"t1", "t4"}},
    ),
    "rank": (
        "SELECT a, rank() OVER (ORDER BY b) AS r FROM t WHERE a IN (1, 2, 4)",
        {(1, 1): {"t1", "t4"}, (4, 1): {"t1", "t4"}, (2, 3): {"t1", "t2", "t4"}},
    ),
    "lag": (
        "SELECT a, lag(a) OVER (ORDER BY a) AS l FROM t WHERE a < 3",
        {(0, None): {"t0"}, (1, 0): {"t0", "t1"}, (2, 1): {"t1", "t2"}},
    ),
    "ignore nulls": (
        ("SELECT a, last_value(CASE WHEN b = 1 THEN a END IGNORE NULLS) OVER (ORDER BY a) AS l "
        "FROM t WHERE a IN (1, 2, 3)"),
        {(1, 1): {"t1"}, (2, 1): {"t1", "t2"}, (3, 1): {"t1", "t3"}},
    ),
    "qualify": (
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY a DESC) = 1",
        {(3,): {"t3"}, (4,): {"t4"}, (5,): {"t5"}},
    ),
    # The row that a window sees is the one of FROM, without what SELECT looks up for it.
    "window beside a sub-query": (
        ("SELECT (SELECT max(c) FROM u WHERE u.a = t.a) AS m, sum(a) OVER (ORDER BY a) AS s "
        "FROM t WHERE a < 3"),
        {(0, 0): {"t0", "u0"}, (None, 1): {"t0", "t1"}, (1, 3): {"t0", "t1", "t2", "u1"}},
    ),
    "named window": (
        "SELECT a, count(*) OVER w AS n FROM t WHERE b = 2 WINDOW w AS (PARTITION BY b)",
        {(2, 2): {"t2", "t5"}, (5, 2): {"t2", "t5"}},
    ),
    "intersect": ("SELECT b FROM t INTERSECT SELECT c FROM u WHERE c > 1", {(2,): {"t2", "t5", "u2"}}),
    "intersect all": (
        "SELECT b FROM t WHERE b > 1 INTERSECT ALL SELECT c FROM u", {(2,): {"t2", "t5", "u2"}}
    ),
    "except": ("SELECT b FROM t EXCEPT SELECT c FROM u WHERE c < 2", {(2,): {"t2", "t5"}}),
    "except all": (
        "SELECT b FROM t WHERE b > 1 EXCEPT ALL SELECT c FROM u", {(2,): {"t2", "t5"}}
    ),
    "distinct on": (
        "SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a DESC",
        {(0, 3): {"t3"}, (1, 4): {"t4"}, (2, 5): {"t5"}},
    ),
    "lateral": (
        ("SELECT t.a, s.c FROM t, LATERAL (SELECT c FROM u WHERE u.a <= t.a ORDER BY c DESC LIMIT 1) AS s "
        "WHERE t.a IN (1, 3)"),
        {(1, 0): {"t1", "u0"}, (3, 1): {"t3", "u1"}},
    ),
    "recursive": (
        ("WITH RECURSIVE r(n, d) AS (SELECT a, 0 FROM t WHERE a = 4 UNION ALL "
        "SELECT u.c, d + 1 FROM r JOIN u ON u.a = r.n AND d < 2) SELECT n, d FROM r"),
        {(4, 0): {"t4"}, (2, 1): {"t4", "u2"}, (1, 2): {"t4", "u2", "u1"}},
    ),
    "one row joined": (
        "SELECT t.a, m.s FROM t, (SELECT sum(c) AS s FROM u) AS m WHERE t.a = 5",
        {(5, 3): {"t5", "u0", "u1", "u2"}},
    ),
    "in a group": (
        "SELECT a FROM t WHERE b IN (SELECT c FROM u GROUP BY c HAVING count(*) > 0) AND a = 4",
        {(4,): {"t4", "u1"}},
    ),
}  # fmt: skip

DUCKDB_GRAMMAR: Final = frozenset(
    {"semi join", "semi join using", "anti join", "ignore nulls", "qualify", "pivot"}
    | {"pivot of values not listed", "unpivot", "asof join", "positional join"}
    | {"sample with a seed over a join"}
)

# How PostgreSQL writes what it spells otherwise.
POSTGRES_SPELLING: Final = {"sample": "SELECT a FROM t TABLESAMPLE BERNOULLI (100) WHERE a > 4"}


# What Spark writes otherwise.
SPARK_SPELLING: Final = {
    "sample": "SELECT a FROM t TABLESAMPLE (100 PERCENT) WHERE a > 4",
    "sample with a seed over a join": (
        "SELECT s.a FROM (SELECT t.a FROM t, u) TABLESAMPLE (100 PERCENT) REPEATABLE (1) AS s"
    ),
    "ignore nulls": (
        "SELECT a, last_value(CASE WHEN b = 1 THEN a END) IGNORE NULLS OVER (ORDER BY a) AS l "
        "FROM t WHERE a IN (1, 2, 3)"
    ),
}
# What Spark has no grammar for.
NOT_SPARK: Final = frozenset(
    {"pivot of values not listed", "asof join", "positional join", "recursive, distinct"}
    | {"any", "all", "distinct on"}
)
# Those that it takes since Spark 4 only.
SPARK_4: Final = frozenset({"recursive", "qualify", "scalar", "lateral"})
SPARK_GAPS: Final = frozenset({"pivot", "unpivot"})


def spark_text(name: str) -> str:
    """Give a case as Spark writes it."""
    return SPARK_SPELLING.get(name, CASES[name][0])


def spark_cell(name: str, version: str = "4") -> str:
    """Say what is followed on a release of Spark."""
    if name in NOT_SPARK or (name in SPARK_4 and version.startswith("3")):
        return "not applicable"
    exact = isinstance(CASES[name][1], dict) and name not in SPARK_GAPS
    return "exact" if exact else "gap"


def iter_table() -> list[str]:
    """Write the table of operators and engines."""
    rows = ["| Operator | DuckDB | PostgreSQL | Spark SQL |", "|---|---|---|---|"]
    for name, (_, links) in CASES.items():
        said = "exact" if isinstance(links, dict) else "gap"
        other = "not applicable" if name in DUCKDB_GRAMMAR else said
        rows.append(f"| {name} | {said} | {other} | {spark_cell(name)} |")
    return rows
