"""Row provenance of one process: numbered rows, the steps between them, and their blobs.

A *step* says which rows of an input went into which rows of an output, by shape:

- `identity`: output row i is input row i.
- `range`: output row i is input row `start` + i.
- `array`: a blob with one input row (or null) for each output row.
- `lists`: a blob with a list of input rows for each output row, in any order, repeated or missing.
- `bitmaps`: the same as a bit for each input row, from the first of the first byte.
- `set`: a blob with the set of input rows that went into the whole output, as a fit does.

Rows are numbered within an *anchor*: a dataset at one version, or something in memory that exists
only between two steps. What is written as a dataset carries every step that leads to it through
memory; answers compose them.

A blob is Parquet, named by its digest, in the spool's directory; the deliverer takes it along.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lodeline.capture.datasets import Dataset, Stat, find_path_stat
from lodeline.capture.recorder import RECORDER
from lodeline.spool import Spool

MEMORY: Final = "memory"
BLOBS: Final = "blobs"

# Steps behind one written dataset. A program that chains more in memory gets a gap instead.
STEPS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Anchor:
    """Something whose rows have numbers: a dataset at a version, or a thing in memory.

    Attributes:
        namespace: of the dataset; `memory` for what exists in this process only.
        name: of the dataset, or a UUID.
        version: of the dataset; empty in memory.
    """

    namespace: str
    name: str
    version: str = ""

    @property
    def in_memory(self) -> bool:
        """Whether it exists in this process only."""
        return self.namespace == MEMORY

    def to_json(self) -> dict[str, str]:
        """Give the member `input` or `output` of a step."""
        return {"namespace": self.namespace, "name": self.name, "version": self.version}


def memory_anchor() -> Anchor:
    """Name a new thing in memory."""
    return Anchor(MEMORY, str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class RowStep:
    """One step; see the module's docstring for shapes.

    Attributes:
        operator: what the step does, in words.
        count: links, that is pairs of an output and an input row; of `lists`, members.
        rows: output rows.
        blob: digest of the blob, where the shape has one.
        start: first input row of a `range`.
        gaps: (operator, detail) of what is not among the links.
    """

    operator: str
    input: Anchor
    output: Anchor
    shape: str
    count: int
    rows: int
    blob: str | None = None
    start: int | None = None
    gaps: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give one member of `steps` of the facet `lodeline_rows`."""
        body: dict[str, Any] = {
            "operator": self.operator,
            "input": self.input.to_json(),
            "output": self.output.to_json(),
            "shape": self.shape,
            "count": self.count,
            "rows": self.rows,
            "digest": self.blob,
        }
        if self.start is not None:
            body["start"] = self.start
        if self.gaps:
            body["gaps"] = [{"operator": name, "detail": detail} for name, detail in self.gaps]
        return body


class RowSteps:
    """The steps of this process, by their output."""

    def __init__(self) -> None:
        self._incoming: dict[Anchor, list[RowStep]] = {}
        # By namespace and name: columns that the program declared to be a key.
        self._declared: dict[tuple[str, str], tuple[str, ...]] = {}
        # By anchor: columns, and the blob that holds the key of each row, or what writes it.
        self._keys: dict[Anchor, tuple[tuple[str, ...], str | Callable[[], str | None]]] = {}

    def declare_key(self, namespace: str, name: str, columns: Sequence[str]) -> None:
        """Say which columns name the rows of a dataset, whatever its version."""
        self._declared[namespace, name] = tuple(columns)

    def keep_keys(
        self, anchor: Anchor, columns: Sequence[str], blob: str | Callable[[], str | None]
    ) -> None:
        """Say where the key of each row of an anchor stands; `write_keys` makes the blob.

        Where rows are still being met, `blob` is asked whenever something is told of them.
        """
        self._keys[anchor] = (tuple(columns), blob)

    def _keys_of(self, anchors: Iterable[Anchor]) -> list[dict[str, Any]]:
        found = []
        for anchor in anchors:
            columns, blob = self._keys.get(anchor, (None, None))
            if callable(blob):
                blob = blob()
            if columns is None:
                columns = self._declared.get((anchor.namespace, anchor.name))
            if columns:
                key = {"dataset": anchor.to_json(), "columns": list(columns), "digest": blob}
                found.append(key)
        return found

    def add(self, steps: Iterable[RowStep]) -> None:
        """Remember steps."""
        for step in steps:
            known = self._incoming.setdefault(step.output, [])
            if step not in known:
                known.append(step)

    def find_facet(self, output: Anchor) -> dict[str, Any] | None:
        """Give the facet `lodeline_rows` of a dataset: all steps to it through memory."""
        steps: list[RowStep] = []
        seen = {output}
        waiting = [output]
        while waiting:
            for step in self._incoming.get(waiting.pop(), ()):
                steps.append(step)
                if step.input.in_memory and step.input not in seen:
                    seen.add(step.input)
                    waiting.append(step.input)
        if not steps or len(steps) > STEPS_MAX:
            return None
        ends = dict.fromkeys([output, *(step.input for step in steps)])
        keys = self._keys_of(anchor for anchor in ends if not anchor.in_memory)
        body = {"steps": [step.to_json() for step in steps]}
        return {**body, "keys": keys} if keys else body


@dataclass
class _Versions:
    """Digests of files already computed, by how the file looked."""

    known: dict[Stat, str] = field(default_factory=dict)


ROW_STEPS: Final = RowSteps()
_VERSIONS: Final = _Versions()
_SPOOLS: Final[dict[str, Spool]] = {}


def file_anchor(path: str) -> tuple[Anchor, Stat] | None:
    """Bind the rows of a local file to its bytes.

    Returns:
        The anchor and how the file looked, before and after hashing; `None` where there is no
        file, or it changed meanwhile.
    """
    before = find_path_stat(path)
    if before is None:
        return None
    digest = _VERSIONS.known.get(before)
    if digest is None:
        with open(path, "rb") as file:  # paths are strings in capture
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if find_path_stat(path) != before:
            return None
        _VERSIONS.known[before] = digest
    return Anchor("file", path, digest), before


def folder_anchor(path: str) -> tuple[Anchor, list[str]] | None:
    """Bind the rows of a file, or of a folder's files one after another, to their bytes.

    Files are those of the folder's manifest, in its order: by their names within the folder,
    without markers and checksums.

    Returns:
        The anchor and the files; `None` where one is gone, or changed meanwhile.
    """
    if not os.path.isdir(path):
        bound = file_anchor(path)
        return None if bound is None else (bound[0], [path])
    from lodeline.wire.canonical import canonical_bytes

    listed = []
    for one in Path(path).rglob("*"):
        inside = one.relative_to(path)
        if any(part.startswith((".", "_")) for part in inside.parts) or not one.is_file():
            continue
        bound = file_anchor(str(one))
        if bound is None:
            return None
        digest = bound[0].version.removeprefix("sha256:")
        listed.append((inside.as_posix(), digest, one.stat().st_size))
    manifest = [{"key": key, "digest": value, "bytes": size} for key, value, size in sorted(listed)]
    digest = hashlib.sha256(canonical_bytes(manifest)).hexdigest()
    files = [str(Path(path) / key) for key, _, _ in sorted(listed)]
    return Anchor("file", path, f"sha256:{digest}"), files


def dataset_of(anchor: Anchor) -> Dataset:
    """Give the dataset that an anchor is a version of."""
    return Dataset(anchor.namespace, anchor.name)


def blob_directory() -> Path | None:
    """Where blobs of the current run are written; `None` outside a run."""
    run = RECORDER.run
    if run is None:
        return None
    directory = Path(run.journal.directory).parent / BLOBS
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def keep_blob(path: Path) -> str:
    """Name a written blob by its digest, and have it delivered.

    Args:
        path: a file in `blob_directory()`; it is renamed.

    The record names the namespace of the run's job: a service of several segments keeps the bytes
    in that of the event that will refer to them.

    Returns:
        `sha256:<hex>`.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # One file a record: what two runs wrote alike may go to different segments, and each record's
    # file goes once it is delivered.
    target = path.with_name(f"{digest}-{uuid.uuid4().hex[:8]}")
    path.replace(target)
    spool = str(target.parent.parent)
    writer = _SPOOLS.get(spool)
    if writer is None:
        writer = _SPOOLS[spool] = Spool(spool)
    record = {"type": "blob", "digest": f"sha256:{digest}", "path": str(target)}
    if RECORDER.run is not None:
        record["namespace"] = RECORDER.run.namespace
    writer.append(json.dumps(record).encode())
    return f"sha256:{digest}"


def key_text(values: Sequence[object]) -> str | None:
    """Write the key of a row: one value as it is, several as a JSON array; `None` with a null."""
    if any(value is None or value != value for value in values):  # noqa: PLR0124  # NaN
        return None
    if len(values) == 1:
        return str(values[0])
    plain = [
        value if isinstance(value, (str, int)) and not isinstance(value, bool) else str(value)
        for value in values
    ]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def write_keys(keys: Sequence[str | None]) -> str | None:
    """Write the key of each row of an anchor as a blob.

    Returns:
        Its digest; `None` outside a run, or where keys are missing or repeated: they name no row,
        which is told as a gap.
    """
    if None in keys or len(set(keys)) != len(keys):
        RECORDER.gap("rows: key", "capture", "a declared key is null or repeated")
        return None
    path = blob_draft()
    if path is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"key": pa.array(keys, pa.string())})
    pq.write_table(table, path, compression="zstd", version="2.6")
    return keep_blob(path)


def blob_draft() -> Path | None:
    """Give a path to write a new blob to."""
    directory = blob_directory()
    return None if directory is None else directory / f".{os.getpid()}-{uuid.uuid4().hex}.parquet"


def steps_with_gaps(steps: Sequence[RowStep], gaps: Iterable[tuple[str, str]]) -> list[RowStep]:
    """Attach what is not among the links to the first of some steps to one output."""
    if not steps:
        return []
    first = steps[0]
    noted = RowStep(
        first.operator, first.input, first.output, first.shape, first.count, first.rows,
        first.blob, first.start, tuple(gaps),
    )  # fmt: skip
    return [noted, *steps[1:]]
