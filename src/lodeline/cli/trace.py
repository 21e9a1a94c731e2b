"""Trace a node: where it came from (--up, the default), and what it affects (--down).

ID is kind:namespace:name[#version], for example dataset:warehouse:public.orders,
model:ml:churn#7, run:<uuid> or prediction:<id>.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_graph_options, add_narrowing_options, ask, print_answer
from lodeline.query.renderings import render_dot, render_mermaid, render_tree


def configure(parser: ArgumentParser) -> None:
    """Add the options of `trace`."""
    parser.add_argument("id", metavar="ID", help="kind:namespace:name[#version]")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--up", action="store_true", help="sources (default)")
    direction.add_argument("--down", action="store_true", help="what depends on it")
    direction.add_argument("--both", action="store_true", help="both closures")
    parser.add_argument("--rows", action="store_true", help="also the rows behind it")
    parser.add_argument("--where", metavar="EXPR", help="with --rows: filter the root's rows")
    add_narrowing_options(parser)
    add_graph_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; an answered trace exits 0, whatever it says of completeness."""
    answer = ask(arguments, "trace")
    forms = {"tree": render_tree, "mermaid": render_mermaid, "dot": render_dot}
    print_answer(arguments, answer, forms)
    return 0
