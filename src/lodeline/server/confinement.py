"""Callers confined to namespaces bring events of those alone.

An event belongs to the namespace of its job; one that is about a dataset alone, to the dataset's.
What a job reads and writes lies in namespaces of stores, which teams share, and is not asked about,
but for the catalogue's own entries. Only what a confined caller sends is looked into here; what
cannot be read is left to the decoder, which refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lodeline.errors import ForbiddenError
from lodeline.query.catalogue import RESERVED
from lodeline.server.endpoints import Caller
from lodeline.wire import find_namespace


class _Data(msgspec.Struct, gc=False):
    namespace: str


class _Touching(msgspec.Struct, gc=False):
    inputs: list[_Data] | None = None
    outputs: list[_Data] | None = None


_TOUCHING = msgspec.json.Decoder(_Touching)


def find_forbidden(
    caller: Caller, raw: bytes, *, segment: str = "default"
) -> ForbiddenError | None:
    """Tell why a caller may not bring an event; `None` if they may.

    Args:
        caller: who brings it.
        raw: the event as sent.
        segment: where it would go.
    """
    if caller.segments is not None and segment not in caller.segments:
        return _elsewhere(caller)
    if caller.namespaces is None:
        return None
    namespace = find_namespace(raw)
    if namespace is None:
        return None
    if namespace not in caller.namespaces:
        return _forbidden(caller, namespace)
    # What the catalogue says of itself, such as that something was removed, is nobody's data.
    entries = (one for one in _touched(raw) if one.startswith(RESERVED))
    return next((_forbidden(caller, one) for one in entries if one not in caller.namespaces), None)


def _touched(raw: bytes) -> list[str]:
    """Give the namespaces of what a job reads and writes."""
    try:
        event = _TOUCHING.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [one.namespace for one in (*(event.inputs or ()), *(event.outputs or ()))]


def find_forbidden_record(
    caller: Caller, record: dict[str, Any], *, segment: str = "default"
) -> ForbiddenError | None:
    """Tell why a caller may not bring a record of predictions; `None` if they may.

    A block is reserved for a deployment, whose namespace counts. Predictions name their block, a
    random number that nobody but its process knows.
    """
    if caller.segments is not None and segment not in caller.segments:
        return _elsewhere(caller)
    if caller.namespaces is None or record.get("type") != "reservation":
        return None
    deployment = record.get("deployment")
    namespace = deployment.get("namespace") if isinstance(deployment, dict) else None
    if isinstance(namespace, str) and namespace in caller.namespaces:
        return None
    return _forbidden(caller, str(namespace))


def check_blob(caller: Caller, namespace: str | None, *, segment: str = "default") -> None:
    """Check that a caller may bring a blob.

    Args:
        caller: who brings it.
        namespace: of the job whose event will refer to it; `None` where nobody said so.
        segment: where it would go.

    Raises:
        ForbiddenError: the event would be refused, too.
    """
    if caller.segments is not None and segment not in caller.segments:
        raise ForbiddenError(_elsewhere(caller).reason, path="namespace")
    if caller.namespaces is None or namespace is None or namespace in caller.namespaces:
        return
    raise ForbiddenError(_forbidden(caller, namespace).reason, path="namespace")


def require_whole_sight(caller: Caller, because: str) -> None:
    """Check that nothing is hidden from a caller, where an answer cannot leave anything out.

    Raises:
        ForbiddenError: something is.
    """
    if not caller.authoriser.sees_all:
        raise ForbiddenError(f"{because}, and the key {caller.key_id} sees a part")


def check_namespace(caller: Caller, parameters: Mapping[str, str]) -> None:
    """Check that a caller may record something of what a path names.

    Args:
        caller: who records it.
        parameters: of the path. A run's identifier will do: who may not see it does not find it.

    Raises:
        ForbiddenError: it lies in another namespace, or is the whole catalogue's.
    """
    if caller.namespaces is None:
        return
    namespace = parameters.get("namespace")
    if namespace is None and "id" not in parameters:
        raise ForbiddenError(f"the key {caller.key_id} is confined to namespaces")
    if namespace is not None and namespace not in caller.namespaces:
        raise _forbidden(caller, namespace)


def _elsewhere(caller: Caller) -> ForbiddenError:
    """Refuse what a segment takes that a caller may not use, without its name."""
    return ForbiddenError(
        f"the key {caller.key_id} brings nothing to the segment of this namespace"
    )


def _forbidden(caller: Caller, namespace: str) -> ForbiddenError:
    return ForbiddenError(f"the key {caller.key_id} brings nothing of namespace {namespace!r}")
