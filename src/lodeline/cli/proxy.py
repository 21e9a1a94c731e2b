"""Record the predictions of a model server in any language, as a proxy in front of it.

lodeline proxy --upstream http://127.0.0.1:8501 --deployment churn-api --model model:ml:churn#7

Every POST that reaches the upstream is a prediction; its answer carries Lodeline-Prediction-Id.
Bodies stream through: JSON is recorded up to a bound, everything else as a digest. What `lodeline
deployment` decides is honoured. Runs until interrupted.
"""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lodeline.errors import LodelineError, MissingExtraError, UsageError
from lodeline.limits import SHUTDOWN_SECONDS_MAX
from lodeline.settings import find_setting, store_url
from lodeline.spool import spool_directory
from lodeline.transport.draining import drain_into

if TYPE_CHECKING:
    from lodeline.capture.serving import ServingMiddleware

_logger: Final = logging.getLogger("lodeline.proxy")
_DRAIN_PAUSE_SECONDS: Final = 1.0


def configure(parser: ArgumentParser) -> None:
    """Add the options of `proxy`."""
    parser.add_argument("--upstream", required=True, metavar="URL", help="the model server")
    parser.add_argument("--deployment", required=True, metavar="NAME", help="name it is known by")
    parser.add_argument("--namespace", metavar="NS", help="of the deployment")
    parser.add_argument("--model", metavar="ID", help="model that the upstream serves")
    parser.add_argument(
        "--version-upstream",
        action="append",
        default=[],
        metavar="MODEL=URL",
        help="model server of another version, for a rollback to it; may be given again",
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:8480", metavar="HOST:PORT", help="default: 127.0.0.1:8480"
    )
    parser.add_argument(
        "--entity-key",
        action="append",
        default=[],
        metavar="NAME",
        help="member of the body that names what is predicted about; may be given again",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="that the upstream may stay silent (default: 60)",
    )
    parser.add_argument(
        "--fail-closed",
        action="store_true",
        help="refuse while the server does not tell what was decided of the deployment",
    )


def execute(arguments: Namespace) -> int:
    """Pass requests on until interrupted."""
    try:
        import httptools  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtraError("server", error.name or "") from error
    store = store_url(arguments.store)
    server = find_setting("url", argument=arguments.server) if arguments.store is None else None
    application = _application(arguments, store, server)
    listener = _listen(arguments.listen)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Lodeline passes http://{shown}:{port} on to {arguments.upstream}", flush=True)
    settings = uvicorn.Config(
        application,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="on",
        http=_protocol(),
        ws="none",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
    )
    # uvicorn stops in order at these, and then raises them again: what is recorded last must still
    # be delivered.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with listener, _draining(store, server):
        uvicorn.Server(settings).run(sockets=[listener])
    return 0


def _protocol() -> Any:
    from lodeline.server.guarding import Bounds, Guard, GuardedProtocol

    return partial(GuardedProtocol, Guard(Bounds()))


def _application(arguments: Namespace, store: str, server: str | None) -> ServingMiddleware:
    from lodeline.capture.deployments import describe_deployment, spool_of_this_process
    from lodeline.capture.reverse_proxy import ReverseProxy
    from lodeline.capture.serving import wrap_versions
    from lodeline.capture.upstream import Upstream, parse_target

    def proxy(url: str) -> ReverseProxy:
        target = parse_target(url)
        return ReverseProxy(lambda: Upstream(target, timeout=arguments.timeout))

    if arguments.timeout <= 0:
        raise UsageError("--timeout is a number of seconds above 0")
    versions = {}
    for stated in arguments.version_upstream:
        model, found, url = stated.partition("=")
        if not found:
            raise UsageError(f"--version-upstream is MODEL=URL, not {stated!r}")
        versions[model] = proxy(url)
    if versions and arguments.model is None:
        raise UsageError("--version-upstream needs --model, to tell the versions apart")
    first = proxy(arguments.upstream)
    described = describe_deployment(
        first,
        arguments.deployment,
        model=arguments.model,
        namespace=arguments.namespace,
        settings={"upstream": arguments.upstream},
    )
    return wrap_versions(
        first,
        described,
        spool_of_this_process(spool_directory(store)),
        versions=versions,
        entity_keys=arguments.entity_key,
        fail_closed=arguments.fail_closed,
        foreign=True,
        server=server or "",
    )


def _listen(address: str) -> Any:
    from lodeline.server.running import open_listener

    host, found, port = address.rpartition(":")
    if not found or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"--listen is HOST:PORT, not {address!r}")
    return open_listener(host.strip("[]"), int(port))


@contextmanager
def _draining(store: str, server: str | None) -> Iterator[None]:
    """Deliver what is recorded, all the while."""
    stopping = threading.Event()
    said = ""

    def once(seconds: float | None) -> None:
        nonlocal said
        try:
            report = drain_into(server or store, seconds, directory=spool_directory(store))
            reason = report.reason
        except LodelineError as error:
            reason = str(error)
        # Once, not every second: it stays in the spool, and is tried again.
        if reason and reason != said:
            _logger.warning("not delivered yet: %s", reason)
        said = reason

    def work() -> None:
        while not stopping.wait(_DRAIN_PAUSE_SECONDS):
            once(None)

    thread = threading.Thread(target=work, name="lodeline-drain", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(SHUTDOWN_SECONDS_MAX)
        once(2.0)
