"""The accept path: decode and validate, append in durable batches, keep what is refused.

One faulty input harms no other: it becomes a dead letter with code and JSON path, and the batch
goes on. An input counts as accepted only after the commit that holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
) -> ImportResult:
    """Take events in; those that overlap in time with other calls share commits.

    Args:
        segment: where to.
        raws: events in JSON, or submissions that say where they came from.
        progress: called after each batch.
        fold: bring the graph up to the log before returning.

    Raises:
        StoreFullError: no room; earlier batches are safe, this one was not stored.
    """
    result = ImportResult()
    for batch in _iter_batches(raws):
        _accept_batch(segment, batch, result)
        if progress is not None:
            progress(result)
    if fold:
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
    taken = take_in(segment, batch)
    for one in taken.appended:
        if one.duplicate:
            result.duplicates += 1
        else:
            result.accepted += 1
    result.dead_letters += taken.letters
    result.refused += len(taken.letters)


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
        return _take_in(segment, inputs, sign=sign)


def _take_in(segment: Segment, inputs: Sequence[Submission | Refusal], *, sign: bool) -> TakenIn:
    events: list[AcceptedEvent] = []
    senders: list[Sender | None] = []
    correlations: list[Correlation | None] = []
    refused: list[Refusal] = []
    accounts = Accounts()
    taken = TakenIn([])
    for one in inputs:
        error: InvalidEventError | None = None
        if isinstance(one, Refusal):
            error = one.error
            refused.append(one)
        else:
            try:
                read = decode_accepted(one.raw)
            except InvalidEventError as fault:
                error = fault
                refused.append(Refusal(one.raw, fault, one.source, caller=_name_of(one.sender)))
            else:
                canonical, fields, producer, namespace, time_us = read
                sender = one.sender
                events.append(AcceptedEvent(canonical, fields))
                senders.append(sender)
                correlations.append(one.correlation)
                caller = None if sender is None else sender.name
                accounts.note(producer, namespace, time_us, len(one.raw), caller)
        taken.errors.append(error)
    for refusal in refused:
        count = max(len(refusal.raw), refusal.byte_count)
        accounts.note_refusal(refusal.raw, count, refusal.caller)
    open_accounts(segment)
    write_senders = beside_entries(senders)

    def beside(connection: Connection, appended: Sequence[Appended]) -> None:
        if refused:
            taken.letters = segment.add_dead_letters(refused, connection=connection)
        duplicates = [one.duplicate for one in appended]
        accounts.add(segment, connection, duplicates, now_us=time.time_ns() // 1000)
        if write_senders is not None:
            write_senders(connection, appended)
        if any(correlations):
            _write_correlations(connection, appended, correlations)

    taken.appended = segment.append(events, beside=beside, sign=sign)
    return taken


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
