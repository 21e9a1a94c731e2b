"""Serve the store over HTTP: OpenLineage in, lineage questions out.

Without configured authentication, only loopback addresses are served.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.errors import MissingExtraError, UsageError
from lodeline.settings import store_url


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
    serve(url, host=arguments.host, port=arguments.port)
    return 0
