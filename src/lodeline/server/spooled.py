"""The spool beside the default store, delivered to all segments as what comes over HTTP is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lodeline.errors import UsageError
from lodeline.ingest.delivery import EmbeddedTransport
from lodeline.server.hosting import RoutedBlobs, RoutedPredictions
from lodeline.server.segments import Router, Segments


class RoutedTransport:
    """A transport into several stores.

    Args:
        stores: URLs by segment, `default` among them.
        router: tells which segment takes what.
    """

    def __init__(self, stores: Mapping[str, str], router: Router) -> None:
        self._router = router
        self._transports = {name: EmbeddedTransport(url) for name, url in stores.items()}
        segments = {name: one.segment for name, one in self._transports.items()}
        self._predictions = RoutedPredictions(Segments(segments, router))
        self._blobs = RoutedBlobs(Segments(segments, router))

    def close(self) -> None:
        """Close the stores."""
        for transport in self._transports.values():
            transport.close()

    def deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Take records in, those of each segment in order; see `EmbeddedTransport.deliver`.

        Raises:
            DeliveryError: a store cannot be written now; what others took is recognised next time.
        """
        outcomes: list[str | None] = [None] * len(records)
        places: dict[str, list[int]] = {}
        for index, (kind, payload) in enumerate(records):
            try:
                place = self._segment_of(kind, payload)
            except UsageError as error:
                outcomes[index] = str(error)
            else:
                places.setdefault(place, []).append(index)
        for name, indexes in places.items():
            told = self._transports[name].deliver([records[index] for index in indexes])
            for index, one in zip(indexes, told, strict=True):
                outcomes[index] = one
        return outcomes

    def _segment_of(self, kind: str, payload: bytes) -> str:
        if kind == "event":
            return self._router.of_event(payload)
        if kind == "blob":
            return self._blobs.segment_of(json.loads(payload).get("namespace"))
        return self._predictions.segment_of(json.loads(payload))
