"""Who sent what: events and refusals of one commit, summed by account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from lodeline.store import Segment
from lodeline.store.accounts import AccountKey, Tally, add_tallies
from lodeline.store.connections import Connection
from lodeline.wire import DatasetEvent, Event


class _Named(msgspec.Struct, gc=False):
    namespace: str = ""


class _Claim(msgspec.Struct, gc=False):
    """What a refused input claims to be; only for counting."""

    producer: str | None = None
    job: _Named | None = None
    dataset: _Named | None = None


_CLAIMS: Final = msgspec.json.Decoder(_Claim)


class Accounts:
    """The sums of one commit."""

    def __init__(self) -> None:
        self._tallies: dict[AccountKey, Tally] = {}
        # Of each event that is to be appended, in order.
        self._events: list[tuple[Tally, int]] = []

    def note_event(self, event: Event, byte_count: int, caller: str | None) -> None:
        """Note an event that is about to be appended."""
        subject = event.dataset if isinstance(event, DatasetEvent) else event.job
        self.note(event.producer, subject.namespace, event.event_time_us, byte_count, caller)

    def note(  # called for every event; keywords cost as much as the rest
        self,
        producer: str | None,
        namespace: str,
        event_time_us: int,
        byte_count: int,
        caller: str | None,
    ) -> None:
        """Note an event that is about to be appended, by what is counted of it."""
        # A plain tuple equals the key that it stands for.
        tally = self._tallies.get((producer or "", namespace, caller or ""))  # type: ignore[call-overload]
        if tally is None:
            tally = self._tally(producer, namespace, caller)
        tally.received_bytes += byte_count
        self._events.append((tally, event_time_us))

    def note_refusal(self, raw: bytes, byte_count: int, caller: str | None) -> None:
        """Note an input that was refused."""
        try:
            claim = _CLAIMS.decode(raw)
        except (ValueError, RecursionError):
            claim = _Claim()
        named = claim.job or claim.dataset
        tally = self._tally(claim.producer, "" if named is None else named.namespace, caller)
        tally.refused += 1
        tally.received_bytes += byte_count

    def _tally(self, producer: str | None, namespace: str, caller: str | None) -> Tally:
        key = AccountKey(producer or "", namespace, caller or "")
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally()
        return found

    def add(
        self, segment: Segment, connection: Connection, duplicates: Sequence[bool], *, now_us: int
    ) -> None:
        """Write the sums, inside the transaction that appends the events.

        Args:
            segment: whose accounts.
            connection: of the transaction.
            duplicates: for each event noted, whether the log had it.
            now_us: the time.
        """
        for (tally, event_us), duplicate in zip(self._events, duplicates, strict=True):
            if duplicate:
                tally.duplicates += 1
            else:
                tally.accepted += 1
                tally.event_us = event_us
        if self._tallies:
            add_tallies(segment, connection, self._tallies, now_us=now_us)
