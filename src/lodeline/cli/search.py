"""Find nodes with every word of Q in names, columns, tags, owners, descriptions or types.

Names that are the words come first, then those that begin with them, have them or contain them.
If nothing has the words, words a mistyped letter or two away are tried. Q may be an identifier.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, add_page_options, ask, print_answer
from lodeline.query.renderings import render_search


def configure(parser: ArgumentParser) -> None:
    """Add the options of `search`."""
    parser.add_argument("q", metavar="Q", help="words, all of which must match")
    parser.add_argument("--kind", help="only nodes of this kind")
    parser.add_argument("--namespace", help="only nodes of this namespace")
    parser.add_argument("--tag", help="only nodes with this tag: its key, or key=value")
    parser.add_argument("--owner", help="only nodes of this owner")
    add_page_options(parser)
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; exit status 1 when nothing was found."""
    answer = ask(arguments, "search")
    print_answer(arguments, answer, {"tree": render_search})
    return 0 if answer["total"] else 1
