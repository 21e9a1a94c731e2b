"""Say what a change of a node would reach, counted by kind, and who owns it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_graph_options, add_narrowing_options, ask, print_answer
from lodeline.query.renderings import render_dot, render_impact, render_mermaid


def configure(parser: ArgumentParser) -> None:
    """Add the options of `impact`."""
    parser.add_argument("id", metavar="ID", help="kind:namespace:name[#version]")
    add_narrowing_options(parser)
    add_graph_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print."""
    answer = ask(arguments, "impact")
    forms = {"tree": render_impact, "mermaid": render_mermaid, "dot": render_dot}
    print_answer(arguments, answer, forms)
    return 0
