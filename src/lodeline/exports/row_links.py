"""Rows in the archive: the steps that runs recorded, and the links of each, spelled out.

    DIR/row_steps/date=YYYY-MM-DD/*.parquet   every step, by the event that states it
    DIR/row_links/links=KEY/*.parquet         output and input row of every link of one block

Blocks are compact and Lodeline's own; an archive is for engines that know only tables. A step names
its links by `links`; several steps may name the same. Steps of the shapes `identity` and `range`,
and sets of all rows, have none: `rows`, `start` and `count` say it all. Of a set `output_row` is
null: its rows went into the whole output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lodeline.errors import MissingLinksError, StoreCorruptError
from lodeline.exports.exporting import Exporting, day_of
from lodeline.limits import ARCHIVE_ROWS_MAX
from lodeline.rows.links import LinkReader
from lodeline.rows.steps import StoredStep, fold_steps, iter_stored_steps

if TYPE_CHECKING:
    import pyarrow as pa

_KEY: Final = re.compile(r"[0-9a-f]{64}-(array|lists|bitmaps|set)")


def key_of(step: StoredStep) -> str | None:
    """Name the links of a step; `None` where its shape says them."""
    return f"{step.digest.removeprefix('sha256:')}-{step.form}" if step.digest else None


def step_schema() -> pa.Schema:
    """Columns of `row_steps`."""
    import pyarrow as pa

    texts = ("run", "operator", "input", "input_version", "output", "output_version", "shape")
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.int64()) for name in ("rows", "start", "count")),
            ("links", pa.string()),
            ("gaps", pa.list_(pa.string())),
            ("event_time", pa.timestamp("us", tz="UTC")),
            ("position", pa.int64()),
        ]
    )


def step_rows(export: Exporting) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the steps that the export covers, each with its day."""
    fold_steps(export.segment)
    with export.segment.reading() as connection:
        for position, time_us, step in iter_stored_steps(connection, export.since, export.size):
            yield (
                day_of(time_us),
                {
                    "run": step.run_id,
                    "operator": step.operator,
                    "input": str(step.input.at("")),
                    "input_version": step.input.version,
                    "output": str(step.output.at("")),
                    "output_version": step.output.version,
                    "shape": step.shape,
                    "rows": step.rows,
                    "start": step.start,
                    "count": step.count,
                    "links": key_of(step),
                    "gaps": [f"{operator}: {detail}" for operator, detail in step.gaps],
                    "event_time": time_us,
                    "position": position,
                },
            )


def write_links(folder: Path, export: Exporting) -> list[Path]:
    """Write the links of the steps that the export covers; a block that is not here is left out.

    Returns:
        The files written.
    """
    fold_steps(export.segment)
    reader = LinkReader(export.segment)
    files: list[Path] = []
    missing: set[str] = set()
    with export.segment.reading() as connection:
        steps = [step for _, _, step in iter_stored_steps(connection, export.since, export.size)]
    for step in steps:
        key = key_of(step)
        if key is None:
            continue
        if not _KEY.fullmatch(key):
            # What a producer calls its links must not choose where they lie.
            missing.add(key)
            continue
        path = folder / f"links={key}" / "links.parquet"
        if path.exists():
            continue
        try:
            links = reader.block(step).whole()
        except (MissingLinksError, StoreCorruptError):
            missing.add(key)  # On its way, or kept no longer: a question meets the same gap.
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.part")
        _write_pairs(unfinished, links)
        unfinished.replace(path)
        files.append(path)
    export.left_out.blocks = len(missing)
    return files


def _write_pairs(path: Path, links: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("output_row", pa.int64()), ("input_row", pa.int64())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, links.rows, ARCHIVE_ROWS_MAX):
            outputs, inputs = links.pairs(first, min(first + ARCHIVE_ROWS_MAX, links.rows))
            if outputs is None:
                outputs = pa.nulls(len(inputs), pa.int64())
            writer.write_table(pa.table([outputs, inputs], schema=schema))
