"""Count what the store holds: log entries, nodes by kind, edges, runs, bytes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, ask, print_answer
from lodeline.query.renderings import render_stats


def configure(parser: ArgumentParser) -> None:
    """Add the options of `stats`."""
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print."""
    print_answer(arguments, ask(arguments, "stats"), {"tree": render_stats})
    return 0
