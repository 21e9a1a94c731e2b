"""Events, facets, canonical bytes: what crosses the wire, typed and checked.

Pure: bytes in, structures out. Every foreign event passes `decode_event`, which lets out nothing
but `InvalidEventError`.
"""

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
