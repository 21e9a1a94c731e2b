"""CloudEvents 1.0 around OpenLineage events: what a message of a broker carries.

Three modes: binary (attributes in `ce-` headers, the event as body), structured and batched (JSON,
with the event as `data`). A message that is none of them is an event itself. Attributes say nothing
that the event doesn't, so they are checked and dropped; its identity is its own content, however
it was wrapped. Events are slices of the input, never written anew.

Sources: CloudEvents 1.0.2, its JSON format (sections 2 to 4), and its protocol bindings for Kafka
(`ce_` headers, UTF-8) and NATS (`ce-` headers, percent-encoded). Other event formats, such as
Avro, are refused.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.wire.correlation import percent_decoded

_STRUCTURED: Final = "application/cloudevents"
_BATCH: Final = "application/cloudevents-batch"
_JSON: Final = "+json"
_ATTRIBUTES: Final = ("id", "source", "specversion", "type")

_read_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_text: Final = msgspec.json.Decoder(str).decode
# Extensions of an envelope that name what its event belongs to.
_TRACING: Final = ("traceparent", "tracestate", "baggage")


class Content(NamedTuple):
    """What was found in a message.

    Attributes:
        raw: an OpenLineage event, or several, as they were sent; with a fault, what has it.
        headers: of the message, those in the envelope over those outside.
        fault: why it is refused, if it is.
    """

    raw: bytes
    headers: Mapping[str, str]
    fault: InvalidEventError | None = None


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Give headers in one spelling: lower case, attributes as `ce-`, percent-encoding undone."""
    plain: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(("ce-", "ce_")):
            plain["ce-" + lower[3:]] = percent_decoded(value) if "%" in value else value
        else:
            plain[lower] = value
    for name in _TRACING:
        if f"ce-{name}" in plain:
            plain.setdefault(name, plain[f"ce-{name}"])
    return plain


def iter_contents(body: bytes, headers: Mapping[str, str]) -> Iterator[Content]:
    """Take the events out of a message; one that is refused keeps no other from being read.

    Args:
        body: of the message.
        headers: as `plain_headers` gives them.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind.startswith(_BATCH):
            _require_json(kind, _BATCH)
            items = [bytes(item) for item in _items_of(body)]
            for index, item in enumerate(items):
                yield _opened(item, headers, at=f"/{index}")
        elif kind.startswith(_STRUCTURED):
            _require_json(kind, _STRUCTURED)
            yield _opened(body, headers, at="")
        elif "ce-specversion" in headers:
            _check({name: headers.get(f"ce-{name}", "") for name in _ATTRIBUTES}, at="")
            yield Content(body, headers)
        elif not kind and _looks_structured(body):
            yield _opened(body, headers, at="")
        else:
            yield Content(body, headers)
    except InvalidEventError as fault:
        yield Content(body, headers, fault)


def _require_json(kind: str, family: str) -> None:
    if kind != family + _JSON:
        raise InvalidEventError("event.cloud_event", "", f"{kind}: only {family}{_JSON} is read")


def _items_of(body: bytes) -> list[msgspec.Raw]:
    try:
        return _read_items(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError("event.json", "", f"not a JSON array: {error}") from error


def _looks_structured(body: bytes) -> bool:
    """Whether a body without a content type is an envelope; no OpenLineage event has the first."""
    if b'"specversion"' not in body:
        return False
    try:
        members = _read_members(body)
    except (ValueError, RecursionError):
        return False
    return "specversion" in members and bool(members.keys() & {"data", "data_base64"})


def _opened(body: bytes, headers: Mapping[str, str], *, at: str) -> Content:
    try:
        return _from_envelope(body, headers, at=at)
    except InvalidEventError as fault:
        return Content(body, headers, fault)


def _from_envelope(body: bytes, headers: Mapping[str, str], *, at: str) -> Content:
    try:
        members = _read_members(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError("event.json", at, f"not a JSON object: {error}") from error
    # A name that stood twice lost a member, and its colon, on reading.
    if body.count(b":") != msgspec.json.encode(members).count(b":"):
        raise InvalidEventError("event.duplicate_key", at, "an envelope with a name twice")
    _check({name: _text_of(members, name) for name in _ATTRIBUTES}, at=at)
    told = {name: text for name in _TRACING if (text := _text_of(members, name))}
    return Content(_data_of(members, at=at), {**headers, **told})


def _text_of(members: Mapping[str, msgspec.Raw], name: str) -> str:
    try:
        return _read_text(members[name])
    except (KeyError, ValueError):
        return ""


def _check(attributes: Mapping[str, str], *, at: str) -> None:
    for name, value in attributes.items():
        if not value:
            raise InvalidEventError(
                "event.cloud_event", f"{at}/{name}", f"a CloudEvent without `{name}`"
            )
    version = attributes["specversion"]
    if not version.startswith("1."):
        raise InvalidEventError(
            "event.cloud_event", f"{at}/specversion", f"CloudEvents {version}: only 1.x is read"
        )


def _data_of(members: Mapping[str, msgspec.Raw], *, at: str) -> bytes:
    if ("data" in members) == ("data_base64" in members):
        found = "both `data` and" if "data" in members else "neither `data` nor"
        raise InvalidEventError("event.cloud_event", f"{at}/data", f"{found} `data_base64`")
    if "data" in members:
        return bytes(members["data"])
    try:
        return b64decode(_read_text(members["data_base64"]), validate=True)
    except ValueError as error:
        raise InvalidEventError(
            "event.cloud_event", f"{at}/data_base64", f"not base64: {error}"
        ) from error
