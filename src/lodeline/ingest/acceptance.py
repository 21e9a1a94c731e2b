"""The accept path: decode and validate, append in durable batches, keep what is refused.

One faulty input harms no other: it becomes a dead letter with code and JSON path, and the batch
goes on. An input counts as accepted only after the commit that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lodeline.errors import InvalidEventError, UnknownDeadLetterError
from lodeline.ingest.projection import fold_pending
from lodeline.limits import COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX
from lodeline.store import AcceptedEvent, DeadLetter, Refusal, Segment
from lodeline.store.senders import Sender
from lodeline.wire import decode_document


class Submission(NamedTuple):
    """One input.

    Attributes:
        raw: an OpenLineage event in JSON, or what claims to be one.
        source: where it came from, such as `events.jsonl:17`.
        sender: who brought it, as authenticated; `None` where nobody had to say.
    """

    raw: bytes
    source: str = ""
    sender: Sender | None = None


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
    document = decode_document(raw)
    return AcceptedEvent(document.canonical, document.fields())


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
    events: list[AcceptedEvent] = []
    refused: list[Refusal] = []
    for submission in batch:
        try:
            events.append(prepare_event(submission.raw))
        except InvalidEventError as error:
            refused.append(Refusal(submission.raw, error, submission.source))
    for appended in segment.append(events):
        if appended.duplicate:
            result.duplicates += 1
        else:
            result.accepted += 1
    if refused:
        result.dead_letters += segment.add_dead_letters(refused)
        result.refused += len(refused)


def retry_dead_letters(
    segment: Segment, letter_ids: Sequence[int] | None = None, *, edited: bytes | None = None
) -> ImportResult:
    """Send refused inputs again; those now accepted leave the list.

    Args:
        segment: where they were refused.
        letter_ids: which; all unresolved ones without.
        edited: sent in place of the one letter named. If it is refused as well, the letter stays
            as it was, and the refusal of the edited bytes is what is reported.

    Raises:
        UnknownDeadLetterError: no such letter is unresolved.
    """
    known = {letter.letter_id: letter for letter in segment.iter_dead_letters()}
    result = ImportResult()
    for letter_id in known if letter_ids is None else letter_ids:
        letter = known.get(letter_id)
        if letter is None:
            raise UnknownDeadLetterError(letter_id)
        raw = segment.dead_letter_bytes(letter_id) if edited is None else edited
        if raw is None:
            result.refused += 1
            result.dead_letters.append(letter)
            continue
        try:
            event = prepare_event(raw)
        except InvalidEventError as error:
            result.refused += 1
            result.dead_letters.append(_refused_again(segment, letter, raw, error, edited=edited))
            continue
        (appended,) = segment.append([event])
        # Resolved after the append: a crash between leaves a letter whose retry is a duplicate.
        segment.resolve_dead_letter(letter_id)
        result.duplicates += appended.duplicate
        result.accepted += not appended.duplicate
    fold_pending(segment)
    return result


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
