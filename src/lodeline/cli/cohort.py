"""List the population of a decision, or everything that a row reached.

Of prediction:<id> or model:namespace:name the rows that the model was fitted on; the counts also
say how many predictions the same deployment made with the same version of the model. --predictions
lists those instead; --since, --until and --where narrow them, by time and by their features. Of
row:namespace:name:key every row, model, deployment and prediction that it reached.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, add_page_options
from lodeline.cli.row_tables import add_table_options, print_rows


def configure(parser: ArgumentParser) -> None:
    """Add the options of `cohort`."""
    parser.add_argument("id", metavar="ID", help="a prediction, model or row")
    parser.add_argument(
        "--predictions", action="store_true", help="the predictions, not the rows behind the model"
    )
    parser.add_argument("--since", metavar="T", help="only predictions from this time on")
    parser.add_argument("--until", metavar="T", help="only predictions up to this time")
    parser.add_argument(
        "--where", metavar="EXPR", help="only predictions for whose features it holds"
    )
    add_table_options(parser)
    add_page_options(parser)
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print."""
    print_rows(arguments, "cohort")
    return 0
