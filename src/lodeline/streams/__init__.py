"""Streams: events from brokers and folders, taken in with their offsets in one transaction."""

from lodeline.streams.consuming import Consumer, Counts, Sink, Source
from lodeline.streams.messages import Message
from lodeline.streams.sources import open_source

__all__ = ["Consumer", "Counts", "Message", "Sink", "Source", "open_source"]
