"""What a transport is, and how one is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Final, Protocol, cast

from lodeline.errors import UsageError

GROUP: Final = "lodeline.transports"
# The entry points of pyproject.toml once more, for a source tree that was never installed.
BUILT_IN: Final = {
    "embedded": "lodeline.ingest.delivery:EmbeddedTransport",
    "http": "lodeline.transport.http:HttpTransport",
}
_SCHEMES: Final = {
    "sqlite": "embedded",
    "postgresql": "embedded",
    "postgres": "embedded",
    "http": "http",
    "https": "http",
}


class Transport(Protocol):
    """Someone who takes finished records and makes them durable.

    A record is a kind and its JSON:
    `event` an OpenLineage event; `reservation`, `predictions` and `end` as
    `docs/reference/predictions.md` describes them; `blob` `{"digest", "path"}`.
    """

    def deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Deliver records in order.

        Returns:
            For each record `None` when it is durable at the receiver (or was already), else why
            it can never be.

        Raises:
            DeliveryError: nothing can be said of any of them; all may be sent again.
        """

    def close(self) -> None:
        """Let go of connections."""


def open_transport(url: str) -> Transport:
    """Open the transport for a store's or a server's URL, by its scheme.

    Raises:
        UsageError: no transport for that scheme.
    """
    scheme = url.partition(":")[0].lower()
    name = _SCHEMES.get(scheme, scheme)
    found = list(entry_points(group=GROUP, name=name))
    if found:
        factory = found[0].load()
    elif name in BUILT_IN:
        factory = resolve_name(BUILT_IN[name])
    else:
        raise UsageError(f"no transport for {url!r}; write sqlite:///…, postgresql://… or http://…")
    return cast("Callable[[str], Transport]", factory)(url)
