"""From a draft, as the observed program left it, to the event that is delivered.

What is open in a draft is marked `pending`: digests of files, and what is named by them (versions
of models, the configuration of a deployment). Everything else stays as it was, byte for byte where
nothing was open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lodeline.model.identifiers import NodeId
from lodeline.records import value
from lodeline.settings import number_setting
from lodeline.transport.digests import (
    DatasetDigest,
    DigestMemory,
    FileState,
    Hasher,
    digest_pending,
)
from lodeline.transport.logical import Logical, LogicalMemory
from lodeline.transport.postponed import POSTPONED, Note, completed, note_of, read_note
from lodeline.wire.facets.addresses import PRODUCER, schema_url_of

# Bytes of a table that one core digests logically in a second, and what it takes to load what reads
# tables; used to tell beforehand whether the time left is enough.
_LOGICAL_BYTES_PER_SECOND: Final = 3_000_000
_LOGICAL_START_SECONDS: Final = 0.3

_PENDING: Final = b'"pending"'
_DIGEST, _MODEL, _DEPLOYMENT = "lodeline_digest", "lodeline_model", "lodeline_deployment"
_CAPTURE: Final = "lodeline_capture"
_ENDS: Final = frozenset({"COMPLETE", "FAIL", "ABORT"})


@value
class Finished:
    """A record ready for a transport.

    Attributes:
        kind: as `Transport` lists them.
        payload: JSON.
        changed: whether something was computed, so that doing it again might differ.
    """

    kind: str
    payload: bytes
    changed: bool


class Finisher:
    """Turns spooled records into what transports take; hashes each file once.

    Args:
        deadline: of the monotonic clock; `None` for no bound.
        logical: remembers logical digests.
        memory: remembers digests of large files.
        logical_seconds: that may go into logical digests; `None` for no bound.

    Attributes:
        postponed: notes of logical digests that would have taken longer.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        logical: LogicalMemory | None = None,
        memory: DigestMemory | None = None,
        logical_seconds: float | None = None,
    ) -> None:
        self.postponed: list[Note] = []
        self._logical_seconds = logical_seconds
        bytes_max = number_setting("digest_bytes", otherwise=float("inf"))
        self.hasher = Hasher(deadline=deadline, memory=memory, bytes_max=bytes_max)
        self._logical = logical or LogicalMemory()

    def finish(self, record: bytes) -> Finished:
        """Finish one spooled record.

        Raises:
            OutOfTimeError: the deadline passed while hashing.
            ValueError: it is no record of the spool.
        """
        import msgspec  # a run that finishes its own events reads none

        envelope = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        kind = msgspec.json.decode(envelope.get("type", msgspec.Raw(b"null")), type=str)
        body = bytes(envelope["event"]) if kind == "event" and "event" in envelope else record
        if kind == POSTPONED:
            self.postponed.append(read_note(record))
            return Finished("", b"", changed=False)
        if kind not in {"event", "reservation", "predictions", "end", "blob"}:
            raise ValueError(f"unknown record type {kind!r}")
        if _PENDING not in body or kind in {"predictions", "blob"}:
            return Finished(kind, body, changed=False)
        draft = msgspec.json.decode(body, type=dict[str, Any])
        if kind == "event":
            self.finish_event(draft)
        else:
            self._finish_serving(draft)
        return Finished(kind, msgspec.json.encode(draft), changed=True)

    def finish_event(self, event: dict[str, Any]) -> None:
        """Finish an event in place.

        Raises:
            OutOfTimeError: the deadline passed while hashing.
        """
        gaps: list[dict[str, str]] = []
        # Several at a time; each is found in memory below.
        self.hasher.digest_all(dict.fromkeys(_iter_states(event)))
        for member, dataset in _iter_datasets(event):
            facets = dataset.get("facets")
            if not isinstance(facets, dict):
                continue
            at = _node_of(dataset, facets)
            digest, model = facets.get(_DIGEST), facets.get(_MODEL)
            if isinstance(digest, dict) and "pending" in digest:
                names = _names_of(facets)
                file = self._finish_digest(digest, at, gaps, names)
                # Whatever a run tells before its end, it tells again there.
                if file is not None and event.get("eventType") in _ENDS:
                    self.postponed.append(note_of(event, member, dataset, file, names))
            if isinstance(model, dict) and "pending" in model:
                found = self._digest(model.pop("pending"), at, gaps)
                model["digest"] = None if found.value is None else f"sha256:{found.value}"
            if isinstance(facets.get(_DEPLOYMENT), dict):
                self._finish_deployment(facets[_DEPLOYMENT], gaps)
        _add_gaps(event, gaps)

    def _finish_digest(
        self, facet: dict[str, Any], at: str, gaps: list[dict[str, str]], names: frozenset[str]
    ) -> dict[str, Any] | None:
        """Complete a digest; gives the file's state where its logical digest is left open."""
        pending = facet.pop("pending")
        found = self._digest(pending, at, gaps)
        facet.update(algorithm="sha256", value=found.value, bytes=found.bytes)
        facet["source"] = "bytes" if found.manifest is None else "manifest"
        if found.information is not None:
            facet["information"] = found.information
        if found.manifest is not None:
            facet["manifest"] = [
                {"key": key, "digest": digest, "bytes": size}
                for key, digest, size in found.manifest
            ]
        # With it would come the names of all columns.
        elif found.value is not None and not pending.get("columnsWithheld"):
            state = FileState.read(pending)
            if not self._may_find_logical(state, found.value, names):
                return dict(pending)
            logical = self._find_logical(state, found.value, names)
            if logical is not None:
                facet["logical"], facet["logicalSchema"] = logical
        return None

    def finish_postponed(self, note: Note) -> bytes | None:
        """Make the event that tells a postponed logical digest; `None` where there is none.

        Raises:
            OutOfTimeError: it would take longer than is left.
            ValueError: it is no such note.
        """
        try:
            state, names = FileState.read(note["file"]), frozenset(note["names"])
            value = str(note["digest"]["value"])
            if not self.hasher.is_still(state):
                return None
            logical = self._find_logical(state, value, names)
            return None if logical is None else json.dumps(completed(note, *logical)).encode()
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the note of a logical digest: {error!r}") from error

    def _may_find_logical(self, state: FileState, digest: str, names: frozenset[str]) -> bool:
        if self._logical_seconds is None or self._logical.knows(state.path, digest, names):
            return True
        needed = state.size / _LOGICAL_BYTES_PER_SECOND
        if "pyarrow" not in sys.modules:
            needed += _LOGICAL_START_SECONDS
        if needed > self._logical_seconds:
            return False
        self._logical_seconds -= needed
        return True

    def _find_logical(self, state: FileState, digest: str, names: frozenset[str]) -> Logical | None:
        if not self._logical.knows(state.path, digest, names):
            self.hasher.check_time(needed=state.size / _LOGICAL_BYTES_PER_SECOND)
        logical = self._logical.find(state.path, state.size, digest, names)
        # The table was read after the bytes were hashed: it must still be those bytes.
        if not self.hasher.is_still(state):
            self._logical.forget(state.path, digest, names)
            return None
        return logical

    def _finish_serving(self, record: dict[str, Any]) -> None:
        gaps: list[dict[str, str]] = []
        if isinstance(record.get("model"), dict):
            self._finish_model_reference(record["model"], gaps)
        if isinstance(record.get("deployment"), dict):
            self._finish_deployment(record["deployment"], gaps)
        if gaps:
            record["gaps"] = gaps[:1]

    def _finish_deployment(self, facet: dict[str, Any], gaps: list[dict[str, str]]) -> None:
        facet.pop("pending", None)
        configuration = facet.get("configuration")
        for holder in (facet, configuration):
            if isinstance(holder, dict) and isinstance(holder.get("model"), dict):
                self._finish_model_reference(holder["model"], gaps)
        if isinstance(configuration, dict) and not facet.get("digest"):
            facet["digest"] = configuration_digest(configuration)

    def _finish_model_reference(self, model: dict[str, Any], gaps: list[dict[str, str]]) -> None:
        if "pending" not in model:
            return
        node = NodeId("model", str(model.get("namespace", "")), str(model.get("name", "?")))
        found = self._digest(model.pop("pending"), str(node), gaps)
        model["version"] = None if found.value is None else f"sha256:{found.value}"

    def _digest(self, pending: object, at: str, gaps: list[dict[str, str]]) -> DatasetDigest:
        if not isinstance(pending, dict):
            pending = {}
        found = digest_pending(pending, self.hasher)
        if found.value is None:
            detail = f"no digest: {pending.get('path', '')} {found.reason}".replace("  ", " ")
            gaps.append({"at": at, "reason": "capture", "detail": detail})
        return found


def configuration_digest(configuration: dict[str, Any]) -> str:
    """Version of a deployment: SHA-256 over the canonical JSON of its configuration."""
    from lodeline.wire import canonical_bytes  # few runs deploy something

    return f"sha256:{hashlib.sha256(canonical_bytes(configuration)).hexdigest()}"


def _iter_datasets(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for member in ("inputs", "outputs"):
        for dataset in event.get(member) or ():
            if isinstance(dataset, dict):
                yield member, dataset
    if isinstance(event.get("dataset"), dict):
        yield "dataset", event["dataset"]


def _iter_states(event: dict[str, Any]) -> Iterator[FileState]:
    """The single files of an event that wait for a digest."""
    for _, dataset in _iter_datasets(event):
        facets = dataset.get("facets")
        for name in (_DIGEST, _MODEL):
            facet = facets.get(name) if isinstance(facets, dict) else None
            pending = facet.get("pending") if isinstance(facet, dict) else None
            if isinstance(pending, dict) and "files" not in pending:
                with contextlib.suppress(ValueError):
                    state = FileState.read(pending)
                    if not Path(state.path).is_dir():
                        yield state


def _names_of(facets: dict[str, Any]) -> frozenset[str]:
    """The names of columns that the program used: what its schema facet tells anyway."""
    schema = facets.get("schema")
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return frozenset()
    names = (field.get("name") for field in fields if isinstance(field, dict))
    return frozenset(name for name in names if isinstance(name, str))


def _node_of(dataset: dict[str, Any], facets: dict[str, Any]) -> str:
    kind = "model" if _MODEL in facets else "deployment" if _DEPLOYMENT in facets else "dataset"
    return str(NodeId(kind, str(dataset.get("namespace", "")), str(dataset.get("name", "?"))))


def _add_gaps(event: dict[str, Any], gaps: list[dict[str, str]]) -> None:
    if not gaps or not isinstance(event.get("run"), dict):
        return
    facets = event["run"].setdefault("facets", {})
    facet = facets.get(_CAPTURE)
    if not isinstance(facet, dict):
        facet = facets[_CAPTURE] = {
            "_producer": PRODUCER,
            "_schemaURL": schema_url_of("run", _CAPTURE),
        }
    known = facet.setdefault("gaps", [])
    known.extend(gap for gap in gaps if gap not in known)
