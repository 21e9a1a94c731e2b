"""Count what the store holds: log entries, nodes by kind, edges, runs, bytes.

With --producers: what came in from whom.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.asking import add_moment_options, ask, print_answer
from lodeline.query.renderings import render_stats
from lodeline.questions import ServerQuestions
from lodeline.settings import find_setting


def configure(parser: ArgumentParser) -> None:
    """Add the options of `stats`."""
    add_moment_options(parser)
    parser.add_argument(
        "--producers", action="store_true", help="events, refusals and bytes of each producer"
    )


def execute(arguments: Namespace) -> int:
    """Ask and print."""
    if arguments.producers:
        return _print_producers(arguments)
    print_answer(arguments, ask(arguments, "stats"), {"tree": render_stats})
    return 0


def _print_producers(arguments: Namespace) -> int:
    answer = {"producers": _find_producers(arguments)}
    if arguments.json:
        print_json(answer)
        return 0
    for one in answer["producers"]:
        names = [one["producer"] or "no producer", one["namespace"] or "no namespace"]
        print(", ".join(names + ([f"key of {one['caller']}"] if one["caller"] else [])))
        lag = (
            "" if one["lag_seconds"] is None else f", {one['lag_seconds']:.0f} s behind its events"
        )
        print(
            f"  {one['accepted']} accepted, {one['duplicates']} duplicates, {one['refused']} "
            f"refused, {one['bytes']} bytes; last {one['last_seen']}{lag}"
        )
    if not answer["producers"]:
        print("nothing came in")
    return 0


def _find_producers(arguments: Namespace) -> list[Any]:
    server = find_setting("url", argument=arguments.server)
    if server is not None and arguments.store is None:
        return list(ServerQuestions(server).ask("producers")["producers"])
    from lodeline.store.accounts import list_accounts

    return [account.to_json() for account in list_accounts(open_segment(arguments))]
