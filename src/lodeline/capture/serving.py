"""The ASGI middleware that records predictions, and the hook by which estimators report to it.

What is a prediction? A request during which an observed estimator was asked to predict. Where no
estimator of the process is observed: a JSON `POST` that is answered as JSON. A path that led to a
prediction once is remembered, so that its later failures are recorded, too. Everything else
passes untouched.

The request path only draws an identifier, copies what the model was given, and queues a note.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from lodeline.capture.deployments import Deployment, describe_deployment, spool_of_this_process
from lodeline.capture.model_values import copy_values
from lodeline.capture.prediction_log import PredictionLog
from lodeline.capture.prediction_record import ModelCall, Request, write_down
from lodeline.limits import (
    PREDICTION_BODY_BYTES_MAX,
    PREDICTION_PATHS_MAX,
    TRACE_HEADER_BYTES_MAX,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
FeatureRowFinder = Callable[[object], Sequence[Mapping[str, object]]]

HEADER: Final = b"lodeline-prediction-id"
_TRACE_HEADERS: Final = {
    b"traceparent": 512,
    b"tracestate": 512,
    b"baggage": TRACE_HEADER_BYTES_MAX,
}
_CURRENT: Final[ContextVar[Request | None]] = ContextVar("lodeline-request", default=None)


class _Hooks:
    """What other parts of capture have told this module, in this process."""

    estimators_observed = False
    # `serving` was called by the program: then nothing is put on automatically.
    explicit = False
    find_feature_rows: FeatureRowFinder | None = None


def observe_estimators() -> None:
    """Tell that `observe_call` will be called: then only such calls make a prediction."""
    _Hooks.estimators_observed = True


def _are_estimators_observed() -> bool:
    if not _Hooks.estimators_observed:
        process = sys.modules.get("lodeline.capture.process")
        _Hooks.estimators_observed = process is not None and "sklearn" in process.ADAPTERS.installed
    return _Hooks.estimators_observed


def set_feature_row_finder(finder: FeatureRowFinder | None) -> None:
    """Set what knows the source rows of a model's input.

    Args:
        finder: given the input as the estimator got it, lists `{dataset, version, key}`.
    """
    _Hooks.find_feature_rows = finder


def is_serving() -> bool:
    """Whether a recorded request is under way here."""
    return _CURRENT.get() is not None


def observe_call(estimator: object, method: str, features: object, output: object) -> None:
    """Record that an estimator was asked within the current request; does nothing outside one.

    Called by integrations after the outermost `predict` or `predict_proba` returned.

    Args:
        estimator: the fitted estimator.
        method: name of the method.
        features: its input, unchanged.
        output: what it returned.
    """
    request = _CURRENT.get()
    if request is None:
        return
    # A frame's copy brings its names along.
    names = None
    if not hasattr(features, "columns"):
        names = getattr(estimator, "feature_names_in_", None)
    finder = _Hooks.find_feature_rows
    request.calls.append(
        ModelCall(
            method,
            copy_values(features),
            copy_values(output),
            None if names is None else [str(name) for name in names],
            list(finder(features)) if finder is not None else None,
        )
    )


def current_prediction_id() -> str | None:
    """Identifier of the prediction being made in this context, drawn now if need be."""
    request = _CURRENT.get()
    return None if request is None else str(request.draw())


def outgoing_headers() -> dict[str, str]:
    """Headers for calls that the current request makes: its trace context, and our identifiers."""
    request = _CURRENT.get()
    if request is None:
        return {}
    headers = {name: value for name, value in request.trace.items() if name != "baggage"}
    own = f"lodeline.prediction_id={request.draw()}"
    given = request.trace.get("baggage", "")
    kept = [part for part in given.split(",") if part and "lodeline.prediction_id" not in part]
    headers["baggage"] = ",".join([*kept, own])
    return headers


class ServingMiddleware:
    """Records the predictions of an ASGI application. Made by `serving`."""

    def __init__(
        self,
        app: Application,
        deployment: Deployment,
        log: PredictionLog,
        *,
        entity_keys: Iterable[str] = (),
        automatic: bool = False,
    ) -> None:
        self.app = app
        self.deployment = deployment
        self.log = log
        self._automatic = automatic
        self._entity_keys = tuple(entity_keys)
        self._paths: set[str] = set()
        self._announced = False

    def __getattr__(self, name: str) -> Any:
        # Frameworks add routes and look at `app.state` after wrapping.
        return getattr(self.app, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] != "http" or self._is_covered():
            await self.app(scope, receive, send)
        else:
            await self._handle(scope, receive, send)

    def _is_covered(self) -> bool:
        """Whether another middleware of ours records the request."""
        return _CURRENT.get() is not None or (self._automatic and _Hooks.explicit)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_announce(message: Message) -> None:
            # By now the application has loaded its model, wherever it does that.
            if message["type"] == "lifespan.startup.complete":
                self.announce()
            await send(message)

        try:
            await self.app(scope, receive, send_and_announce)
        finally:
            with contextlib.suppress(Exception):
                self.log.close()

    def announce(self, *, predicts: bool = False) -> None:
        """Put the deployment's event into the spool, once.

        Args:
            predicts: there is a prediction. An application that was wrapped automatically is no
                deployment before, unless a model was loaded.
        """
        if self._announced or (self._automatic and _Hooks.explicit):
            return
        with contextlib.suppress(Exception):
            if self._automatic and not predicts and self.deployment.model is None:
                return
            self._announced = True
            self.log.spool.append(self.deployment.event())
            self.log.ids.prepare()
            self.log.spool.flush()

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(self.log.ids.draw, time.perf_counter_ns())
        is_json = self._read_headers(scope, request)
        may_predict = is_json and scope["method"] == "POST"

        async def receive_and_keep() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                request.keep_body(message.get("body", b""), PREDICTION_BODY_BYTES_MAX)
            return message

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = self._begin_response(scope, request, message, may_predict=may_predict)
            elif request.keeps_output and message["type"] == "http.response.body":
                request.keep_output(message.get("body", b""), PREDICTION_BODY_BYTES_MAX)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                request.ended_ns = time.perf_counter_ns()
            await send(message)

        token = _CURRENT.set(request)
        try:
            await self.app(scope, receive_and_keep if may_predict else receive, send_and_note)
        except BaseException as error:
            request.error = type(error).__name__
            if request.calls or scope["path"] in self._paths:
                request.draw()
            raise
        finally:
            _CURRENT.reset(token)
            if request.drawn is not None:
                self._finish(request)

    def _read_headers(self, scope: Scope, request: Request) -> bool:
        is_json = False
        for name, value in scope["headers"]:
            if name == b"content-type":
                is_json = b"json" in value
            elif name in _TRACE_HEADERS and len(value) <= _TRACE_HEADERS[name]:
                key = name.decode()
                text = value.decode("latin-1")
                # A header given several times is one list (RFC 9110, section 5.3).
                request.trace[key] = (
                    f"{request.trace[key]},{text}" if key in request.trace else text
                )
        return is_json

    def _begin_response(
        self, scope: Scope, request: Request, message: Message, *, may_predict: bool
    ) -> Message:
        request.status = message["status"]
        path = scope["path"]
        if request.calls:
            if len(self._paths) < PREDICTION_PATHS_MAX:
                self._paths.add(path)
        elif path in self._paths:
            request.keeps_output = request.status < 400
        elif not may_predict or _are_estimators_observed() or not _is_answer(message):
            if request.drawn is None:
                return message
        else:
            request.keeps_output = True
        self.announce(predicts=True)
        headers = [*message.get("headers", ()), (HEADER, str(request.draw()).encode())]
        return {**message, "headers": headers}

    def _finish(self, request: Request) -> None:
        if request.ended_ns == 0:
            request.ended_ns = time.perf_counter_ns()
        assert request.drawn is not None
        entity_keys = self._entity_keys
        with contextlib.suppress(Exception):
            self.log.add(request.drawn, lambda: write_down(request, entity_keys))


def _is_answer(message: Message) -> bool:
    if message["status"] in {404, 405}:
        return False
    return any(
        name.lower() == b"content-type" and b"json" in value
        for name, value in message.get("headers", ())
    )


def serving(
    app: Application,
    *,
    deployment: str,
    model: object = None,
    namespace: str | None = None,
    entity_keys: Iterable[str] = (),
    settings: Mapping[str, object] | None = None,
    spool: Path | str | None = None,
) -> ServingMiddleware:
    """Wrap an ASGI application so that its predictions are recorded.

    Args:
        app: any ASGI application; attributes of the result are the application's.
        deployment: its name.
        model: what `register` returned, a model's identifier, or `{namespace, name, version}`.
        namespace: of the deployment; by default the run's.
        entity_keys: members of the request body that name what is predicted about. By default,
            those scalar members that are not features.
        settings: serving configuration that belongs to the deployment's version.
        spool: directory; by default the one beside the store.

    Returns:
        The application to serve. Each prediction's response carries `Lodeline-Prediction-Id`.
    """
    _Hooks.explicit = True
    described = describe_deployment(
        app, deployment, model=model, namespace=namespace, settings=settings
    )
    log = PredictionLog(spool_of_this_process(spool), described.reservation)
    return ServingMiddleware(app, described, log, entity_keys=entity_keys)


def serving_automatically(app: Application, *, deployment: str) -> Application:
    """Wrap an application that an observed server is about to run.

    Does nothing to one that the program wrapped itself, and records nothing before an observed
    estimator is asked.

    Args:
        app: any ASGI application.
        deployment: its name.
    """
    if isinstance(app, ServingMiddleware) or _Hooks.explicit:
        return app
    described = describe_deployment(app, deployment)
    log = PredictionLog(spool_of_this_process(), described.reservation)
    return ServingMiddleware(app, described, log, automatic=True)
