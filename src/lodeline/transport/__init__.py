"""Delivery of spooled records to a store or a server, and what is computed on the way.

A transport is found by entry point (group `lodeline.transports`), the built-in ones too, so the
client side never imports the service it may deliver into.

Each name loads on first use: a run whose delivery waits needs no deliverer.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lodeline.transport.deliverer import Report, count_postponed, count_refused, deliver
    from lodeline.transport.draining import drain_into, flush, follow
    from lodeline.transport.transports import Outcome, Transport, open_transport, shown_receiver
    from lodeline.transport.waiting import is_backlog

# Name -> module of this folder.
_HOMES: Final = {
    "Outcome": "transports",
    "Report": "deliverer",
    "Transport": "transports",
    "count_postponed": "deliverer",
    "count_refused": "deliverer",
    "deliver": "deliverer",
    "drain_into": "draining",
    "flush": "draining",
    "follow": "draining",
    "is_backlog": "waiting",
    "open_transport": "transports",
    "shown_receiver": "transports",
}

__all__ = [
    "Outcome",
    "Report",
    "Transport",
    "count_postponed",
    "count_refused",
    "deliver",
    "drain_into",
    "flush",
    "follow",
    "is_backlog",
    "open_transport",
    "shown_receiver",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
