"""Blocks: the links of one step in the smallest of several shapes, readable a part at a time.

A block is Parquet, so that others read it, too. Its shape is chosen by what the links are and,
where several shapes hold them, by size:

| Shape | Columns | Holds |
|---|---|---|
| `delta` | `input` | one input row for each output row, never falling: kept orders, filters |
| `permutation` | `input` | every input row once: sorts, shuffles |
| `array` | `input` | one input row, or none |
| `csr` | `inputs` | a list of input rows |
| `window` | `start`, `length` | neighbouring input rows: frames, groups of sorted inputs |
| `members` | `input` | a set, ascending |
| `roaring` | `container`, `kind`, `data` | a set, in containers of 65,536 |
| `keys` | `key` | no links: the declared key of each row, as text |

`identity` and `range` need no block. What programs write (`array`, `lists`, `bitmaps`, `set`:
format 0, without metadata) is read all the same. From format 1 on the metadata under `lodeline`
hold the version, the shape and the seals, that is what the salts of the rows' commitments derive
from (`proof.row_blocks`); a *row* of a set is one of its members.
"""

from __future__ import annotations

import io
import json
import zlib
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any, Final

import numpy as np

from lodeline.errors import StoreCorruptError
from lodeline.limits import ROW_GROUPS_CACHED_MAX
from lodeline.proof.commitments import SALT_BYTES
from lodeline.proof.row_blocks import SECTION_ROWS, Seals, block_roots

FORMAT: Final = 1
METADATA: Final = b"lodeline"
# A multiple of a section, so that one row is proven from one row group.
GROUP_ROWS: Final = 32 * SECTION_ROWS
CONTAINER_BITS: Final = 16
_CONTAINER: Final = 1 << CONTAINER_BITS
# Rows by which the encoding of a large block is chosen.
_SAMPLED: Final = 2 * GROUP_ROWS
# The first release of pyarrow that checks and writes checksums of pages.
_CHECKSUMS_SINCE: Final = 15
# Row groups read one by one before a block is read whole.
_BUSY_GROUPS: Final = 12
# Fewer links than this are searched whole; an index of them would not pay for its file.
_INDEXED_MIN: Final = 1 << 16
_ARRAYS: Final = frozenset({"array", "delta", "permutation"})
_SETS: Final = frozenset({"set", "members", "roaring"})
_LISTS: Final = frozenset({"lists", "csr"})

Array = Any  # numpy.ndarray of int64


@dataclass
class Links:
    """The links of one step, whole.

    Attributes:
        shape: as above.
        values: the input row of each output row (-1: none), the values of all lists one after
            another, the members of a set, or the first rows of windows.
        offsets: of lists, one more than there are lists; of windows, their lengths.
    """

    shape: str
    values: Array
    offsets: Array | None = None

    @property
    def rows(self) -> int:
        """Rows of the block."""
        if self.shape in _LISTS:
            assert self.offsets is not None
            return len(self.offsets) - 1
        return len(self.values)

    @property
    def count(self) -> int:
        """Links."""
        if self.shape == "window":
            return int(np.sum(self.offsets))
        return int(np.count_nonzero(self.values >= 0))

    def pairs(self, first: int, last: int) -> tuple[Array | None, Array]:
        """Spell the links of some rows out: output rows, `None` for a set's, and input rows."""
        if self.shape in _SETS:
            return None, self.values[first:last]
        if self.offsets is None:
            part = self.values[first:last]
            kept = np.flatnonzero(part >= 0)
            return kept + first, part[kept]
        if self.shape == "window":
            lengths = self.offsets[first:last]
            inputs = _spread(self.values[first:last], lengths)
        else:
            lengths = np.diff(self.offsets[first : last + 1])
            inputs = self.values[self.offsets[first] : self.offsets[last]]
        outputs: Array = np.repeat(np.arange(first, last), lengths)
        kept = inputs >= 0
        return outputs[kept], inputs[kept]

    def claims(self, first: int, last: int) -> list[bytes]:
        """Give what rows claim: their input rows, ascending, eight bytes big-endian each."""
        if self.shape == "window":
            assert self.offsets is not None
            return [
                np.arange(start, start + length, dtype=">i8").tobytes()
                for start, length in zip(
                    self.values[first:last].tolist(), self.offsets[first:last].tolist(), strict=True
                )
            ]
        if self.shape in _LISTS:
            assert self.offsets is not None
            ends = ((self.offsets[first : last + 1] - self.offsets[first]) * 8).tolist()
            packed = self.values[self.offsets[first] : self.offsets[last]].astype(">i8").tobytes()
            return [packed[a:b] for a, b in pairwise(ends)]
        part = self.values[first:last]
        packed = part.astype(">i8").tobytes()
        if len(part) and part.min() >= 0:
            return [packed[at : at + 8] for at in range(0, len(packed), 8)]
        return [
            packed[8 * at : 8 * at + 8] if value >= 0 else b""
            for at, value in enumerate(part.tolist())
        ]

    def preimages(self, first: int, last: int, salts: bytes) -> list[bytes]:
        """Give what is hashed of each row: its salt, four zero bytes, and its claim.

        The same as from `claims` and each salt, put together in whole columns: a row costs little
        more than its hash.
        """
        if self.offsets is None and (first == last or self.values[first:last].min() >= 0):
            table: Array = np.zeros((last - first, SALT_BYTES + 12), np.uint8)
            table[:, :SALT_BYTES] = np.frombuffer(salts, np.uint8).reshape(-1, SALT_BYTES)
            claims = self.values[first:last].astype(">i8").view(np.uint8)
            table[:, SALT_BYTES + 4 :] = claims.reshape(-1, 8)
            rows: list[bytes] = table.view(f"V{SALT_BYTES + 12}").ravel().tolist()
            return rows
        owners, inputs = self.pairs(first, last)
        assert owners is not None  # A set has no row without a member.
        lengths = np.bincount(owners - first, minlength=last - first)
        # In words of four bytes: eight of salt, one of zeros, two for each input row.
        ends = np.cumsum(9 + 2 * lengths)
        starts = ends - 9 - 2 * lengths
        words: Array = np.zeros(int(ends[-1]), np.uint32)
        words[starts[:, None] + np.arange(8)] = np.frombuffer(salts, np.uint32).reshape(-1, 8)
        words[_spread(starts + 9, 2 * lengths)] = inputs.astype(">i8").view(np.uint32)
        packed = words.tobytes()
        return [packed[a:b] for a, b in pairwise([0, *(4 * ends).tolist()])]


def in_order(links: Links) -> Links:
    """Sort the lists of some links and drop what they repeat, or hold as missing."""
    if links.offsets is None:
        return links
    owners: Array = np.repeat(np.arange(links.rows), np.diff(links.offsets))
    values = links.values
    same = owners[1:] == owners[:-1]
    if not np.any(same & (values[1:] <= values[:-1])) and not np.any(values < 0):
        return links
    there = values >= 0
    owners, values = owners[there], values[there]
    span = int(values.max()) + 1 if len(values) else 1
    if links.rows * span < 1 << 63:
        # Both in one number: sorting those takes a fifth of sorting pairs.
        both = np.sort(owners * span + values)
        kept: Array = np.ones(len(both), bool)
        kept[1:] = both[1:] != both[:-1]
        owners, values = np.divmod(both[kept], span)
    else:
        order = np.lexsort((values, owners))
        owners, values = owners[order], values[order]
        kept = np.ones(len(values), bool)
        kept[1:] = (owners[1:] != owners[:-1]) | (values[1:] != values[:-1])
        owners, values = owners[kept], values[kept]
    lengths = np.bincount(owners, minlength=links.rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Links(links.shape, values, offsets)


def shaped(links: Links) -> Links:
    """Name the narrowest shape that holds some links."""
    links = in_order(links)
    values = links.values
    if links.shape in _ARRAYS:
        if not len(values) or values.min() < 0:
            return Links("array", values)
        if np.all(values[1:] >= values[:-1]):
            return Links("delta", values)
        return Links("permutation" if _holds_each_once(values) else "array", values)
    if links.shape in _SETS:
        return Links("members", np.unique(values))
    if links.shape in _LISTS:
        assert links.offsets is not None
        lengths = np.diff(links.offsets)
        full = lengths > 0
        first: Array = np.full(len(lengths), 0, np.int64)
        first[full] = values[links.offsets[:-1][full]]
        last: Array = np.full(len(lengths), -1, np.int64)
        last[full] = values[links.offsets[1:][full] - 1]
        # Lists are ascending and without repetition, so the ends tell whether rows are missing.
        if len(lengths) and np.all((last - first + 1)[full] == lengths[full]):
            return Links("window", first, lengths)
        return Links("csr", values, links.offsets)
    return links


def _holds_each_once(values: Array) -> bool:
    """Whether values are 0, 1, 2, … in any order; none is negative."""
    if values.max() != len(values) - 1:
        return False
    seen: Array = np.zeros(len(values), bool)
    seen[values] = True
    return bool(seen.all())


def _roots(links: Links, seals: Seals) -> tuple[bytes, bytes]:
    """Compute the root of a block and those of its sections."""

    def claims(section: int) -> list[bytes]:
        return section_claims(links, seals, section * SECTION_ROWS)

    def preimages(section: int, salts: bytes) -> list[bytes]:
        first = section * SECTION_ROWS
        return links.preimages(first, min(first + SECTION_ROWS, seals.rows), salts)

    # Erased members left no place among the others: rows are not where their numbers say.
    moved = links.shape in _SETS and seals.erased
    return block_roots(seals, claims, None if moved else preimages)


def encode_block(links: Links, seals: Seals) -> tuple[bytes, bytes, str]:
    """Write a block, in the smaller of the encodings that its shape has.

    Returns:
        Its bytes, the Merkle root over the commitments of its rows, and its shape.
    """
    root, sections = _roots(links, seals)
    shapes = ("members", "roaring") if links.shape == "members" else (links.shape,)
    sample = _first_of(links, _SAMPLED)
    _, shape, dictionary = min(
        (len(_written(_table(sample, shape), {}, dictionary=dictionary)), shape, dictionary)
        for shape in shapes
        for dictionary in (False, True)
    )
    facts = {
        "format": FORMAT,
        "shape": shape,
        "seals": seals.to_json(),
        "sections": b64encode(sections).decode(),
    }
    return _written(_table(links, shape), facts, dictionary=dictionary), root, shape


def _first_of(links: Links, count: int) -> Links:
    """Give the first rows of some links."""
    if links.shape in _LISTS:
        assert links.offsets is not None
        offsets = links.offsets[: count + 1]
        return Links(links.shape, links.values[: offsets[-1]], offsets)
    lengths = None if links.offsets is None else links.offsets[:count]
    return Links(links.shape, links.values[:count], lengths)


def encode_keys(keys: Sequence[str | None], seals: Seals) -> tuple[bytes, bytes]:
    """Write a block of declared keys, a row each; give its bytes and its root."""
    import pyarrow as pa

    root, sections = block_roots(seals, lambda section: key_claims(keys, section))
    facts = {
        "format": FORMAT,
        "shape": "keys",
        "seals": seals.to_json(),
        "sections": b64encode(sections).decode(),
    }
    table = pa.table({"key": pa.array(keys, pa.string())})
    return _written(table, facts, dictionary=False), root


def key_claims(keys: Sequence[str | None], section: int) -> list[bytes]:
    """Give the claims of a section of keys: their text; nothing for erased rows."""
    part = keys[section * SECTION_ROWS : (section + 1) * SECTION_ROWS]
    return [b"" if key is None else key.encode() for key in part]


def _checksums() -> bool:
    """Tell whether pyarrow knows checksums of pages.

    A store opened within the observed program takes the program's pyarrow, which may be older than
    ours.
    """
    import pyarrow as pa

    return int(pa.__version__.partition(".")[0]) >= _CHECKSUMS_SINCE


def _parquet(opened: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(opened, **({"page_checksum_verification": True} if _checksums() else {}))


def read_keys(data: bytes) -> list[str | None]:
    """Read declared keys: of a block, or as a program wrote them."""
    import pyarrow as pa

    table = _parquet(pa.BufferReader(data)).read()
    keys: list[str | None] = table.column("key").to_pylist()
    return keys


def section_claims(links: Links, seals: Seals, first: int) -> list[bytes]:
    """Give the claims of the section that begins with a row; nothing for erased rows."""
    last = min(first + SECTION_ROWS, seals.rows)
    if links.shape not in _SETS or not seals.erased:
        return links.claims(first, last)
    # Erased members left no place among the others.
    gone: Array = np.array(sorted(seals.erased), dtype=np.int64)
    before, inside = (int(np.searchsorted(gone, row)) for row in (first, last))
    left = links.claims(first - before, last - inside)
    for row in gone[before:inside].tolist():
        left.insert(row - first, b"")
    return left


def footer_digest(data: bytes) -> str:
    """Digest the end of a block, by which a reader of a part knows the whole's layout."""
    size = int.from_bytes(data[-8:-4], "little") + 8
    return "sha256:" + sha256(data[-size:]).hexdigest()


def _table(links: Links, shape: str) -> Any:
    import pyarrow as pa

    if shape == "roaring":
        return _roaring_table(links)
    if links.shape == "window":
        return pa.table({"start": pa.array(links.values), "length": pa.array(links.offsets)})
    if links.shape in _LISTS:
        kind = pa.int32() if len(links.values) < 1 << 31 else pa.int64()
        wide = pa.list_ if kind == pa.int32() else pa.large_list
        array_type = pa.ListArray if kind == pa.int32() else pa.LargeListArray
        lists = array_type.from_arrays(pa.array(links.offsets, kind), pa.array(links.values))
        return pa.table({"inputs": lists.cast(wide(pa.int64()))})
    return _members_table(links)


def _members_table(links: Links) -> Any:
    import pyarrow as pa

    values = links.values
    missing = values < 0 if len(values) and values.min() < 0 else None
    return pa.table({"input": pa.array(values, pa.int64(), mask=missing)})


def _roaring_table(links: Links) -> Any:
    """Write a set as Roaring bitmaps do: by container as an array, a bitmap or runs."""
    import pyarrow as pa

    high = links.values >> CONTAINER_BITS
    numbers, starts = np.unique(high, return_index=True)
    kinds, data = [], []
    for start, end in zip(starts, [*starts[1:], len(high)], strict=True):
        low = (links.values[start:end] & (_CONTAINER - 1)).astype("<u2")
        breaks = np.flatnonzero(np.diff(low.astype(np.int64)) != 1)
        first = low[np.concatenate([[0], breaks + 1])]
        last = low[np.concatenate([breaks, [len(low) - 1]])]
        runs = np.stack([first, last], axis=1).astype("<u2").tobytes()
        best = min((len(runs), "runs"), (2 * len(low), "array"), (_CONTAINER // 8, "bitmap"))[1]
        kinds.append(best)
        if best == "bitmap":
            bits: Array = np.zeros(_CONTAINER, np.uint8)
            bits[low] = 1
            data.append(np.packbits(bits, bitorder="little").tobytes())
        else:
            data.append(runs if best == "runs" else low.tobytes())
    return pa.table({"container": pa.array(numbers), "kind": kinds, "data": data})


def _container(kind: str, data: bytes) -> Array:
    """Read one container: the low 16 bits of its members, ascending."""
    if kind == "bitmap":
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return np.flatnonzero(bits).astype(np.int64)
    low = np.frombuffer(data, "<u2").astype(np.int64)
    if kind == "array":
        return low
    return _spread(low[::2], low[1::2] - low[::2] + 1)


def _spread(starts: Array, lengths: Array) -> Array:
    """Give all members of ranges, one range after another."""
    lengths = np.asarray(lengths, np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


def _written(table: Any, facts: dict[str, Any], *, dictionary: bool) -> bytes:
    import pyarrow.parquet as pq

    integers = {
        "inputs.list.element" if name == "inputs" else name: "DELTA_BINARY_PACKED"
        for name in table.column_names
        if name not in {"kind", "data", "key"}
    }
    said = json.dumps(facts)
    # Arrow's copy of the schema would hold the metadata a second time; before pyarrow 16 nothing
    # else writes them.
    apart = hasattr(pq.ParquetWriter, "add_key_value_metadata")
    if not apart:
        table = table.replace_schema_metadata({METADATA: said})
    out = io.BytesIO()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        use_dictionary=dictionary,
        column_encoding=None if dictionary else integers,
        version="2.6",
        store_schema=not apart,
        **({"write_page_checksum": True} if _checksums() else {}),
    ) as writer:
        writer.write_table(table, row_group_size=GROUP_ROWS)
        if apart:
            writer.add_key_value_metadata({METADATA.decode(): said})
    return out.getvalue()


class Block:
    """One open block; reads no more row groups than a question needs.

    Args:
        source: a file, or bytes.
        digest: names it.
        shape: of a block of format 0, which does not say: `bitmaps` are one, too.
        index_folder: where the index by input row is kept; `None` for memory alone.

    Attributes:
        shape: as above; `array`, `lists` or `set` in format 0.
        seals: `None` in format 0.
        section_roots: for proofs; empty in format 0.
        groups_read: row groups decoded so far.
        bytes_read: compressed bytes of those.
    """

    def __init__(
        self, source: Path | bytes, digest: str, *, shape: str, index_folder: Path | None = None
    ) -> None:
        import pyarrow as pa

        opened = (
            pa.BufferReader(source) if isinstance(source, bytes) else pa.memory_map(str(source))
        )
        self.digest = digest
        self._own_bytes = len(source) if isinstance(source, bytes) else 0
        self._file = _parquet(opened)
        self._lock = RLock()
        said = (self._file.metadata.metadata or {}).get(METADATA)
        facts = {} if said is None else json.loads(said)
        if facts.get("format", 0) > FORMAT:
            raise StoreCorruptError(digest, f"a block of format {facts['format']}, not known here")
        self.shape: str = facts.get("shape", shape)
        self.seals = Seals.from_json(facts["seals"]) if facts else None
        self.section_roots = b64decode(facts["sections"]) if facts else b""
        metadata = self._file.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._groups: OrderedDict[int, Links] = OrderedDict()
        self._all: Links | None = None
        self._index_folder = index_folder
        self._index: tuple[Array, Array] | None = None
        self.groups_read = 0
        self.bytes_read = 0

    @property
    def rows(self) -> int:
        """Output rows, or members of a set in columns; containers of a `roaring` one."""
        return int(self._firsts[-1])

    @property
    def memory_bytes(self) -> int:
        """What is kept in memory of it."""
        links = [*self._groups.values(), *([] if self._all is None else [self._all])]
        arrays = [one for link in links for one in (link.values, link.offsets)]
        arrays += [] if self._index is None else [*self._index]
        return self._own_bytes + sum(int(one.nbytes) for one in arrays if one is not None)

    # Reading

    def whole(self) -> Links:
        """Read all of it."""
        with self._lock:
            if self._all is None:
                self._all = self._decode(self._file.read(), self._file.num_row_groups, None)
            return self._all

    def _group(self, number: int) -> Links:
        with self._lock:
            if number in self._groups:
                self._groups.move_to_end(number)
                return self._groups[number]
            found = self._decode(self._file.read_row_group(number), 1, number)
            self._groups[number] = found
            if len(self._groups) > ROW_GROUPS_CACHED_MAX:
                self._groups.popitem(last=False)
            return found

    def _decode(self, table: Any, groups: int, number: int | None) -> Links:
        self.groups_read += groups
        metadata = self._file.metadata
        numbers = range(metadata.num_row_groups) if number is None else [number]
        self.bytes_read += sum(
            metadata.row_group(one).column(column).total_compressed_size
            for one in numbers
            for column in range(metadata.num_columns)
        )
        first = table.column(0).combine_chunks()
        if self.shape == "roaring":
            parts = [
                (container << CONTAINER_BITS) + _container(kind, data)
                for container, kind, data in zip(
                    first.to_pylist(),
                    table.column(1).to_pylist(),
                    table.column(2).to_pylist(),
                    strict=True,
                )
            ]
            return Links("roaring", np.concatenate(parts) if parts else np.empty(0, np.int64))
        if self.shape == "window":
            second = table.column(1).combine_chunks()
            return Links("window", np.asarray(first), np.asarray(second))
        if self.shape == "bitmaps":
            return _unpacked(first)
        if self.shape in _LISTS:
            offsets = np.asarray(first.offsets, dtype=np.int64)
            inner = first.values.fill_null(-1) if first.values.null_count else first.values
            values = np.asarray(inner, dtype=np.int64)[offsets[0] : offsets[-1]]
            links = Links("csr", values, offsets - offsets[0])
            # Programs write lists as they gathered them; in a block they are in order.
            return in_order(links) if self.shape == "lists" else links
        if not first.null_count:
            return Links(self.shape, np.asarray(first, dtype=np.int64))
        return Links(self.shape, np.asarray(first.fill_null(-1), dtype=np.int64))

    # Links

    def back(self, rows: Array | None) -> Array:
        """Find the input rows behind output rows; of a set, its members.

        Args:
            rows: ascending; `None` for all.
        """
        if self.shape in _SETS:
            return self.whole().values
        if rows is None or self._is_busy() or len(rows) > self.rows // 8:
            links = self.whole()
            picked = np.arange(links.rows) if rows is None else rows[rows < links.rows]
            return _behind(links, picked)
        rows = rows[rows < self.rows]
        groups = np.searchsorted(self._firsts, rows, side="right") - 1
        parts = [
            _behind(self._group(number), rows[groups == number] - self._firsts[number])
            for number in np.unique(groups).tolist()
        ]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def _is_busy(self) -> bool:
        """Whether it is asked so often that reading it whole costs less than single groups."""
        return self._all is not None or self.groups_read >= _BUSY_GROUPS

    def forward(self, rows: Array) -> Array:
        """Find the output rows that input rows went into; row 0 stands for the whole of a set."""
        if self.shape in _SETS:
            return np.zeros(int(self._holds_any(rows)), np.int64)
        if self.shape == "window":
            links = self.whole()
            assert links.offsets is not None
            low = np.searchsorted(rows, links.values)
            high = np.searchsorted(rows, links.values + links.offsets)
            return np.flatnonzero(high > low)
        values, owners = self._inverse()
        low = np.searchsorted(values, rows)
        high = np.searchsorted(values, rows, side="right")
        return np.unique(owners[_spread(low, high - low)]).astype(np.int64)

    def _holds_any(self, rows: Array) -> bool:
        if self.shape != "roaring":
            return bool(np.isin(rows, self.whole().values).any())
        for number in range(self._file.num_row_groups):
            table = self._file.read_row_group(number)
            self.groups_read += 1
            wanted = np.isin(np.asarray(table.column(0)), np.unique(rows >> CONTAINER_BITS))
            for one in table.filter(_mask(wanted)).to_pylist():
                container, kind, data = one["container"], one["kind"], one["data"]
                low = rows[rows >> CONTAINER_BITS == container] & (_CONTAINER - 1)
                if np.isin(low, _container(kind, data)).any():
                    return True
        return False

    # The index by input row

    def _inverse(self) -> tuple[Array, Array]:
        """Give all links ordered by input row: input rows, and the output row of each."""
        with self._lock:
            if self._index is None:
                self._index = self._load_index() or self._build_index()
            return self._index

    def _build_index(self) -> tuple[Array, Array]:
        links = self.whole()
        owners: Array
        if links.offsets is not None:
            owners = np.repeat(np.arange(links.rows), np.diff(links.offsets))
            values = links.values
        else:
            owners = np.flatnonzero(links.values >= 0)
            values = links.values[owners]
        if len(values) and np.any(values[1:] < values[:-1]):
            order = np.argsort(values, kind="stable")
            values, owners = values[order], owners[order]
        if len(values) and max(int(values[-1]), links.rows) < 1 << 31:
            values, owners = values.astype(np.int32), owners.astype(np.int32)
        if self._index_folder is not None and len(values) >= _INDEXED_MIN:
            self._save_index(values, owners)
        return values, owners

    def _paths(self) -> tuple[Path, Path, Path]:
        assert self._index_folder is not None
        stem = self.digest.removeprefix("sha256:")
        folder = self._index_folder
        return (
            folder / f"{stem}.inputs.npy",
            folder / f"{stem}.outputs.npy",
            folder / f"{stem}.json",
        )

    def _save_index(self, values: Array, owners: Array) -> None:
        one, two, manifest = self._paths()
        try:
            one.parent.mkdir(mode=0o700, exist_ok=True)
            for path, array in ((one, values), (two, owners)):
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    np.save(file, array)
                part.replace(path)
            # Last: arrays without it are not used.
            sums = [zlib.crc32(array) for array in (values, owners)]
            part = manifest.with_suffix(".part")
            part.write_text(json.dumps({"crc32": sums}), encoding="ascii")
            part.replace(manifest)
        except OSError:
            return  # A store that can't be written can still be asked.

    def _load_index(self) -> tuple[Array, Array] | None:
        if self._index_folder is None:
            return None
        one, two, manifest = self._paths()
        try:
            sums = json.loads(manifest.read_text(encoding="ascii"))["crc32"]
            arrays = [np.load(path, mmap_mode="r") for path in (one, two)]
        except (OSError, ValueError, KeyError):
            return None
        # A flipped bit would be a wrong link.
        if [zlib.crc32(array) for array in arrays] != sums:
            return None
        return arrays[0], arrays[1]

    # Claims

    def section_claims(self, section: int) -> list[bytes]:
        """Give the claims of one section's rows; of all but sets, from one row group."""
        assert self.seals is not None
        first = section * SECTION_ROWS
        if self.shape in _SETS:
            return section_claims(self.whole(), self.seals, first)
        number = int(np.searchsorted(self._firsts, first, side="right")) - 1
        base = int(self._firsts[number])
        if self.shape == "keys":
            return key_claims(self._group_keys(number), (first - base) // SECTION_ROWS)
        links = self._group(number)
        last = min(first + SECTION_ROWS, self.seals.rows)
        return links.claims(first - base, last - base)

    def find_key(self, key: str) -> int | None:
        """Find the first row that a key names, in a block of keys."""
        for number, first in enumerate(self._firsts[:-1].tolist()):
            keys = self._group_keys(number)
            if key in keys:
                return int(first) + keys.index(key)
        return None

    def _group_keys(self, number: int) -> list[str | None]:
        with self._lock:
            self.groups_read += 1
            keys: list[str | None] = self._file.read_row_group(number).column("key").to_pylist()
        return keys


def _unpacked(bitmaps: Any) -> Links:
    """Read bitmaps, a row each, whose bit n (from the first of the first byte) says row n."""
    import pyarrow as pa

    if bitmaps.type != pa.binary():
        raise ValueError("bitmaps that are no binary column")
    if not len(bitmaps):
        return Links("csr", np.empty(0, np.int64), np.zeros(1, np.int64))
    ends = np.frombuffer(bitmaps.buffers()[1], np.int32)[bitmaps.offset :][: len(bitmaps) + 1]
    data = np.frombuffer(bitmaps.buffers()[2] or b"", np.uint8)
    parts: list[Array] = []
    lengths: Array = np.zeros(len(bitmaps), np.int64)
    for number, (start, end) in enumerate(pairwise(ends.tolist())):
        part = np.flatnonzero(np.unpackbits(data[start:end]))
        parts.append(part)
        lengths[number] = len(part)
    values = np.concatenate(parts).astype(np.int64)
    return Links("csr", values, np.concatenate([[0], np.cumsum(lengths)]))


def _mask(wanted: Array) -> Any:
    import pyarrow as pa

    return pa.array(wanted)


def _behind(links: Links, rows: Array) -> Array:
    """Find the input rows behind rows of some links."""
    if links.shape == "window":
        assert links.offsets is not None
        return np.unique(_spread(links.values[rows], links.offsets[rows]))
    if links.offsets is not None:
        starts = links.offsets[rows]
        return np.unique(links.values[_spread(starts, links.offsets[rows + 1] - starts)])
    found = links.values[rows]
    return np.unique(found[found >= 0])


def read_links(data: bytes, shape: str) -> Links:
    """Read what a program wrote (format 0), or a block, whole."""
    return Block(data, "", shape=shape).whole()


def block_root(data: bytes) -> str:
    """Recompute the root of a block from its bytes, in hexadecimal."""
    block = Block(data, "", shape="")
    if block.seals is None:
        raise ValueError("a block of format 0 commits to nothing")
    if block.shape == "keys":
        keys = read_keys(data)
        return block_roots(block.seals, lambda section: key_claims(keys, section))[0].hex()
    return _roots(block.whole(), block.seals)[0].hex()


def erase_rows(data: bytes, rows: Sequence[int]) -> bytes:
    """Write a block again without the claims and salts of some rows."""
    block = Block(data, "", shape="")
    if block.shape == "keys":
        return _erase_keys(data, block.seals, rows)
    links, seals = block.whole(), block.seals
    assert seals is not None
    doomed = sorted(row for row in set(rows) if 0 <= row < seals.rows and row not in seals.erased)
    left = seals.without(
        doomed, lambda section: section_claims(links, seals, section * SECTION_ROWS)
    )
    numbers = np.array(doomed, dtype=np.int64)
    if links.shape in _SETS:
        earlier = np.array(sorted(seals.erased), dtype=np.int64)
        kept = Links(
            "members", np.delete(links.values, numbers - np.searchsorted(earlier, numbers))
        )
    elif links.offsets is None:
        values = links.values.copy()
        values[numbers] = -1
        kept = Links("array", values)
    else:
        lengths = (links.offsets if links.shape == "window" else np.diff(links.offsets)).copy()
        if links.shape == "window":
            lengths[numbers] = 0
            kept = Links("window", links.values, lengths)
        else:
            starts = links.offsets[:-1]
            lengths[numbers] = 0
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            kept = Links("csr", links.values[_spread(starts, lengths)], offsets)
    return encode_block(kept, left)[0]


def _erase_keys(data: bytes, seals: Seals | None, rows: Sequence[int]) -> bytes:
    assert seals is not None
    keys = read_keys(data)
    doomed = sorted(row for row in set(rows) if row < seals.rows and row not in seals.erased)
    left = seals.without(doomed, lambda section: key_claims(keys, section))
    for row in doomed:
        keys[row] = None
    return encode_keys(keys, left)[0]
