"""What a transport is, and how one is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, Protocol, cast

from lodeline.entry_points import find_entry_points
from lodeline.errors import MissingExtraError, UsageError
from lodeline.settings import shown_store

GROUP: Final = "lodeline.transports"
# The entry points of pyproject.toml once more, for a source tree that was never installed.
BUILT_IN: Final = {
    "embedded": "lodeline.ingest.delivery:EmbeddedTransport",
    "http": "lodeline.transport.http:HttpTransport",
    "kafka": "lodeline.transport.kafka:KafkaTransport",
    "nats": "lodeline.transport.nats:NatsTransport",
}
# What only the extra of the same name as the transport brings.
_CLIENTS: Final = frozenset({"aiokafka", "nats"})
_SCHEMES: Final = {
    "sqlite": "embedded",
    "postgresql": "embedded",
    "postgres": "embedded",
    "http": "http",
    "https": "http",
    "tls": "nats",
}


# `None` when a record is durable at the receiver (or was already), else why it can never be.
Outcome = str | None


class Transport(Protocol):
    """Someone who takes finished records and makes them durable.

    A record is a kind and its JSON:
    `event` an OpenLineage event; `reservation`, `predictions` and `end` as
    `docs/reference/predictions.md` describes them; `blob` `{"digest", "path", "namespace"}`, the
    last of the job whose event refers to it.
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
        UsageError: no transport for that scheme, or a parameter that it does not know.
        MissingExtraError: the broker's client is not installed.
    """
    scheme = url.partition(":")[0].lower()
    name = _SCHEMES.get(scheme, scheme)
    # The built-in ones need no search.
    target = BUILT_IN.get(name) or find_entry_points(GROUP).get(name)
    if target is None:
        raise UsageError(
            f"no transport for {url!r}; write sqlite:///…, postgresql://…, http://…, "
            "kafka://… or nats://…"
        )
    factory = _load(target, name)
    return cast("Callable[[str], Transport]", factory)(url)


def _load(target: str, name: str) -> object:
    try:
        home, _, attribute = target.partition(":")
        return getattr(import_module(home), attribute)
    except ModuleNotFoundError as error:
        if error.name in _CLIENTS:
            raise MissingExtraError(name, error.name) from error
        raise


def shown_receiver(url: str) -> str:
    """Give a receiver's URL as it may be printed: without passwords."""
    scheme = url.partition(":")[0].lower()
    if _SCHEMES.get(scheme, scheme) in {"kafka", "nats"}:
        # Only here: most receivers are no brokers.
        from lodeline.brokers import shown_broker

        return shown_broker(url)
    head, mark, rest = shown_store(url).partition("://")
    authority, slash, path = rest.partition("/")
    return f"{head}{mark}{authority.rpartition('@')[2] if mark else authority}{slash}{path}"
