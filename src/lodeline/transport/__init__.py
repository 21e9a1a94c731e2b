"""Delivery of spooled records to a store or a server, and what is computed on the way.

A transport is found by entry point (group `lodeline.transports`), the built-in ones too, so the
client side never imports the service it may deliver into.
"""

from lodeline.transport.deliverer import Report, deliver
from lodeline.transport.draining import drain_into, flush
from lodeline.transport.transports import Transport, open_transport

__all__ = ["Report", "Transport", "deliver", "drain_into", "flush", "open_transport"]
