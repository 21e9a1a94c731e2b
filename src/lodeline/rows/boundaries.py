"""What a model was trained on, composed down to the sources, kept beside the store.

A question about a model walks every step from its training set back to its sources, whole blocks
of them. The answer of one walk is kept in `<store>.rows/`, as a derived block: Parquet with the
rows of each node, under a digest. It is a cache and nothing else: never in the log, made again when
it is not there, and removed whenever rows are erased or expire.

It is used only where it says what a walk would say now: for every node that it visited the steps
are looked up again, as of the question's moment, and compared with those it was composed of, with
the blocks that hold their links today. That reads an index, and no block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from lodeline.limits import COMPOSITION_ROWS_MAX, COMPOSITIONS_MAX
from lodeline.model import NodeId, parse_identifier
from lodeline.query.answers import Gap
from lodeline.rows.composition import Composition, FollowedStep
from lodeline.rows.steps import StepIndex, StoredStep
from lodeline.store import Segment
from lodeline.store.blob_successors import COMPOSITION_SUFFIX, current_of, index_folder_of

_FORMAT: Final = 1
_METADATA: Final = b"lodeline"
# Gaps that are of the record; others are of one question, or may be gone the next moment.
_LASTING: Final = frozenset({"capture", "erased", "retention"})


class Boundaries:
    """The compositions kept beside one store.

    Args:
        segment: whose rows; without a folder of its own nothing is kept.
        index: steps, at the question's moment.
        may_see: tells whether the reader may see a node.
    """

    def __init__(
        self, segment: Segment, index: StepIndex, may_see: Callable[[NodeId], bool]
    ) -> None:
        self._folder = index_folder_of(segment)
        self._index = index
        self._may_see = may_see
        self._successors = segment.blob_successors()
        self._expired = segment.expired_blobs()

    def find(self, model: NodeId) -> Composition | None:
        """Give what was composed before, if a walk would give the same now."""
        table = self._read(model)
        if table is None:
            return None
        facts = json.loads(table.schema.metadata[_METADATA])
        nodes = [parse_identifier(text) for text in table.column("node").to_pylist()]
        if facts.get("format") != _FORMAT or not all(map(self._may_see, nodes)):
            return None
        steps = {node: self._index.into(node) for node in nodes}
        if self._stated(steps) != facts["steps"]:
            return None
        found = Composition()
        lists = table.column("rows").combine_chunks()
        for place, node in enumerate(nodes):
            rows = lists[place]
            found.rows[node] = rows.values.to_numpy() if rows.is_valid else None
            found.depths[node] = table.column("depth")[place].as_py()
        for node, number, output_rows, input_rows in facts["followed"]:
            step = steps[nodes[node]][number]
            found.steps[step.content] = FollowedStep(step, output_rows, input_rows)
        found.gaps = [Gap(*one) for one in facts["gaps"]]
        return found

    def keep(self, model: NodeId, found: Composition) -> None:
        """Keep what was composed, unless it depends on the question or is too much."""
        count = sum(len(rows) for rows in found.rows.values() if rows is not None)
        if self._folder is None or count > COMPOSITION_ROWS_MAX:
            return
        if not found.steps or any(gap.reason not in _LASTING for gap in found.gaps):
            return
        nodes = list(found.rows)
        steps = {node: self._index.into(node) for node in nodes}
        places = {
            step.content: (at, number)
            for at, node in enumerate(nodes)
            for number, step in enumerate(steps[node])
        }
        facts = {
            "format": _FORMAT,
            "steps": self._stated(steps),
            "followed": [
                [*places[content], one.output_rows, one.input_rows]
                for content, one in found.steps.items()
            ],
            "gaps": [[gap.at, gap.reason, gap.detail] for gap in found.gaps],
        }
        self._write(model, _encoded(found, nodes, facts))

    def _stated(self, steps: dict[NodeId, list[StoredStep]]) -> list[list[Any]]:
        """Write steps with the blocks that hold their links now."""
        return [[self._state_of(step) for step in some] for some in steps.values()]

    def _state_of(self, step: StoredStep) -> list[Any]:
        block = current_of(self._successors, step.block) if step.block else ""
        told = [step.run_id, step.operator, str(step.input), str(step.output), step.shape]
        sizes = [step.start, step.count, step.rows]
        gaps = [list(gap) for gap in step.gaps]
        return [*told, *sizes, step.digest, block, block in self._expired, gaps]

    # Files

    def _path(self, model: NodeId) -> Path | None:
        name = sha256(str(model).encode()).hexdigest() + COMPOSITION_SUFFIX
        return None if self._folder is None else self._folder / name

    def _read(self, model: NodeId) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(model)
        try:
            data = b"" if path is None else path.read_bytes()
            # A flipped bit would be a wrong link.
            if sha256(data[32:]).digest() != data[:32]:
                return None
            return pq.read_table(pa.BufferReader(data[32:]))
        except (OSError, pa.ArrowException):
            return None

    def _write(self, model: NodeId, data: bytes) -> None:
        path = self._path(model)
        assert path is not None
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(sha256(data).digest() + data)
            part.replace(path)
            kept = sorted(path.parent.glob(f"*{COMPOSITION_SUFFIX}"), key=_modified)
            for old in kept[:-COMPOSITIONS_MAX]:
                old.unlink(missing_ok=True)
        except OSError:
            return  # A store that can't be written can still be asked.


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _encoded(found: Composition, nodes: Iterable[NodeId], facts: dict[str, Any]) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [found.rows[node] for node in nodes]
    table = pa.table(
        {
            "node": [str(node) for node in found.rows],
            "depth": [found.depths[node] for node in found.rows],
            "rows": pa.array(rows, pa.large_list(pa.int64())),
        }
    ).replace_schema_metadata({_METADATA: json.dumps(facts)})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", version="2.6")
    return out.getvalue()
