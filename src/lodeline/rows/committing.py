"""Committing to the links of row steps: what programs wrote becomes blocks whose roots are logged.

1. A blob that an event names is read, its links are put in order and into their smallest shape.
2. A secret is drawn, and the block written with the root over the salted commitments of its rows.
3. A `block` entry, one for each event, names the blocks with their roots, which its leaf carries.
4. The blob that the program wrote is removed; the block has taken its place.

Done where records arrive, never in the observed program. Killed between two steps, it is done
again: at worst a block lies there that no entry names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import groupby
from typing import Any, Final, NamedTuple

from lodeline.errors import StoreCorruptError, UnknownBlobError
from lodeline.fold.row_claims import BLOCKS_FACET, MEMORY
from lodeline.model import format_time
from lodeline.proof import SECRET_BYTES
from lodeline.proof.row_blocks import Seals
from lodeline.rows.steps import fold_steps
from lodeline.store import Segment
from lodeline.wire.facets import PRODUCER, LodelineRowBlocksDatasetFacet

_EVENT_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent"


class _Waiting(NamedTuple):
    """A blob that no block has taken the place of."""

    position: int
    time_us: int
    digest: str
    form: str


def commit_blocks(segment: Segment) -> int:
    """Commit to every blob of links that is here and not committed to yet.

    Returns:
        How many blocks were written. Blobs still to come are left for the next time; without the
        extra `rows` nothing is done.

    Raises:
        CouldNotTellError: the store cannot be written; what was committed is recognised next time.
    """
    fold_steps(segment)
    waiting = _find_waiting(segment)
    if not waiting or any(find_spec(name) is None for name in ("numpy", "pyarrow")):
        return 0
    count = 0
    for position, group in groupby(waiting, key=lambda one: one.position):
        tried = [_block_of(segment, each) for each in group]
        written = [one for one in tried if one is not None]
        if not written:
            continue
        count += len(written)
        event = _event(segment, position, [facts for _, facts in written], written[0][0].time_us)
        roots = [str(facts["root"]) for _, facts in written]
        segment.append_record("block", event, roots=roots)
        fold_steps(segment)
        for digest in {one.digest for one, _ in written}:
            if not _is_needed(segment, digest):
                segment.remove_blob(digest)
    return count


def _find_waiting(segment: Segment) -> list[_Waiting]:
    with segment.reading() as connection:
        if not _has_steps(connection):
            return []
        rows = connection.execute(
            "SELECT min(s.position), min(s.event_time), s.digest, s.shape "
            "FROM row_step s LEFT JOIN row_block b ON b.source = s.digest AND b.form = s.shape "
            "WHERE s.digest <> '' AND b.source IS NULL GROUP BY s.digest, s.shape UNION ALL "
            "SELECT min(k.position), min(k.event_time), k.digest, 'keys' "
            "FROM row_key k LEFT JOIN row_block b ON b.source = k.digest AND b.form = 'keys' "
            "WHERE k.digest <> '' AND b.source IS NULL GROUP BY k.digest ORDER BY 1, 3, 4"
        ).fetchall()
    return [_Waiting(*row) for row in rows]


def _has_steps(connection: Any) -> bool:
    from lodeline.store.row_tables import has_row_tables

    return has_row_tables(connection)


def _is_needed(segment: Segment, digest: str) -> bool:
    """Whether a step still reads what a program wrote: in another form, as a set and an array."""
    return any(one.digest == digest for one in _find_waiting(segment))


def _block_of(segment: Segment, waiting: _Waiting) -> tuple[_Waiting, dict[str, Any]] | None:
    """Write the block of a blob; `None` where the blob is not here, or holds no links."""
    from pyarrow import ArrowException

    from lodeline.store.link_blocks import footer_digest

    try:
        blob = segment.get_blob(waiting.digest)
        written = _keys_of(blob) if waiting.form == "keys" else _links_of(blob, waiting.form)
    except (UnknownBlobError, StoreCorruptError, ArrowException, ValueError, KeyError):
        return None  # Still to come, or no such blob: a question tells it as a gap.
    data, facts = written
    named = {
        "source": waiting.digest,
        "form": waiting.form,
        "digest": segment.put_blob(data),
        "footer": footer_digest(data),
    }
    return waiting, named | facts


def _links_of(blob: bytes, form: str) -> tuple[bytes, dict[str, Any]]:
    from lodeline.store.link_blocks import encode_block, read_links, shaped

    links = shaped(read_links(blob, form))
    seals = Seals(links.rows, os.urandom(SECRET_BYTES))
    data, root, shape = encode_block(links, seals)
    return data, {"shape": shape, "rows": links.rows, "count": links.count, "root": root.hex()}


def _keys_of(blob: bytes) -> tuple[bytes, dict[str, Any]]:
    from lodeline.store.link_blocks import encode_keys, read_keys

    keys = read_keys(blob)
    data, root = encode_keys(keys, Seals(len(keys), os.urandom(SECRET_BYTES)))
    return data, {"shape": "keys", "rows": len(keys), "count": 0, "root": root.hex()}


def _event(
    segment: Segment, position: int, blocks: list[dict[str, Any]], time_us: int
) -> dict[str, Any]:
    """Write the OpenLineage event of a `block` entry."""
    outputs = list(_outputs(segment, position))
    facet = {
        "_producer": PRODUCER,
        "_schemaURL": LodelineRowBlocksDatasetFacet.facet_schema_url,
        "entry": str(position),
        "outputs": outputs,
        "blocks": blocks,
    }
    named = outputs[0] if outputs else {"namespace": MEMORY, "name": str(position)}
    return {
        "eventTime": format_time(time_us),
        "producer": PRODUCER,
        "schemaURL": _EVENT_SCHEMA,
        "dataset": {
            "namespace": named["namespace"],
            "name": f"{named['name']}/rows",
            "facets": {BLOCKS_FACET: facet},
        },
    }


def _outputs(segment: Segment, position: int) -> Iterator[dict[str, str]]:
    """List what an event's steps lead to, outside memory."""
    with segment.reading() as connection:
        rows: Iterable[Any] = connection.execute(
            "SELECT DISTINCT output_kind, output_namespace, output_name FROM row_step "
            "WHERE position = ? AND output_namespace <> ? ORDER BY 1, 2, 3",
            (position, MEMORY),
        ).fetchall()
    for kind, namespace, name in rows:
        yield {"kind": kind, "namespace": namespace, "name": name}


def is_superseded(segment: Segment, digest: str) -> bool:
    """Whether a block has taken the place of a blob."""
    fold_steps(segment)
    with segment.reading() as connection:
        if not _has_steps(connection):
            return False
        row = connection.execute(
            "SELECT 1 FROM row_block WHERE source = ? LIMIT 1", (digest,)
        ).fetchone()
    return row is not None


__all__ = ["commit_blocks", "is_superseded"]
