"""Events, facets, canonical bytes: what crosses the wire, typed and checked.

Pure: bytes in, structures out. Every foreign event passes `decode_event`, which lets out nothing
but `InvalidEventError`.

Each name loads on first use: who writes events needs none of what reads them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lodeline.wire import facets
    from lodeline.wire.belonging import find_namespace
    from lodeline.wire.canonical import canonical_bytes, content_digest, parse_with_tokens
    from lodeline.wire.commitment import commitment_fields
    from lodeline.wire.decoding import (
        Accepted,
        Document,
        decode_accepted,
        decode_document,
        decode_event,
        decode_stored,
    )
    from lodeline.wire.events import (
        Dataset,
        DatasetEvent,
        Event,
        InputDataset,
        Job,
        JobEvent,
        OutputDataset,
        Run,
        RunEvent,
    )

# Name -> module of this folder.
_HOMES: Final = {
    "Accepted": "decoding",
    "Dataset": "events",
    "DatasetEvent": "events",
    "Document": "decoding",
    "Event": "events",
    "InputDataset": "events",
    "Job": "events",
    "JobEvent": "events",
    "OutputDataset": "events",
    "Run": "events",
    "RunEvent": "events",
    "canonical_bytes": "canonical",
    "commitment_fields": "commitment",
    "content_digest": "canonical",
    "decode_accepted": "decoding",
    "decode_document": "decoding",
    "decode_event": "decoding",
    "decode_stored": "decoding",
    "find_namespace": "belonging",
    "parse_with_tokens": "canonical",
}

__all__ = [
    "Accepted",
    "Dataset",
    "DatasetEvent",
    "Document",
    "Event",
    "InputDataset",
    "Job",
    "JobEvent",
    "OutputDataset",
    "Run",
    "RunEvent",
    "canonical_bytes",
    "commitment_fields",
    "content_digest",
    "decode_accepted",
    "decode_document",
    "decode_event",
    "decode_stored",
    "facets",
    "find_namespace",
    "parse_with_tokens",
]


def __getattr__(name: str) -> object:
    if name == "facets":
        return import_module(f"{__name__}.facets")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
