"""What a store promises, whatever keeps it: the segment and the words of its answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.model import format_time
from lodeline.proof import Field, Verifier
from lodeline.store.connections import Connection
from lodeline.store.personal import Erasures, OpenedPayload
from lodeline.store.stream_tables import StreamOffset
from lodeline.tlog import Checkpoint


class AcceptedEvent(msgspec.Struct, frozen=True, gc=False):
    """A validated event, ready to be appended.

    Attributes:
        canonical: the event in JCS form; its identity, and the payload that is kept.
        fields: what the leaf commits to, as `wire.commitment_fields` gives it.
    """

    canonical: bytes
    fields: Sequence[Field]


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log.

    Attributes:
        position: 0-based leaf index.
        log_time_us: when the log took it.
        kind: one of `tlog.KINDS`.
        leaf: the leaf record, as hashed.
        payload: canonical bytes; `None` once erased.
    """

    position: int
    log_time_us: int
    kind: str
    leaf: bytes
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An input that was refused, kept to be fixed and sent again.

    Attributes:
        letter_id: stable number; 0 for one that was only counted, since too many are open.
        byte_count: how many bytes were received.
        kept: whether the bytes are kept; not where they were too many.
        code: of the refusal.
        path: JSON pointer of the fault.
        message: what is wrong there.
        source: where it came from, such as `events.jsonl:17`.
        first_seen_us: when it was first refused.
        last_seen_us: when it was last refused.
        times: how often.
    """

    letter_id: int
    byte_count: int
    kept: bool
    code: str
    path: str
    message: str
    source: str
    first_seen_us: int
    last_seen_us: int
    times: int

    def to_json(self) -> dict[str, object]:
        """Give the documented keys of one dead letter."""
        return {
            "id": self.letter_id,
            "code": self.code,
            "path": self.path,
            "message": self.message,
            "source": self.source,
            "bytes": self.byte_count,
            "kept": self.kept,
            "times": self.times,
            "first_seen": format_time(self.first_seen_us),
            "last_seen": format_time(self.last_seen_us),
        }


@dataclass(frozen=True, slots=True)
class Refusal:
    """An input on its way to the dead letters.

    Attributes:
        raw: as received.
        error: why it was refused.
        source: where it came from, such as `events.jsonl:17`.
        byte_count: how many bytes came, where `raw` is only the beginning of them.
        caller: who brought it, as authenticated.
    """

    raw: bytes
    error: InvalidEventError
    source: str = ""
    byte_count: int = 0
    caller: str | None = None


class Appended(Protocol):
    """The outcome of appending one event."""

    @property
    def position(self) -> int:
        """Where the event stands; for a duplicate, where the first stands."""

    @property
    def duplicate(self) -> bool:
        """Whether the log held it before."""

    @property
    def receipt(self) -> str:
        """The signed receipt; a duplicate's is the first's. Signed when asked for."""


class Segment(Protocol):
    """One log, one store, one key ring. Every method may be called from any thread."""

    @property
    def url(self) -> str:
        """Where it is."""

    @property
    def origin(self) -> str:
        """The log's name on checkpoints."""

    @property
    def segment_id(self) -> str:
        """The opaque identifier in every leaf."""

    def append(
        self,
        events: Sequence[AcceptedEvent],
        *,
        beside: Callable[[Connection, Sequence[Appended]], None] | None = None,
        sign: bool = True,
    ) -> list[Appended]:
        """Append events in one durable transaction; calls that overlap share one.

        Args:
            events: may be none when there is something to write beside them.
            beside: what else is written in that transaction, such as how far a stream was taken.
                It gets the writer's connection and the outcomes; the log is not its to write.
            sign: whether the checkpoint over them is stored with them. Without, it may follow up
                to `CHECKPOINT_BEHIND_SECONDS` later, when more is appended; who appends no more
                calls `sign_pending`.

        Raises:
            StoreFullError: no room; none of the events was stored.
            StoreUnreachableError: the store cannot be written.
            KeyMissingError: the log's keys are not there.
        """

    def append_record(
        self,
        kind: str,
        payload: Mapping[str, object],
        *,
        roots: Sequence[str] = (),
        beside: Callable[[Connection, Sequence[Appended]], None] | None = None,
    ) -> Appended:
        """Append a record of another kind. Equal payloads are appended again.

        `beside` writes in its transaction, as that of `append` does.
        """

    def append_computed(
        self, kind: str, compute: Callable[[Connection, int], Mapping[str, object] | None]
    ) -> Appended | None:
        """Append a record that speaks of the whole log before it.

        `compute` gets the writer's connection in its transaction, and the position that the
        record will have; nobody can append in between. None appends nothing; what `compute` wrote
        is kept.
        """

    def size(self) -> int:
        """Entries in the log."""

    def checkpoint(self) -> Checkpoint:
        """The signed tree head of the whole log."""

    def sign_pending(self) -> None:
        """Sign what `append` left unsigned, if it is; what nobody can sign stays as it is."""

    def checkpoint_at(self, time_us: int) -> Checkpoint | None:
        """The last checkpoint whose log time is at or before a time."""

    def witnessed_note(self, size: int) -> str:
        """A checkpoint's note: the log's signatures, then the newest cosignature of each witness.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """

    def timestamps(self, size: int) -> list[bytes]:
        """RFC 3161 answers (DER) over a checkpoint's note as the log signed it, by their digests.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """

    def root_at(self, size: int) -> bytes:
        """The root when the log had `size` entries.

        Raises:
            UnknownPositionError: the log is shorter.
        """

    def receipt(self, position: int) -> str:
        """The signed receipt of an entry."""

    def batch_receipt(self, positions: Sequence[int]) -> str:
        """One signed receipt over the leaf hashes of several entries."""

    def verifiers(self) -> list[Verifier]:
        """The checkpoint keys that the log's `key` leaves certify."""

    def inclusion_path(self, position: int, size: int) -> list[bytes]:
        """Prove an entry in the tree of `size`."""

    def tlog_proof(self, position: int) -> str:
        """Prove an entry under the newest checkpoint, as a C2SP tlog-proof that carries the entry.

        Raises:
            UnknownPositionError: no such entry.
        """

    def consistency_path(self, size_earlier: int, size_later: int) -> list[bytes]:
        """Prove that the later tree extends the earlier."""

    def iter_entries(
        self, start: int = 0, stop: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[StoredEntry]:
        """Walk entries by position, those present when the walk begins."""

    def iter_opened(
        self, start: int = 0, stop: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[tuple[StoredEntry, OpenedPayload]]:
        """Walk entries as `iter_entries` does, those whose payload is there, opened."""

    def open_payload(self, connection: Connection, position: int, payload: bytes) -> OpenedPayload:
        """Put the personal values back that keys open; the others stay null."""

    def find_erasures(self, connection: Connection) -> Erasures:
        """What the log says is erased, as of a snapshot or later."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one state and cannot write."""

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """The writer's lock and one transaction; undone whole if the block raises.

        Views, which can be rebuilt, may pass `durable=False` and spare the fsync: after a power
        loss they are older, never torn. Not re-entrant: nothing inside may append.
        """

    def stream_offsets(self, source: str | None = None) -> list[StreamOffset]:
        """How far each part of a stream was taken; of all streams without a source."""

    def put_blob(self, data: bytes) -> str:
        """Keep bytes durably under their digest, `sha256:<hex>`."""

    def get_blob(self, digest: str) -> bytes:
        """Read a blob and check it; where rows of it were erased, the one in its place.

        Raises:
            UnknownBlobError: not stored.
            StoreCorruptError: stored bytes have another digest.
        """

    def expired_blobs(self) -> dict[str, int]:
        """Give the blobs that retention removed, each with the entry that says so."""

    def blob_successors(self) -> dict[str, str]:
        """Give which blob took the place of which, once rows of it were erased."""

    def blob_path(self, digest: str) -> Path | None:
        """Give the file of a blob, where blobs are files; whoever reads a part checks it."""

    def remove_blob(self, digest: str) -> None:
        """Remove a blob that another has taken the place of."""

    def add_dead_letters(
        self, refused: Sequence[Refusal], *, connection: Connection | None = None
    ) -> list[DeadLetter]:
        """Keep refused inputs durably; the same bytes again count one more time.

        With a connection, in the transaction that it is in.
        """

    def add_dead_letter(
        self, raw: bytes, error: InvalidEventError, *, source: str = ""
    ) -> DeadLetter:
        """Keep one refused input."""

    def iter_dead_letters(self, after: int = 0) -> Iterator[DeadLetter]:
        """Walk the unresolved refusals, oldest first, those with numbers beyond `after`."""

    def count_dead_letters(self) -> int:
        """Count the unresolved refusals."""

    def get_dead_letter(self, letter_id: int) -> DeadLetter:
        """The unresolved refusal of a number.

        Raises:
            UnknownDeadLetterError: no such refusal is unresolved.
        """

    def dead_letter_bytes(self, letter_id: int) -> bytes | None:
        """The bytes of an unresolved refusal; `None` where they were too many to keep.

        Raises:
            UnknownDeadLetterError: no such refusal is unresolved.
        """

    def resolve_dead_letter(self, letter_id: int) -> None:
        """Strike a refusal off the list, after its fixed form was accepted."""

    def observe_commits(self, observe: Callable[[float], object]) -> None:
        """Have the seconds that each durable commit takes, fsync included, told to a function."""

    def close(self) -> None:
        """Close connections. Idempotent."""
