"""Say what differs between two versions of a node, or between two runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, ask, print_answer
from lodeline.query.renderings import render_diff


def configure(parser: ArgumentParser) -> None:
    """Add the options of `diff`."""
    parser.add_argument("a", metavar="A", help="a version (dataset:…#v), or a run")
    parser.add_argument("b", metavar="B", help="what to compare it with")
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; differing is an answer, so the status is 0 either way (`same` tells)."""
    print_answer(arguments, ask(arguments, "diff"), {"tree": render_diff})
    return 0
