"""What commands share: where to ask, and how an answer is printed."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from lodeline.errors import CouldNotTellError, UsageError
from lodeline.settings import find_setting, store_url

if TYPE_CHECKING:
    from lodeline.questions import Questions
    from lodeline.store.sql_segment import SqlSegment


def print_json(answer: object) -> None:
    """Print an answer as JSON: indented for people on a terminal, one line for programs."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(answer, ensure_ascii=False, indent=indent))


def open_segment(arguments: Namespace, *, create: bool = False, drain: bool = True) -> SqlSegment:
    """Open the embedded store that the options name.

    Args:
        arguments: with the common options.
        create: make the store if there is none.
        drain: first take in what waits in the spool, for at most `DRAIN_SECONDS`; what then still
            waits is told on standard error.

    Raises:
        UsageError: a server was named instead; its store is not ours to open.
    """
    if arguments.server is not None and arguments.store is None:
        raise UsageError("this command works on a store, not through a server; name it: --store")
    # Commands that never open a store do not load it.
    from lodeline.store import open_segment as open_store

    url = store_url(arguments.store)
    if drain:
        _drain(url)
    return open_store(url, create=create)


def _drain(url: str) -> None:
    from lodeline.transport.draining import drain_into

    try:
        spooled = drain_into(url)
    except CouldNotTellError as error:
        # The command itself tells what is wrong with the store; the spool keeps its records.
        print(f"not delivered: {error}", file=sys.stderr)
        return
    if not spooled.complete:
        print(f"{spooled.pending_bytes} bytes are still in the spool", file=sys.stderr)
        print("  next: lodeline flush", file=sys.stderr)


def connect(arguments: Namespace) -> Questions:
    """Give the one to ask: the server if one is named, else the embedded store."""
    from lodeline.questions import connect as connect_to

    server = find_setting("url", argument=arguments.server)
    if server is not None and arguments.store is None:
        return connect_to(server=server)
    return connect_to(store=store_url(arguments.store))
