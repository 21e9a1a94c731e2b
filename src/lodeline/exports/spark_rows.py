"""Row lineage of a whole archive, composed by Spark: the rows behind, or ahead of, some rows.

    spark-submit spark_rows.py ARCHIVE --id dataset:NS:NAME#VERSION [--rows 3,17] --out FOLDER

The archive is what `lodeline export --format parquet` writes, its tables Parquet or Delta. The
answer is a table (`dataset`, `version`, `row`; `row` null for a model), the same rows that
`lodeline rows` gives of the store. Nothing of Lodeline is imported, so that a cluster needs this
file alone.

Steps are few and their graph is walked in the driver; links are many and stay in Spark. Every node
is computed once, from all that lead to it: what comes first in the graph comes first in the plan.
Only where a file was written over with the same bytes do steps form a cycle, which is walked round
until nothing is new.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

Frame = Any  # pyspark.sql.DataFrame; Spark is whoever's cluster it runs on.


class Node(NamedTuple):
    """A dataset or model at a version."""

    name: str
    version: str


class Step(NamedTuple):
    """One step, as `row_steps` has it; equal ones of several runs are one."""

    input: Node
    output: Node
    shape: str
    rows: int
    start: int
    total: int
    links: str | None


@dataclass
class Answer:
    """Rows by node; `None` stands for the whole of a model, or of the root."""

    rows: dict[Node, Frame | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class Archive:
    """The tables of an archive.

    Args:
        spark: a session.
        folder: of the archive; anything that Spark reads, or a local folder of Delta tables.
    """

    def __init__(self, spark: Any, folder: str) -> None:
        self.spark = spark
        self.folder = folder.rstrip("/")
        self._links: Frame | None = None
        self._known: set[str | None] = set()

    def table(self, name: str) -> Frame:
        """Read a table."""
        path = f"{self.folder}/{name}"
        reader = self.spark.read.option("basePath", path)
        if (Path(path) / "_delta_log").is_dir():
            from deltalake import DeltaTable

            return reader.parquet(*DeltaTable(path).file_uris())
        return reader.parquet(path)

    def steps(self) -> list[Step]:
        """Collect all steps, each once."""
        columns = ("input", "input_version", "output", "output_version")
        others = ("shape", "rows", "start", "count", "links")
        found = self.table("row_steps").select(*columns, *others).distinct().collect()
        return [Step(Node(*row[:2]), Node(*row[2:4]), *row[4:]) for row in found]

    def links_of(self, step: Step) -> Frame | None:
        """Give a step's links; `None` where the archive has them not."""
        if self._links is None:
            try:
                self._links = self.table("row_links")
            except Exception as error:
                if "PATH_NOT_FOUND" not in str(error):
                    raise
                self._known = set()  # No step of this archive has a block.
                return None
            self._known = {row[0] for row in self._links.select("links").distinct().collect()}
        return (
            self._links.where(self._links.links == step.links)
            if step.links in self._known
            else None
        )


def compose(
    archive: Archive, root: Node, rows: Iterable[int] | None = None, *, back: bool = True
) -> Answer:
    """Find the rows behind, or ahead of, some rows of a root.

    Args:
        archive: whose steps.
        root: at its version.
        rows: of the root; `None` for all of it.
        back: towards sources, else towards what was made.
    """
    steps = archive.steps()
    ahead: dict[Node, list[Step]] = defaultdict(list)
    for step in steps:
        ahead[step.output if back else step.input].append(step)
    walk = _Walk(archive, back=back)
    start = None if rows is None else _numbers(archive.spark, rows)
    walk.answer.rows[root] = start
    for component in ordered(root, ahead, back=back):
        walk.leave(component, ahead)
    return walk.answer


class _Walk:
    def __init__(self, archive: Archive, *, back: bool) -> None:
        self.archive = archive
        self.back = back
        self.answer = Answer()

    def leave(self, component: Sequence[Node], ahead: Mapping[Node, Sequence[Step]]) -> None:
        """Follow all steps that leave some nodes; those of a cycle until nothing is new."""
        inside = set(component)
        before = -1
        while True:
            for node in component:
                if node in self.answer.rows:
                    for step in ahead.get(node, ()):
                        self._follow(step, node)
            far = {step.input if self.back else step.output for one in component
                   for step in ahead.get(one, ())}  # fmt: skip
            for node in far:
                self._settle(node)
            if not inside & far:
                return
            found = [self.answer.rows.get(node) for node in component]
            size = sum(frame.count() for frame in found if frame is not None)
            if size == before:
                return
            before = size

    def _follow(self, step: Step, node: Node) -> None:
        far = step.input if self.back else step.output
        reached = self._reached(step, self.answer.rows[node])
        if reached is None:
            return
        if far.name.startswith("model:"):
            if far not in self.answer.rows and not reached.isEmpty():
                self.answer.rows[far] = None
            return
        known = self.answer.rows.get(far)
        if far in self.answer.rows and known is None:
            return
        self.answer.rows[far] = reached if known is None else known.union(reached)

    def _settle(self, node: Node) -> None:
        """Take each row of a node once; computed once, for the steps beyond and for the answer."""
        frame = self.answer.rows.get(node)
        if frame is not None:
            self.answer.rows[node] = frame.distinct().persist()

    def _reached(self, step: Step, rows: Frame | None) -> Frame | None:
        from pyspark.sql import functions as F  # noqa: N812  # Spark's own name for it

        spark = self.archive.spark
        near, far = ("output_row", "input_row") if self.back else ("input_row", "output_row")
        if step.shape in {"identity", "range"}:
            if rows is None:
                return spark.range(step.rows).select(
                    (F.col("id") + (step.start if self.back else 0)).alias("row")
                )
            given = rows.select(F.col("row").alias("id"))
            if self.back:
                return given.where(given.id < step.rows).select(
                    (given.id + step.start).alias("row")
                )
            found = given.select((given.id - step.start).alias("row"))
            return found.where((found.row >= 0) & (found.row < step.rows))
        if step.links is None:
            members = spark.range(step.start, step.start + step.total).toDF("input_row")
            links = members.withColumn("output_row", F.lit(None).cast("long"))
        else:
            stored = self.archive.links_of(step)
            if stored is None:
                self.answer.missing.append(step.links)
                return None
            links = stored
        if step.shape == "set":
            if self.back:
                return links.select(F.col("input_row").alias("row"))
            hit = links if rows is None else links.join(rows, links.input_row == rows.row)
            return hit.limit(1).select(F.lit(0).cast("long").alias("row"))
        if rows is not None:
            links = links.join(rows, links[near] == rows.row)
        return links.select(F.col(far).alias("row"))


def ordered(root: Node, ahead: Mapping[Node, Sequence[Step]], *, back: bool) -> list[list[Node]]:
    """Give the nodes that can be reached so that each comes after all that lead to it.

    Nodes that lead to each other come together (Tarjan's strongly connected components, 1972).
    """
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    components: list[list[Node]] = []
    work: list[tuple[Node, int]] = [(root, 0)]
    while work:
        node, at = work.pop()
        if at == 0:
            index[node] = low[node] = len(index)
            stack.append(node)
        far = [step.input if back else step.output for step in ahead.get(node, ())]
        if at:
            low[node] = min(low[node], low[far[at - 1]])
        for i in range(at, len(far)):
            if far[i] not in index:
                work += [(node, i + 1), (far[i], 0)]
                break
            if far[i] in stack:
                low[node] = min(low[node], index[far[i]])
        else:
            if low[node] == index[node]:
                place = stack.index(node)
                components.append(stack[place:])
                del stack[place:]
    return components[::-1]


def _numbers(spark: Any, rows: Iterable[int]) -> Frame:
    return spark.createDataFrame([(int(row),) for row in rows], "row long").distinct()


def to_table(archive: Archive, answer: Answer, *, without: Node) -> Frame:
    """Give an answer as one table: dataset, version, row."""
    from pyspark.sql import functions as F  # noqa: N812  # Spark's own name for it

    table = archive.spark.createDataFrame([], "dataset string, version string, row long")
    for node, rows in answer.rows.items():
        if node == without or node.name.startswith("dataset:memory:"):
            continue
        told = archive.spark.sql("SELECT CAST(NULL AS long) AS row") if rows is None else rows
        named = (F.lit(node.name).alias("dataset"), F.lit(node.version).alias("version"), "row")
        table = table.union(told.select(*named))
    return table


def main(given: Sequence[str] | None = None) -> int:
    """Answer one question; exit 3 where links are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive")
    parser.add_argument("--id", required=True, help="dataset or model, with its version")
    parser.add_argument("--rows", help="row numbers, separated by commas; all without")
    parser.add_argument("--forward", action="store_true", help="what was made, not sources")
    parser.add_argument("--out", required=True, help="folder of the answer")
    parser.add_argument("--delta", action="store_true", help="make the answer a Delta table")
    options = parser.parse_args(given)
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName("lodeline rows").getOrCreate()
    archive = Archive(spark, options.archive)
    name, _, version = options.id.partition("#")
    rows = None if options.rows is None else [int(part) for part in options.rows.split(",")]
    root = Node(name, unquote(version))
    answer = compose(archive, root, rows, back=not options.forward)
    to_table(archive, answer, without=root).write.mode("overwrite").parquet(options.out)
    if options.delta:
        from deltalake import convert_to_deltalake

        convert_to_deltalake(options.out)
    for links in sorted(set(answer.missing)):
        sys.stderr.write(f"not in the archive: links {links}\n")
    spark.stop()
    return 3 if answer.missing else 0


if __name__ == "__main__":
    sys.exit(main())
