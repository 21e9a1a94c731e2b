"""List the population of a decision: the rows that the model of a prediction was fitted on.

ID is prediction:<id> or model:namespace:name. The counts also say how many predictions the same
deployment has made.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, add_page_options, ask, print_answer
from lodeline.query.renderings import render_rows


def configure(parser: ArgumentParser) -> None:
    """Add the options of `cohort`."""
    parser.add_argument("id", metavar="ID", help="a prediction or a model")
    add_page_options(parser)
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print."""
    print_answer(arguments, ask(arguments, "cohort"), {"tree": render_rows})
    return 0
