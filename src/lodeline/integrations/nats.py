"""NATS: subjects that a program subscribes to and publishes, and its run in messages' headers.

JetStream publishes and delivers through the same two methods; its own subjects, and inboxes of
requests, are no data and are left out. A message counts as consumed when it reaches the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.datasets import Dataset
from lodeline.capture.messages import correlate, note_message, telling_at_end, with_headers_at
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER, Recorder

_OWN = ("$", "_INBOX.")
_DELIVERED = "$JS.ACK."


class NatsIntegration:
    """nats-py 2.6 and later."""

    name = "nats"
    supports = "nats-py>=2.6,<3"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Wrap publishing, delivery and closing."""
        del recorder
        from nats.aio.client import Client

        patches = Patches("nats")
        for name, make in (
            ("publish", _publishing),
            ("_process_msg", _receiving),
            ("close", telling_at_end("nats.close")),
        ):
            original = vars(Client).get(name)
            if original is not None:
                patches.wrap(Client, name, original, make)
        return patches.undo


def _publishing(original: Any) -> Any:
    async def lodeline(self: Any, subject: str, *args: Any, **kwargs: Any) -> Any:
        given = (args, kwargs)
        own = not isinstance(subject, str) or subject.startswith(_OWN)
        try:
            if not own:
                args, kwargs = _with_headers(self, args, kwargs)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("nats.publish", error)
            args, kwargs = given
        result = await original(self, subject, *args, **kwargs)
        try:
            if not own:
                payload = args[0] if args else kwargs.get("payload", b"")
                note_message("write", Dataset(_namespace(self), subject), value=payload)
        except Exception as error:  # as above
            RECORDER.trouble("nats.publish", error)
        return result

    return lodeline


def _receiving(original: Any) -> Any:
    async def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        try:
            if len(args) == 5:
                _, subject, reply, data, headers = args
                _note_received(self, subject, reply, data, headers)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("nats.message", error)
        return result

    return lodeline


_HEADERS_AT = 2  # of `publish`, after payload and reply


def _with_headers(
    client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not getattr(client, "_server_info", {}).get("headers", False):
        return args, kwargs
    given = args[_HEADERS_AT] if len(args) > _HEADERS_AT else kwargs.get("headers")
    texts = {name.lower(): str(value) for name, value in (given or {}).items()}
    added = correlate(texts)
    if not added:
        return args, kwargs
    kept = {name: value for name, value in (given or {}).items() if name.lower() not in added}
    headers = {**kept, **added}
    return with_headers_at(_HEADERS_AT, headers, args, kwargs)


def _note_received(
    client: Any, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
) -> None:
    name = subject.decode()
    if name.startswith(_OWN):
        return
    baggage = ""
    for line in (headers or b"").decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "baggage":
            baggage = value.strip()
    note_message(
        "read",
        Dataset(_namespace(client), name),
        offset=_sequence(reply.decode("utf-8", "replace")),
        value=bytes(data),
        baggage=baggage,
    )


def _sequence(reply: str) -> int | None:
    """Sequence of a message in its JetStream, which the subject to acknowledge it at tells."""
    if not reply.startswith(_DELIVERED):
        return None
    # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.consumed.time.pending[.token]
    parts = reply.split(".")
    index = 5 if len(parts) == 9 else 7
    return int(parts[index]) if len(parts) > index and parts[index].isdigit() else None


def _namespace(client: Any) -> str:
    url = client.connected_url
    return "nats://unknown" if url is None else f"nats://{url.hostname}:{url.port or 4222}"
