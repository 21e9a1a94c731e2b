"""Say how two nodes are connected: the shortest paths from A to B along the data's flow.

Exit status 1 when the record connects them in neither direction.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_graph_options, ask, print_answer
from lodeline.query.renderings import render_dot, render_mermaid, render_paths


def configure(parser: ArgumentParser) -> None:
    """Add the options of `path`."""
    parser.add_argument("a", metavar="A", help="one node")
    parser.add_argument("b", metavar="B", help="the other node")
    parser.add_argument(
        "--status", choices=["current", "all"], help="current: only along edges that still hold"
    )
    add_graph_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print.

    Returns:
        0 when connected; 1 when not; 3 when the search stopped at a bound before it could tell.
    """
    answer = ask(arguments, "path")
    forms = {"tree": render_paths, "mermaid": render_mermaid, "dot": render_dot}
    print_answer(arguments, answer, forms)
    if answer["paths"]:
        return 0
    return 1 if answer["complete"] else 3
