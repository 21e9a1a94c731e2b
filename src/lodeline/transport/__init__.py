"""Delivery of spooled records to a store or a server, and what is computed on the way.

A transport is found by entry point (group `lodeline.transports`), the built-in ones too, so the
client side never imports the service it may deliver into.
"""

from lodeline.transport.deliverer import Report, count_postponed, count_refused, deliver
from lodeline.transport.draining import drain_into, flush, follow
from lodeline.transport.transports import Outcome, Transport, open_transport, shown_receiver
from lodeline.transport.waiting import is_backlog

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
