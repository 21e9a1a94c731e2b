"""Serve the store over HTTP: OpenLineage in, lineage questions out.

Without configured authentication, only loopback addresses are served.
"""

from __future__ import annotations

import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from lodeline.cli.log_witnesses import read_policy
from lodeline.errors import LodelineError, MissingExtraError, UsageError
from lodeline.limits import SHUTDOWN_SECONDS_MAX
from lodeline.settings import store_url
from lodeline.transport.draining import drain_into

# Between two looks at the spool; a look at an empty one lists a directory.
_DRAIN_PAUSE_SECONDS = 0.5


def configure(parser: ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5633, help="port (0: any free one)")
    parser.add_argument(
        "--check", action="store_true", help="check settings and store, then exit without serving"
    )


def execute(arguments: Namespace) -> int:
    """Serve until interrupted, or check and return."""
    if arguments.server is not None:
        raise UsageError("serve serves a store; it takes no --server")
    try:
        from lodeline.server.running import check, serve
    except ModuleNotFoundError as error:
        raise MissingExtraError("server", error.name or "") from error
    url = store_url(arguments.store)
    if arguments.check:
        for line in check(url, host=arguments.host, port=arguments.port):
            print(line)
        return 0
    with _draining(url), _cosigning(url), _mapping(url):
        serve(url, host=arguments.host, port=arguments.port)
    return 0


@contextmanager
def _draining(url: str) -> Iterator[None]:
    """Deliver what observed programs spool beside the store, while it is served."""
    stopping = threading.Event()

    def work() -> None:
        said = ""
        while not stopping.wait(_DRAIN_PAUSE_SECONDS):
            try:
                drain_into(url)
                said = ""
            except LodelineError as error:
                # Once, not every second: it stays in the spool, and is tried again.
                if str(error) != said:
                    said = str(error)
                    print(f"lodeline serve: spool not delivered: {said}", file=sys.stderr)

    thread = threading.Thread(target=work, name="lodeline-drain", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(SHUTDOWN_SECONDS_MAX)


@contextmanager
def _cosigning(url: str) -> Iterator[None]:
    """Have the witnesses of the policy cosign new checkpoints, while the store is served."""
    policy = read_policy()
    if policy is None:
        yield
        return
    from lodeline.server.cosigning import Cosigning

    cosigning = Cosigning(
        url, policy, lambda said: print(f"lodeline serve: {said}", file=sys.stderr)
    )
    cosigning.start()
    try:
        yield
    finally:
        cosigning.stop(SHUTDOWN_SECONDS_MAX)


@contextmanager
def _mapping(url: str) -> Iterator[None]:
    """Publish the log's map, while the store is served."""
    from lodeline.server.map_publishing import MapPublishing

    publishing = MapPublishing(
        url, lambda why: print(f"lodeline serve: map not published: {why}", file=sys.stderr)
    )
    publishing.start()
    try:
        yield
    finally:
        publishing.stop(SHUTDOWN_SECONDS_MAX)
