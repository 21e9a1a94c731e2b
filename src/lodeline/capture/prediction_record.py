"""One request under way, and the record that is made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from lodeline.capture.model_values import json_value, list_rows
from lodeline.capture.privacy import NOTHING, Privacy
from lodeline.limits import PREDICTION_BODY_BYTES_MAX, PREDICTION_VALUES_BYTES_MAX
from lodeline.model import PredictionId
from lodeline.wire import canonical_bytes

# Entity keys found without being told: at most so many, each at most so long.
_ENTITY_KEYS_MAX: Final = 16
_ENTITY_KEY_TEXT_MAX: Final = 256
# Members that hold values of the model.
_VALUES: Final = ("features", "entityKeys", "output", "furtherOutputs")
_decode: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of an estimator within a request, its values copied."""

    method: str
    features: object
    output: object
    names: Sequence[str] | None
    feature_rows: list[Mapping[str, object]] | None


class Recording(NamedTuple):
    """What the requests of one deployment have in common.

    Attributes:
        draw: gives the next identifier.
        entity_keys: names of the entity keys; empty to find them.
        find_owner: gives `namespace:name` of the deployment, by which rules of privacy find their
            columns.
    """

    draw: Callable[[], PredictionId]
    entity_keys: Sequence[str] = ()
    find_owner: Callable[[], str] = str


class Request:
    """What is known of a request so far."""

    __slots__ = (
        "_recording",
        "body",
        "body_digest",
        "calls",
        "drawn",
        "ended_ns",
        "error",
        "is_fallback",
        "keeps_output",
        "output",
        "output_digest",
        "started_ns",
        "status",
        "trace",
    )

    def __init__(self, recording: Recording, started_ns: int) -> None:
        self._recording = recording
        self.started_ns = started_ns
        self.ended_ns = 0
        self.drawn: PredictionId | None = None
        self.status: int | None = None
        self.error: str | None = None
        self.trace: dict[str, str] = {}
        self.calls: list[ModelCall] = []
        self.body: bytes = b""
        self.body_digest: Any = None
        self.is_fallback = False
        self.keeps_output = False
        self.output: bytes = b""
        self.output_digest: Any = None

    def draw(self) -> PredictionId:
        """The identifier; drawn at the first call."""
        if self.drawn is None:
            self.drawn = self._recording.draw()
        return self.drawn

    def keep_body(self, chunk: bytes) -> None:
        """Keep a piece of the request's body, or only its digest beyond a bound."""
        if not self.body and self.body_digest is None and len(chunk) <= PREDICTION_BODY_BYTES_MAX:
            self.body = chunk
        else:
            self.body, self.body_digest = _keep(self.body, self.body_digest, chunk)

    def keep_output(self, chunk: bytes) -> None:
        """Keep a piece of the response's body, or only its digest beyond a bound."""
        if (
            not self.output
            and self.output_digest is None
            and len(chunk) <= PREDICTION_BODY_BYTES_MAX
        ):
            self.output = chunk
        else:
            self.output, self.output_digest = _keep(self.output, self.output_digest, chunk)

    def write_down(self, rules: Privacy = NOTHING) -> dict[str, Any]:
        """Make the members of a prediction's record, beside `id` and `time`.

        Args:
            rules: of privacy.
        """
        record: dict[str, Any] = {
            "status": self.status,
            "latencyUs": (self.ended_ns - self.started_ns) // 1000,
        }
        if self.error is not None:
            record["error"] = self.error
        if self.is_fallback:
            record["fallback"] = True
        body = _parse(self.body)
        if self.calls:
            _add_calls(record, self.calls)
        else:
            _add_bodies(record, self, body)
        keys = _find_entity_keys(body, record.get("features"), self._recording.entity_keys)
        if keys:
            record["entityKeys"] = keys
        # Without rules nobody asks whose columns these are, which takes a look at the process.
        _conceal(record, self._recording.find_owner() if rules.rules else "", rules)
        record.update(self.trace)
        return record


def _keep(kept: bytes, digest: Any, chunk: bytes) -> tuple[bytes, Any]:
    if digest is None and len(kept) + len(chunk) <= PREDICTION_BODY_BYTES_MAX:
        return kept + chunk, None
    if digest is None:
        digest = hashlib.sha256(kept)
    digest.update(chunk)
    return b"", digest


def _conceal(record: dict[str, Any], owner: str, rules: Privacy) -> None:
    """Withhold what the settings do not let out of the process."""
    if not rules.rules:
        # Values under names of secrets are left.
        for name in _VALUES:
            if name in record:
                record[name] = rules.conceal(owner, record[name], [])
        return
    notes: list[str] = []
    for name in ("features", "entityKeys"):
        if name in record:
            record[name] = rules.conceal(owner, record[name], notes)
    for name in ("output", "furtherOutputs"):
        if name in record:
            record[name] = rules.conceal(owner, record[name], notes, column="output")
    for name in ("featuresDigest", "outputDigest", "furtherOutputsDigest"):
        # Who knows all but one value finds that one by trying.
        if name in record and rules.covers(owner):
            del record[name]
            notes.append("digests of values are withheld")
    if notes:
        detail = "by the privacy settings: " + "; ".join(dict.fromkeys(notes))
        record.setdefault("gaps", []).append({"reason": "capture", "detail": detail})


def _add_calls(record: dict[str, Any], calls: Sequence[ModelCall]) -> None:
    first = calls[0]
    features = list_rows(first.features, first.names)
    _add(record, "features", features[0] if len(features) == 1 else features)
    record["method"] = first.method
    output = list_rows(first.output, None)
    _add(record, "output", output[0] if len(output) == 1 else output)
    if len(features) != 1:
        record["rows"] = len(features)
    if first.feature_rows:
        record["featureRows"] = json_value(first.feature_rows)
    further = [call for call in calls[1:] if call.features is not None]
    if further:
        # A second method on the same input (predict after predict_proba) adds its output.
        outputs = {call.method: list_rows(call.output, None) for call in further}
        _add(record, "furtherOutputs", outputs)


def _add_bodies(record: dict[str, Any], request: Request, body: Any) -> None:
    if request.body_digest is not None:
        record["featuresDigest"] = f"sha256:{request.body_digest.hexdigest()}"
    elif body is not None:
        _add(record, "features", body, size=len(request.body))
    elif request.body:
        record["featuresDigest"] = f"sha256:{hashlib.sha256(request.body).hexdigest()}"
    if request.output_digest is not None:
        record["outputDigest"] = f"sha256:{request.output_digest.hexdigest()}"
    elif request.output:
        answer = _parse(request.output)
        if answer is not None:
            _add(record, "output", answer, size=len(request.output))
        else:
            record["outputDigest"] = f"sha256:{hashlib.sha256(request.output).hexdigest()}"


def _add(record: dict[str, Any], name: str, values: Any, *, size: int | None = None) -> None:
    """Add values, or `sha256:<hex>` of their canonical JSON when they are too large.

    Args:
        record: gets them.
        name: of the member.
        values: plain JSON values.
        size: a bound on their JSON, where one is known.
    """
    if size is None or size > PREDICTION_VALUES_BYTES_MAX:
        size = len(msgspec.json.encode(values))
    if size <= PREDICTION_VALUES_BYTES_MAX:
        record[name] = values
    else:
        record[f"{name}Digest"] = f"sha256:{hashlib.sha256(canonical_bytes(values)).hexdigest()}"


def _parse(body: bytes) -> Any:
    if not body:
        return None
    try:
        return _decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        # Python's own writer emits NaN and Infinity, which JSON lacks.
        return json_value(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _find_entity_keys(body: Any, features: Any, names: Sequence[str]) -> dict[str, Any]:
    if names:
        sources = [source for source in (body, features) if isinstance(source, dict)]
        return {
            name: next((source[name] for source in sources if name in source), None)
            for name in names
        }
    if body is features or not isinstance(body, dict) or body == features:
        return {}
    known = features if isinstance(features, dict) else {}
    return {
        name: value
        for name, value in list(body.items())[:_ENTITY_KEYS_MAX]
        if name not in known
        and isinstance(value, (str, int))
        and len(str(value)) <= min(_ENTITY_KEY_TEXT_MAX, PREDICTION_VALUES_BYTES_MAX)
    }
