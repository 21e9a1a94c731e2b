"""Say what differs between two versions of a node, between two runs, or between two times.

With --since or --valid-since: which edges came, went or changed since then, of A's closures, or,
without A, of the whole graph.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, ask, print_answer
from lodeline.query.renderings import render_diff


def configure(parser: ArgumentParser) -> None:
    """Add the options of `diff`."""
    parser.add_argument(
        "a", metavar="A", nargs="?", help="a version (dataset:…#v), a run, or a node"
    )
    parser.add_argument("b", metavar="B", nargs="?", help="what to compare it with")
    group = parser.add_argument_group("the graph between two times")
    group.add_argument(
        "--since",
        metavar="T|SIZE",
        help="compare what was known then with what is known (--as-of) now",
    )
    group.add_argument(
        "--valid-since",
        metavar="T",
        help="compare what was true then with what is (--valid-at) now",
    )
    group.add_argument(
        "--direction", choices=["up", "down", "both"], help="which closure of A (default: both)"
    )
    group.add_argument("--depth", type=int, metavar="N", help="derivations to walk (default: all)")
    group.add_argument("--columns", action="store_true", help="compare columns, not datasets")
    group.add_argument("--limit", type=int, metavar="N", help="changes of one page")
    group.add_argument("--cursor", metavar="C", help="the `next` of the page before")
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; differing is an answer, so the status is 0 either way (`same` tells)."""
    print_answer(arguments, ask(arguments, "diff"), {"tree": render_diff})
    return 0
