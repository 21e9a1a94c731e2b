"""The accept path: decode and validate, append in durable batches, keep what is refused.

One faulty input harms no other: it becomes a dead letter with code and JSON path, and the batch
goes on. An input counts as accepted only after the commit that holds it. What takes several commits
is overlapped (`overlapping`): the next group is decoded, and the last one folded, while the
database writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, NamedTuple

from lodeline.errors import InvalidEventError
from lodeline.ingest.accounting import Accounts
from lodeline.ingest.collecting import collector_paused
from lodeline.ingest.projection import fold_pending
from lodeline.ingest.splitting import split_batch
from lodeline.limits import COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX
from lodeline.store import AcceptedEvent, Appended, DeadLetter, Refusal, Segment
from lodeline.store.accounts import open_accounts
from lodeline.store.connections import Connection
from lodeline.store.senders import Sender, beside_entries
from lodeline.store.stream_tables import add_correlations, create_stream_tables
from lodeline.wire import decode_accepted
from lodeline.wire.correlation import Correlation

_WHITE_SPACE: Final = b" \t\r\n"


class Submission(NamedTuple):
    """One input.

    Attributes:
        raw: an OpenLineage event in JSON, or what claims to be one.
        source: where it came from, such as `events.jsonl:17`.
        sender: who brought it, as authenticated; `None` where nobody had to say.
        correlation: what headers named beside it.
    """

    raw: bytes
    source: str = ""
    sender: Sender | None = None
    correlation: Correlation | None = None


@dataclass(slots=True)
class ImportResult:
    """What became of a series of inputs.

    Attributes:
        accepted: appended now.
        duplicates: held by the log before.
        refused: kept as dead letters.
        dead_letters: those, in the order of the inputs.
    """

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Inputs dealt with."""
        return self.accepted + self.duplicates + self.refused

    def add(self, taken: TakenIn) -> None:
        """Count what became of the inputs of one commit."""
        for one in taken.appended:
            if one.duplicate:
                self.duplicates += 1
            else:
                self.accepted += 1
        self.dead_letters += taken.letters
        self.refused += len(taken.letters)

    def to_json(self) -> dict[str, object]:
        """Give the answer of the contract."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "dead_letters": [letter.to_json() for letter in self.dead_letters],
        }


def prepare_event(raw: bytes) -> AcceptedEvent:
    """Validate one event and work out what the log keeps of it.

    Raises:
        InvalidEventError: with code and JSON path of the fault.
    """
    read = decode_accepted(raw)
    return AcceptedEvent(read.canonical, read.fields)


def accept(
    segment: Segment,
    raws: Iterable[bytes | Submission],
    *,
    progress: Callable[[ImportResult], None] | None = None,
    fold: bool = True,
    fold_rest: bool = True,
) -> ImportResult:
    """Take events in; those that overlap in time with other calls share commits.

    Args:
        segment: where to.
        raws: events in JSON, or submissions that say where they came from.
        progress: called after each batch.
        fold: bring the graph up to the log.
        fold_rest: do not leave to the caller what is not folded yet when all is appended.

    Raises:
        StoreFullError: no room; earlier batches are safe, this one was not stored.
    """
    result = ImportResult()
    batches = _iter_batches(raws)
    first = next(batches, None)
    second = None if first is None else next(batches, None)
    if first is not None and second is not None:
        # Only here: a delivery of one commit needs no threads.
        from lodeline.ingest.overlapping import accept_overlapped

        accept_overlapped(segment, chain((first, second), batches), result, progress, fold=fold)
    elif first is not None:
        _accept_batch(segment, first, result)
        if progress is not None:
            progress(result)
    if fold and fold_rest:
        fold_pending(segment)
    return result


def _iter_batches(raws: Iterable[bytes | Submission]) -> Iterator[list[Submission]]:
    batch: list[Submission] = []
    byte_count = 0
    for item in raws:
        submission = item if isinstance(item, Submission) else Submission(item)
        batch.append(submission)
        byte_count += len(submission.raw)
        if len(batch) >= COMMIT_EVENTS_MAX or byte_count >= COMMIT_BYTES_MAX:
            yield batch
            batch, byte_count = [], 0
    if batch:
        yield batch


def _accept_batch(segment: Segment, batch: Sequence[Submission], result: ImportResult) -> None:
    result.add(take_in(segment, batch))


@dataclass(slots=True)
class TakenIn:
    """What became of the inputs of one commit.

    Attributes:
        errors: one an input, in order; `None` for an event that was appended.
        appended: of the events, in order.
        letters: of the refusals, in order.
    """

    errors: list[InvalidEventError | None]
    appended: Sequence[Appended] = ()
    letters: Sequence[DeadLetter] = ()


def take_in(
    segment: Segment, inputs: Sequence[Submission | Refusal], *, sign: bool = True
) -> TakenIn:
    """Validate inputs; append events, keep refusals and count both, in one durable transaction.

    Args:
        segment: where to.
        inputs: events to be, and what is refused already.
        sign: as `Segment.append` has it.

    Raises:
        StoreFullError: no room; nothing of it was stored.
    """
    with collector_paused():
        return Decoded(segment, inputs).append(sign=sign)


class Decoded:
    """The inputs of one commit, validated.

    Args:
        segment: where to.
        inputs: in order.
        ahead: whether to compute now what the append can have computed ahead.
    """

    def __init__(
        self, segment: Segment, inputs: Sequence[Submission | Refusal], *, ahead: bool = False
    ) -> None:
        self._segment = segment
        self._taken = TakenIn([])
        self._events: list[AcceptedEvent] = []
        self._senders: list[Sender | None] = []
        self._correlations: list[Correlation | None] = []
        self._refused: list[Refusal] = []
        self._accounts = Accounts()
        for one in inputs:
            self._taken.errors.append(self._decode(one))
        for refusal in self._refused:
            count = max(len(refusal.raw), refusal.byte_count)
            self._accounts.note_refusal(refusal.raw, count, refusal.caller)
        self._write_senders = beside_entries(self._senders)
        self._append = segment.prepare_append(self._events) if ahead else None

    def _decode(self, one: Submission | Refusal) -> InvalidEventError | None:
        if isinstance(one, Refusal):
            self._refused.append(one)
            return one.error
        sender = one.sender
        try:
            read = decode_accepted(one.raw)
        except InvalidEventError as fault:
            self._refused.append(Refusal(one.raw, fault, one.source, caller=_name_of(sender)))
            return fault
        canonical, fields, producer, namespace, time_us = read
        self._events.append(AcceptedEvent(canonical, fields))
        self._senders.append(sender)
        self._correlations.append(one.correlation)
        caller = None if sender is None else sender.name
        self._accounts.note(producer, namespace, time_us, len(one.raw), caller)
        return None

    def append(self, *, sign: bool = True) -> TakenIn:
        """Append events, keep refusals and count both, in one durable transaction.

        Args:
            sign: as `Segment.append` has it; what was computed ahead is always signed.

        Raises:
            StoreFullError: no room; nothing of it was stored.
        """
        open_accounts(self._segment)
        taken = self._taken
        if self._append is not None:
            taken.appended = self._append(self._beside)
        else:
            taken.appended = self._segment.append(self._events, beside=self._beside, sign=sign)
        return taken

    def _beside(self, connection: Connection, appended: Sequence[Appended]) -> None:
        if self._refused:
            self._taken.letters = self._segment.add_dead_letters(
                self._refused, connection=connection
            )
        duplicates = [one.duplicate for one in appended]
        now_us = time.time_ns() // 1000
        self._accounts.add(self._segment, connection, duplicates, now_us=now_us)
        if self._write_senders is not None:
            self._write_senders(connection, appended)
        if any(self._correlations):
            _write_correlations(connection, appended, self._correlations)


def _write_correlations(
    connection: Connection,
    appended: Sequence[Appended],
    correlations: Sequence[Correlation | None],
) -> None:
    create_stream_tables(connection)
    told = zip(appended, correlations, strict=True)
    add_correlations(connection, [(one.position, by) for one, by in told if by is not None])


def _name_of(sender: Sender | None) -> str | None:
    return None if sender is None else sender.name


def retry_dead_letters(
    segment: Segment, letter_ids: Sequence[int] | None = None, *, edited: bytes | None = None
) -> ImportResult:
    """Send refused inputs again; those now accepted leave the list.

    A letter that is a whole batch is taken apart; what is refused of it becomes letters of its own.

    Args:
        segment: where they were refused.
        letter_ids: which; all unresolved ones without.
        edited: sent in place of the one letter named. If it is refused as well, the letter stays
            as it was, and the refusal of the edited bytes is what is reported.

    Raises:
        UnknownDeadLetterError: no such letter is unresolved.
    """
    if letter_ids is None:
        letters = list(segment.iter_dead_letters())
    else:
        letters = [segment.get_dead_letter(letter_id) for letter_id in letter_ids]
    result = ImportResult()
    for letter in letters:
        raw = segment.dead_letter_bytes(letter.letter_id) if edited is None else edited
        if raw is None:
            result.refused += 1
            result.dead_letters.append(letter)
        elif raw.lstrip(_WHITE_SPACE).startswith(b"["):
            _retry_batch(segment, letter, raw, result, edited=edited)
        else:
            _retry_event(segment, letter, raw, result, edited=edited)
    fold_pending(segment)
    return result


def _retry_event(
    segment: Segment, letter: DeadLetter, raw: bytes, result: ImportResult, *, edited: bytes | None
) -> None:
    try:
        event = prepare_event(raw)
    except InvalidEventError as error:
        result.refused += 1
        result.dead_letters.append(_refused_again(segment, letter, raw, error, edited=edited))
        return
    (appended,) = segment.append([event])
    # Resolved after the append: a crash between leaves a letter whose retry is a duplicate.
    segment.resolve_dead_letter(letter.letter_id)
    result.duplicates += appended.duplicate
    result.accepted += not appended.duplicate


def _retry_batch(
    segment: Segment, letter: DeadLetter, raw: bytes, result: ImportResult, *, edited: bytes | None
) -> None:
    try:
        raws = split_batch(raw)
    except InvalidEventError as error:
        result.refused += 1
        result.dead_letters.append(_refused_again(segment, letter, raw, error, edited=edited))
        return
    for batch in _iter_batches(Submission(one, letter.source) for one in raws):
        _accept_batch(segment, batch, result)
    segment.resolve_dead_letter(letter.letter_id)


def _refused_again(
    segment: Segment,
    letter: DeadLetter,
    raw: bytes,
    error: InvalidEventError,
    *,
    edited: bytes | None,
) -> DeadLetter:
    if edited is None:
        return segment.add_dead_letter(raw, error, source=letter.source)
    return replace(
        letter, byte_count=len(raw), code=error.code, path=error.path, message=error.message
    )
