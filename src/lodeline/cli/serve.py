"""Serve the store over HTTP: OpenLineage in, lineage questions out.

Without configured authentication, only loopback addresses are served. Settings stand in the
configuration file, `docs/reference/settings.md` lists them.
"""

from __future__ import annotations

import logging
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lodeline.cli.answers import print_json
from lodeline.cli.log_witnesses import read_policy
from lodeline.cli.spool_state import look_at_spool
from lodeline.errors import (
    LodelineError,
    MissingExtraError,
    StoreUnreachableError,
    UsageError,
)
from lodeline.limits import SHUTDOWN_SECONDS_MAX
from lodeline.settings import store_url
from lodeline.transport.draining import drain_into

if TYPE_CHECKING:
    from lodeline.server.configuration import ServerConfiguration
    from lodeline.server.segments import Router

_logger: Final = logging.getLogger("lodeline.serve")

# Between two looks at the spool; a look at an empty one lists a directory.
_DRAIN_PAUSE_SECONDS = 0.5


def configure(parser: ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default: 5633; 0: any free one)")
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file, in place of the one found upwards"
    )
    parser.add_argument(
        "--stream",
        action="append",
        metavar="SOURCE",
        help="take events from this stream, too (as `lodeline consume`); may be given again",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="tell every fault of settings, address, TLS files and store, then exit",
    )


def execute(arguments: Namespace) -> int:
    """Serve until interrupted, or check and return."""
    if arguments.server is not None:
        raise UsageError("serve serves a store; it takes no --server")
    if arguments.config is not None:
        # Whatever reads settings here, or in a process started from here, reads this file.
        os.environ["LODELINE_CONFIG"] = str(Path(arguments.config).absolute())
    try:
        from lodeline.server.configuration import get_configuration
        from lodeline.server.diagnostics import configure_diagnostics
        from lodeline.server.running import serve
    except ModuleNotFoundError as error:
        raise MissingExtraError("server", error.name or "") from error
    given = {"host": arguments.host, "port": arguments.port}
    if arguments.check:
        return _check(arguments, given)
    configuration = get_configuration(given)
    configure_diagnostics(form=configuration.log_format, level=configuration.log_level)
    url = store_url(arguments.store)
    table = configuration.tables.get("segments")
    with _background(url, _streams(arguments, configuration), table):
        serve(url, configuration, look_at_spool=look_at_spool)
    return 0


def _check(arguments: Namespace, given: dict[str, object]) -> int:
    """Tell everything that serving would stumble over."""
    from lodeline.server.checking import check
    from lodeline.server.configuration import read_configuration

    configuration, problems = read_configuration(given)
    try:
        url = store_url(arguments.store)
    except UsageError:  # the file is no TOML, which is among the problems
        url = ""
    checks = [
        ("witnesses", _check_witnesses),
        ("streams", lambda: _check_streams(_streams(arguments, configuration))),
        ("segments", lambda: _check_segments(url, configuration)),
    ]
    findings = check(url, configuration, problems, checks)
    if arguments.json:
        ok = all(finding.error is None for finding in findings)
        print_json({"ok": ok, "findings": [finding.to_json() for finding in findings]})
    else:
        for finding in findings:
            mark = "ok" if finding.error is None else "no"
            where = f"{finding.where}: " if finding.where else ""
            about = ""
            if finding.error is not None and finding.settings:
                about = f" (settings: {', '.join(finding.settings)})"
            print(f"{mark}  {finding.subject}: {where}{finding.message}{about}")
            if finding.next_step:
                print(f"    next: {finding.next_step}")
    statuses = {finding.error.exit_status for finding in findings if finding.error is not None}
    return min(statuses, default=0)


def _check_witnesses() -> str:
    policy = read_policy()
    return "none" if policy is None else f"{len(policy.urls)} to ask"


def _streams(arguments: Namespace, configuration: ServerConfiguration) -> list[str]:
    from lodeline.streams.sources import find_sources

    folder = Path.cwd() if configuration.file is None else configuration.file.parent
    table = configuration.tables.get("streams")
    return find_sources(arguments.stream, os.environ, table, folder)


def _check_streams(sources: list[str]) -> str:
    from lodeline.streams.sources import open_source

    names = [open_source(source, group="").name for source in sources]
    return ", ".join(names) if names else "none"


def _check_segments(url: str, configuration: ServerConfiguration) -> str:
    from lodeline.server.checking import check_store
    from lodeline.server.segments import DEFAULT_SEGMENT, segment_stores

    stores = segment_stores(url, configuration.tables.get("segments"))
    for name, store in stores.items():
        if name != DEFAULT_SEGMENT:  # which is looked at as the store
            try:
                check_store(store)
            except UsageError as error:
                raise UsageError(f"segment {name}: {error}") from error
            except LodelineError as error:
                raise StoreUnreachableError(f"the store of segment {name}", str(error)) from error
    return ", ".join(stores)


@contextmanager
def _background(url: str, streams: list[str], table: object) -> Iterator[None]:
    """Do what goes on beside serving: in each segment, and what brings events to them."""
    from lodeline.server.segments import Router, read_segments, segment_stores

    stores = segment_stores(url, table)
    router = Router(read_segments(table))
    with ExitStack() as stack:
        stack.enter_context(_draining(url, stores, router))
        for one in stores.values():
            stack.enter_context(_cosigning(one))
            stack.enter_context(_mapping(one))
            stack.enter_context(_indexing(one))
        stack.enter_context(_consuming(url, streams))
        yield


@contextmanager
def _consuming(url: str, sources: list[str]) -> Iterator[None]:
    """Take streams into the store, while it is served."""
    if not sources:
        yield
        return
    from lodeline.streams.running import Consuming

    consuming = Consuming(url, sources, lambda said: _logger.warning("%s", said))
    consuming.start()
    try:
        yield
    finally:
        consuming.stop(SHUTDOWN_SECONDS_MAX)


@contextmanager
def _draining(url: str, stores: Mapping[str, str], router: Router) -> Iterator[None]:
    """Deliver what observed programs spool beside the store, while it is served."""
    from lodeline.server.recurring import Recurring
    from lodeline.server.spooled import RoutedTransport

    def open_all() -> RoutedTransport:
        return RoutedTransport(stores, router)

    opener = open_all if len(stores) > 1 else None
    draining = Recurring(
        lambda: drain_into(url, opener=opener),
        lambda why: _logger.warning("spool not delivered: %s", why),
        name="lodeline-drain",
        pause_seconds=_DRAIN_PAUSE_SECONDS,
    )
    draining.start()
    try:
        yield
    finally:
        draining.stop(SHUTDOWN_SECONDS_MAX)


@contextmanager
def _cosigning(url: str) -> Iterator[None]:
    """Have the witnesses of the policy cosign new checkpoints, while the store is served."""
    policy = read_policy()
    if policy is None:
        yield
        return
    from lodeline.server.cosigning import Cosigning

    cosigning = Cosigning(url, policy, lambda said: _logger.warning("witness: %s", said))
    cosigning.start()
    try:
        yield
    finally:
        cosigning.stop(SHUTDOWN_SECONDS_MAX)


@contextmanager
def _mapping(url: str) -> Iterator[None]:
    """Publish the log's map, while the store is served."""
    from lodeline.server.map_publishing import MapPublishing

    publishing = MapPublishing(url, lambda why: _logger.warning("map not published: %s", why))
    publishing.start()
    try:
        yield
    finally:
        publishing.stop(SHUTDOWN_SECONDS_MAX)


@contextmanager
def _indexing(url: str) -> Iterator[None]:
    """Keep the graph's snapshot young, while the store is served."""
    from lodeline.server.graph_indexing import GraphIndexing

    indexing = GraphIndexing(url, lambda why: _logger.warning("graph not indexed: %s", why))
    indexing.start()
    try:
        yield
    finally:
        indexing.stop(SHUTDOWN_SECONDS_MAX)
