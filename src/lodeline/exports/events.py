"""Events as they were sent: OpenLineage, one a line, and what other formats make of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from lodeline.exports.exporting import Exporting
from lodeline.exports.prov_json import iter_groups, last_positions, write_prov_json
from lodeline.fold import Entry
from lodeline.store.personal import OpenedPayload
from lodeline.store.segment import StoredEntry
from lodeline.wire import content_digest, decode_stored


def iter_opened(export: Exporting) -> Iterator[tuple[StoredEntry, OpenedPayload]]:
    """Walk the export's events, values that are erased or locked null and counted."""
    left_out = export.left_out
    for stored, opened in export.segment.iter_opened(export.since, export.size, kinds={"event"}):
        left_out.values += len(opened.erased)
        left_out.locked += len(opened.missing)
        yield stored, opened
    with export.segment.reading() as connection:
        erased = export.segment.find_erasures(connection).entries
    left_out.events = sum(export.since <= position < export.size for position in erased)


def write_openlineage(export: Exporting, out: IO[bytes]) -> None:
    """Write every event in log order, one a line, in canonical form."""
    for _, opened in iter_opened(export):
        out.write(opened.payload + b"\n")


def write_prov(export: Exporting, out: IO[bytes]) -> None:
    """Write one PROV-JSON document of the events."""
    lasts = last_positions(_iter_entries(export))
    export.left_out.values = export.left_out.locked = 0
    write_prov_json(iter_groups(_iter_entries(export), lasts), out)


def _iter_entries(export: Exporting) -> Iterator[Entry]:
    for stored, opened in iter_opened(export):
        assert stored.payload is not None
        yield Entry(
            stored.position,
            stored.log_time_us,
            decode_stored(opened.payload),
            # Of the form that is folded, in which sealed values are null.
            content_digest(stored.payload),
        )
