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
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lodeline.capture.deployment_state import DeploymentState, StateWatch
from lodeline.capture.deployments import (
    Deployment,
    describe_deployment,
    model_reference,
    spool_of_this_process,
)
from lodeline.capture.model_values import copy_values
from lodeline.capture.prediction_log import PredictionLog
from lodeline.capture.prediction_record import ModelCall, Recording, Request
from lodeline.capture.refusals import Refusal, answer_fallback, refuse, refuse_websocket
from lodeline.limits import (
    PREDICTION_PATHS_MAX,
    TRACE_HEADER_BYTES_MAX,
)
from lodeline.model import PredictionId
from lodeline.spool import Spool

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
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
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


def outgoing_headers(*, begin_trace: Callable[[], str] | None = None) -> dict[str, str]:
    """Headers for calls that the current request makes: its trace context, and our identifiers.

    Args:
        begin_trace: gives a `traceparent` where the request brought none.
    """
    request = _CURRENT.get()
    if request is None:
        return {}
    if begin_trace is not None and "traceparent" not in request.trace:
        request.trace["traceparent"] = begin_trace()
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
        foreign: bool = False,
        watch: StateWatch | None = None,
        versions: Sequence[ServingMiddleware] = (),
    ) -> None:
        self.app = app
        self.deployment = deployment
        self.log = log
        self.watch = watch or StateWatch(
            lambda: (deployment.namespace, deployment.name), log.spool.directory
        )
        self._automatic = automatic
        self._foreign = foreign
        self._versions = versions
        self._recording = Recording(
            log.ids.draw,
            tuple(entity_keys),
            lambda: f"{deployment.namespace}:{deployment.name}",
        )
        self._paths: set[str] = set()
        self._announced = False

    def __getattr__(self, name: str) -> Any:
        # Frameworks add routes and look at `app.state` after wrapping.
        return getattr(self.app, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http" and self.watch.is_open and not self._is_covered():
            await self._handle(self.app, scope, receive, send)
        else:
            await self._route(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._is_covered():
            await self.app(scope, receive, send)
        else:
            if not self.watch.is_watching and not self._automatic:
                self.watch.begin()
            state = self.watch.state
            if state.is_plain and not self.watch.is_blind:
                await self._pass(scope, receive, send)
            else:
                await self._decide(state, scope, receive, send)

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, *, refusal: Refusal | None = None
    ) -> None:
        if scope["type"] == "http":
            await self._handle(self.app, scope, receive, send, refusal=refusal)
        elif refusal is None:
            await self.app(scope, receive, send)
        else:
            await refuse_websocket(receive, send)

    async def _decide(
        self, state: DeploymentState, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve, refuse or answer otherwise, as operators decided."""
        verdict = "refuse" if self.watch.is_blind else state.judge(scope["headers"])
        chosen = self._serving_version(state) if verdict == "serve" else None
        if chosen is not None:
            await chosen._pass(scope, receive, send)  # noqa: SLF001  # another of this class
            return
        why = self._refusal(state, verdict)
        if verdict == "fallback" and scope["type"] == "http" and self._may_predict(scope):
            fallback = answer_fallback(state.fallback or b"null")
            await self._handle(fallback, scope, receive, send, is_fallback=True)
        elif scope["type"] == "http" and self._may_predict(scope):
            await refuse(why, send)
        else:
            # A page or a health check passes; should the model be asked all the same, what it said
            # is withheld.
            await self._pass(scope, receive, send, refusal=why)

    def _may_predict(self, scope: Scope) -> bool:
        return scope["method"] not in _SAFE or scope["path"] in self._paths

    def _serving_version(self, state: DeploymentState) -> ServingMiddleware | None:
        """Who serves the model that operators chose; `None` where nobody here does."""
        if state.model is None:
            return self
        for one in (self, *self._versions):
            model = one.deployment.model or {}
            known = (model.get("namespace"), model.get("name"), model.get("version"))
            if known == (state.model.namespace, state.model.name, state.model.version):
                return one
        return None

    def _refusal(self, state: DeploymentState, verdict: str) -> Refusal:
        code = "rolled_back" if verdict == "serve" else state.state
        if self.watch.is_blind:
            code = "state_unknown"
        return Refusal(code, (self.deployment.namespace, self.deployment.name), state)

    def _is_covered(self) -> bool:
        """Whether another middleware of ours records the request."""
        return _CURRENT.get() is not None or (self._automatic and _Hooks.explicit)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        lives = False

        async def send_and_announce(message: Message) -> None:
            nonlocal lives
            # By now the application has loaded its model, wherever it does that.
            if message["type"] == "lifespan.startup.complete":
                lives = True
                self.announce()
            await send(message)

        try:
            await self.app(scope, receive, send_and_announce)
        finally:
            # One that knows no lifespan says so by failing here, and serves all the same.
            if lives:
                self.watch.stop()
            for one in (self, *self._versions):
                with contextlib.suppress(Exception):
                    one.log.close()

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
            self.watch.begin()
            self.log.spool.append(self.deployment.event())
            self.log.ids.prepare()
            self.log.spool.flush()

    async def _handle(
        self,
        app: Application,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        refusal: Refusal | None = None,
        is_fallback: bool = False,
    ) -> None:
        request = Request(self._recording, time.perf_counter_ns())
        request.is_fallback = is_fallback
        is_json = _read_headers(scope, request)
        may_predict = (is_json or self._foreign) and scope["method"] == "POST"
        withheld = False

        async def receive_and_keep() -> Message:
            message = await receive()
            if message["type"] == "http.request" and "body" in message:
                request.keep_body(message["body"])
            return message

        # No coroutine of its own: the server's, or whatever it gives to be awaited, is passed on.
        def note_and_send(message: Message) -> Awaitable[None]:
            nonlocal withheld
            kind = message["type"]
            if withheld:
                return _nothing()
            if kind == "http.response.body":
                if request.keeps_output and "body" in message:
                    request.keep_output(message["body"])
                if not message.get("more_body"):
                    request.ended_ns = time.perf_counter_ns()
            elif kind == "http.response.start" and self._predicts(
                scope, request, message, may_predict=may_predict
            ):
                why = refusal or (self._late_refusal() if self._automatic else None)
                if why is not None:
                    withheld = True
                    request.status, request.keeps_output = 503, False
                    return refuse(why, send)
                message = self._mark(request, message)
            return send(message)

        token = _CURRENT.set(request)
        try:
            await app(scope, receive_and_keep if may_predict else receive, note_and_send)
        except BaseException as error:
            request.error = type(error).__name__
            if request.calls or scope["path"] in self._paths:
                request.draw()
            raise
        finally:
            _CURRENT.reset(token)
            if request.drawn is not None:
                self._finish(request, request.drawn)

    def _late_refusal(self) -> Refusal | None:
        """One that was wrapped automatically learns its state at its first prediction."""
        if self._announced:
            return None
        self.announce(predicts=True)
        state = self.watch.state
        return None if state.is_plain else self._refusal(state, state.judge(()))

    def _predicts(
        self, scope: Scope, request: Request, message: Message, *, may_predict: bool
    ) -> bool:
        """Tell, as its answer begins, whether a request is a prediction."""
        request.status = message["status"]
        path = scope["path"]
        if request.calls:
            if len(self._paths) < PREDICTION_PATHS_MAX:
                self._paths.add(path)
        elif request.is_fallback:
            request.keeps_output = True
        elif path in self._paths:
            request.keeps_output = request.status < 400
        elif not may_predict or not self._is_answer(message):
            return request.drawn is not None
        else:
            request.keeps_output = True
        return True

    def _mark(self, request: Request, message: Message) -> Message:
        if not self._announced:
            self.announce(predicts=True)
        headers = [*message.get("headers", ()), (HEADER, str(request.draw()).encode())]
        return {**message, "headers": headers}

    def _is_answer(self, message: Message) -> bool:
        if message["status"] in {404, 405}:
            return False
        if self._foreign:
            return True
        return not _are_estimators_observed() and _is_json_answer(message)

    def _finish(self, request: Request, drawn: PredictionId) -> None:
        if request.ended_ns == 0:
            request.ended_ns = time.perf_counter_ns()
        try:
            self.log.add(drawn, request.write_down)
        except Exception:
            # Capture's outermost door: the answer has been sent.
            return


def _read_headers(scope: Scope, request: Request) -> bool:
    """Keep a request's trace context; whether it says that its body is JSON."""
    is_json = False
    for name, value in scope["headers"]:
        if name == b"content-type":
            is_json = b"json" in value
        elif name in _TRACE_HEADERS and len(value) <= _TRACE_HEADERS[name]:
            key = name.decode()
            text = value.decode("latin-1")
            # A header given several times is one list (RFC 9110, section 5.3).
            request.trace[key] = f"{request.trace[key]},{text}" if key in request.trace else text
    return is_json


def _is_json_answer(message: Message) -> bool:
    for name, value in message.get("headers", ()):
        if name.lower() == b"content-type" and (b"json" in value or b"event-stream" in value):
            return True
    return False


async def _nothing() -> None:
    """Stands for a message that is not sent."""


def serving(
    app: Application,
    *,
    deployment: str,
    model: object = None,
    namespace: str | None = None,
    entity_keys: Iterable[str] = (),
    settings: Mapping[str, object] | None = None,
    spool: Path | str | None = None,
    versions: Mapping[str, Application] | None = None,
    fail_closed: bool = False,
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
        versions: applications that serve other versions of the model, by identifier; one of them
            takes over where operators roll back to it.
        fail_closed: refuse while the server does not tell what operators decided.

    Returns:
        The application to serve. Each prediction's response carries `Lodeline-Prediction-Id`.
    """
    described = describe_deployment(
        app, deployment, model=model, namespace=namespace, settings=settings
    )
    return wrap_versions(
        app,
        described,
        spool_of_this_process(spool),
        versions=versions or {},
        entity_keys=entity_keys,
        fail_closed=fail_closed,
    )


def wrap_versions(
    app: Application,
    described: Deployment,
    spool: Spool,
    *,
    versions: Mapping[str, Application],
    entity_keys: Iterable[str] = (),
    fail_closed: bool = False,
    foreign: bool = False,
    server: str | None = None,
) -> ServingMiddleware:
    """Wrap an application, and those that serve other versions of its model.

    Args:
        app: the application.
        described: its deployment.
        spool: where records go.
        versions: as `serving` takes them.
        entity_keys: likewise.
        fail_closed: likewise.
        foreign: the models run in other processes: every POST is a prediction that is not answered
            with 404 or 405.
        server: URL of the server that knows what operators decided; by default the setting `url`,
            empty for none.
    """
    _Hooks.explicit = True
    watch = StateWatch(
        lambda: (described.namespace, described.name),
        spool.directory,
        server=server,
        fail_closed=fail_closed,
    )

    def wrap(
        inner: Application, one: Deployment, others: Sequence[ServingMiddleware] = ()
    ) -> ServingMiddleware:
        return ServingMiddleware(
            inner,
            one,
            PredictionLog(spool, one.reservation),
            entity_keys=entity_keys,
            foreign=foreign,
            watch=watch,
            versions=others,
        )

    others = [
        wrap(other, replace(described, given_model=model_reference(identifier)))
        for identifier, other in versions.items()
    ]
    return wrap(app, described, others)


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
