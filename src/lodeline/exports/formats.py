"""The formats by name, and what each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final

from lodeline.errors import UsageError
from lodeline.exports.croissant import write_croissant
from lodeline.exports.csv_tables import write_csv_zip
from lodeline.exports.events import write_openlineage, write_prov
from lodeline.exports.exporting import Exporting
from lodeline.exports.ml_bom import write_ml_bom

Write = Callable[[Exporting, str, IO[bytes]], None]


@dataclass(frozen=True, slots=True)
class Format:
    """One format that is written as one stream of bytes.

    Attributes:
        media_type: of the bytes.
        suffix: of a file that holds them.
        of_one: whether it is of one node; then `since` means nothing.
        whole: whether it holds events as they were sent, so that only readers who may see
            everything may have it.
        write: takes the export, the node's identifier (empty unless `of_one`), and where to.
    """

    media_type: str
    suffix: str
    of_one: bool
    whole: bool
    write: Write


FORMATS: Final[dict[str, Format]] = {
    "openlineage": Format(
        "application/x-ndjson", "jsonl", of_one=False, whole=True,
        write=lambda export, _, out: write_openlineage(export, out),
    ),
    "prov-json": Format(
        "application/json", "prov.json", of_one=False, whole=True,
        write=lambda export, _, out: write_prov(export, out),
    ),
    "csv": Format(
        "application/zip", "csv.zip", of_one=False, whole=False,
        write=lambda export, _, out: write_csv_zip(export, out),
    ),
    "cyclonedx": Format(
        "application/vnd.cyclonedx+json", "cdx.json", of_one=True, whole=False,
        write=lambda export, node, out: _put(out, write_ml_bom(export, node)),
    ),
    "croissant": Format(
        "application/ld+json", "croissant.json", of_one=True, whole=False,
        write=lambda export, node, out: _put(out, write_croissant(export, node)),
    ),
}  # fmt: skip


def _put(out: IO[bytes], body: bytes) -> None:
    out.write(body)


def check_format(name: str, node: str | None, since: int) -> Format:
    """Give a format by name, if it goes with the rest of the question.

    Raises:
        UsageError: no such format, a node is missing or too much, or `since` with one node.
    """
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"no format {name!r}; there are {', '.join(sorted(FORMATS))}")
    if found.of_one and not node:
        raise UsageError(f"{name} is of one node: name it")
    if not found.of_one and node:
        raise UsageError(f"{name} is of the whole record, not of {node}")
    if found.of_one and since:
        raise UsageError(f"{name} is of one node as it is now; --since is for the whole record")
    return found
