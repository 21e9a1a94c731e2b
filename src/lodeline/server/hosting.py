"""What a service over several segments does in each: writing, recording predictions, serving files.

Where there is one segment, its writer is used as it is, and nothing here costs anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import ForbiddenError, LodelineError, UnknownSegmentError, UsageError
from lodeline.ingest.predictions import accept_predictions, has_block
from lodeline.ingest.projection import fold_pending
from lodeline.limits import BLOCKS_REMEMBERED_MAX
from lodeline.model import parse_identifier
from lodeline.query.permission import Authoriser
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.segments import DEFAULT_SEGMENT, Router, Segments, may_use
from lodeline.server.writing import Input, Outcome, Tell, Writer, Written
from lodeline.store import Refusal
from lodeline.store.senders import Sender


class RoutedWriter(Writer):
    """Writes each event with the writer of its segment.

    Args:
        writers: by segment, `default` among them.
        router: tells which.
    """

    def __init__(self, writers: Mapping[str, Writer], router: Router) -> None:
        self._writers = writers
        self._router = router

    def start(self) -> None:
        """Start all."""
        for writer in self._writers.values():
            writer.start()

    def stop(self, timeout_s: float) -> bool:
        """Stop all, one after another; whether everything was written in time."""
        in_time = [writer.stop(timeout_s) for writer in self._writers.values()]
        return all(in_time)

    @property
    def alive(self) -> bool:
        """Whether all take events."""
        return all(writer.alive for writer in self._writers.values())

    @property
    def failure(self) -> str | None:  # type: ignore[override]  # an attribute of one writer
        """Why a last write failed."""
        return next((one.failure for one in self._writers.values() if one.failure), None)

    @property
    def waiting(self) -> int:
        """Events that wait for a commit."""
        return sum(writer.waiting for writer in self._writers.values())

    def segment_of(self, raw: bytes) -> str:
        """Give the segment that an event goes to."""
        return self._router.of_event(raw)

    async def write(self, inputs: Sequence[Input], *, folded: bool = False) -> Written:
        """Write events, those of each segment in one transaction; see `Writer.write`.

        Raises:
            LodelineError: a segment takes none now. What others took is durable, and is recognised
                when it is sent again.
        """
        places: dict[str, list[int]] = {}
        for index, one in enumerate(inputs):
            name = DEFAULT_SEGMENT if isinstance(one, Refusal) else self.segment_of(one.raw)
            places.setdefault(name, []).append(index)
        parts = await asyncio.gather(
            *(
                self._writers[name].write([inputs[index] for index in indexes], folded=folded)
                for name, indexes in places.items()
            ),
            return_exceptions=True,
        )
        outcomes: list[Outcome] = [Outcome(None)] * len(inputs)
        all_folded = True
        for (name, indexes), written in zip(places.items(), parts, strict=True):
            if isinstance(written, BaseException):
                raise written
            all_folded = all_folded and written.folded
            for index, outcome in zip(indexes, written.outcomes, strict=True):
                outcomes[index] = outcome._replace(segment=name)
        return Written(outcomes, folded=all_folded)

    def submit(self, one: Input, tell: Tell) -> None:
        """Have one event written; see `Writer.submit`."""
        name = DEFAULT_SEGMENT if isinstance(one, Refusal) else self.segment_of(one.raw)

        def named(written: Written, error: LodelineError | None) -> None:
            outcomes = [outcome._replace(segment=name) for outcome in written.outcomes]
            tell(Written(outcomes, folded=written.folded), error)

        self._writers[name].submit(one, named)

    def prove(self, outcome: Outcome) -> str:
        """Prove an entry under its segment's checkpoint."""
        return self._writers[outcome.segment].prove(outcome)

    def sign_batch(self, outcomes: Sequence[Outcome]) -> str:
        """Sign a receipt for each segment that took events, separated by commas."""
        accepted = [one for one in outcomes if one.appended is not None]
        names = dict.fromkeys(one.segment for one in accepted)
        return ",".join(
            self._writers[name].sign_batch([one for one in accepted if one.segment == name])
            for name in names
        )


class RoutedPredictions:
    """Records predictions in the segment of their deployment, or where their block is reserved."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._blocks: dict[str, str] = {}

    def segment_of(self, record: Mapping[str, Any]) -> str:
        """Give the segment that a record goes to."""
        if len(self._segments.by_name) == 1:
            return DEFAULT_SEGMENT
        block = str(record.get("block"))
        deployment = record.get("deployment")
        if record.get("type") == "reservation" and isinstance(deployment, dict):
            namespace = str(deployment.get("namespace", ""))
            self._blocks[block] = self._segments.router.of_namespace(namespace)
        if len(self._blocks) > BLOCKS_REMEMBERED_MAX:
            self._blocks.clear()
        if block not in self._blocks:
            found = (name for name, one in self._segments.by_name.items() if has_block(one, block))
            self._blocks[block] = next(found, DEFAULT_SEGMENT)
        return self._blocks[block]

    def take(
        self, records: Sequence[dict[str, Any]], sender: Sender | None = None
    ) -> list[str | None]:
        """Make records durable with who brought them, and tell for each why it cannot be."""
        outcomes: list[str | None] = [None] * len(records)
        places: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            places.setdefault(self.segment_of(record), []).append(index)
        for name, indexes in places.items():
            segment = self._segments.by_name[name]
            told = accept_predictions(segment, [records[index] for index in indexes], sender=sender)
            for index, one in zip(indexes, told, strict=True):
                outcomes[index] = one
            # Answers stop at what is folded, and no event may follow to have it folded.
            fold_pending(segment)
        return outcomes


class RoutedBlobs:
    """Keeps each blob in the segment of the event that will refer to it.

    The event comes later, so that who brings a blob names the namespace of its job.
    """

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def segment_of(self, namespace: str | None) -> str:
        """Give the segment of a namespace.

        Raises:
            UsageError: none was named, and there are several.
        """
        if len(self._segments.by_name) == 1:
            return DEFAULT_SEGMENT
        if namespace is None:
            raise UsageError("of several segments: name the `namespace` of the blob's job")
        return self._segments.router.of_namespace(namespace)

    def keep(self, data: bytes, segment: str) -> str:
        """Make bytes durable beside a segment's store; give their digest."""
        return self._segments.by_name[segment].put_blob(data)


class _Group(Protocol):
    def endpoints(self) -> Sequence[Endpoint]: ...


class EachSegment:
    """Endpoints of which every segment has its own: a request goes to the one that it names.

    Args:
        groups: by segment, of the same endpoints in the same order; `default` among them.
        choose: tells a request's segment by its parameters.
        authoriser: tells what a caller may see, within segments and by their rules.
    """

    def __init__(
        self,
        groups: Mapping[str, _Group],
        choose: Callable[[Request], str],
        authoriser: Callable[[Caller], Authoriser],
    ) -> None:
        self._listed = {name: list(group.endpoints()) for name, group in groups.items()}
        self._choose = choose
        self._authoriser = authoriser

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the endpoints."""
        return [
            replace(one, serve=self._serving(number))
            for number, one in enumerate(self._listed[DEFAULT_SEGMENT])
        ]

    def _serving(self, number: int) -> Callable[[Request, Caller], Any]:
        async def serve(request: Request, caller: Caller) -> Response:
            name = self._choose(request)
            usable = tuple(one for one in self._listed if may_use(caller, one))
            if name not in usable:
                if name in request.query_params.getlist("segment") or name not in self._listed:
                    # One that they may not use is as unknown as one that is not there.
                    raise UnknownSegmentError(name[:80], usable)
                raise ForbiddenError(f"the key {caller.key_id} may not ask about this namespace")
            seen = replace(caller, authoriser=self._authoriser(caller))
            return await self._listed[name][number].serve(_without_segment(request), seen)

        return serve


def _without_segment(request: Request) -> Request:
    """Give a request without its parameter `segment`, which is read here."""
    query = [one for one in request.query_params.multi_items() if one[0] != "segment"]
    if len(query) == len(request.query_params.multi_items()):
        return request
    scope = {**request.scope, "query_string": urlencode(query).encode()}
    return Request(scope, request.receive)


def segment_named(request: Request) -> str:
    """Tell a request's segment by its parameter `segment`; the default one without."""
    name: str = request.query_params.get("segment", DEFAULT_SEGMENT)
    return name


def segment_of_request(router: Router, request: Request) -> str:
    """Tell a request's segment by the namespace in its path, or by the node that it asks about."""
    namespace = request.path_params.get("namespace")
    if namespace is None:
        text = request.query_params.get("nodeId") or request.query_params.get("id") or ""
        try:
            namespace = parse_identifier(text).namespace
        except LodelineError:
            # Nobody's node: whichever segment is asked says so.
            namespace = ""
    return router.of_namespace(namespace)
