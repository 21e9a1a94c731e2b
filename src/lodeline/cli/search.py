"""Find nodes whose name, namespace, column, tag, owner or description has every word of Q."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, add_page_options, ask, print_answer
from lodeline.query.renderings import render_search


def configure(parser: ArgumentParser) -> None:
    """Add the options of `search`."""
    parser.add_argument("q", metavar="Q", help="words, all of which must match")
    parser.add_argument("--kind", help="only nodes of this kind")
    parser.add_argument("--namespace", help="only nodes of this namespace")
    add_page_options(parser)
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; exit status 1 when nothing was found."""
    answer = ask(arguments, "search")
    print_answer(arguments, answer, {"tree": render_search})
    return 0 if answer["total"] else 1
