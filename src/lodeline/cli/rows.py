"""List the rows behind a row, a dataset, a model or a prediction (--back, the default), or ahead.

ID is row:namespace:name:key#version, dataset:namespace:name, model:namespace:name or
prediction:<id>. Counts come first, --counts gives them alone; --limit and --cursor page through the
rows themselves. --format csv, parquet or arrow writes every page as one table.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from lodeline.cli.asking import add_moment_options, add_page_options
from lodeline.cli.row_tables import add_table_options, print_rows


def configure(parser: ArgumentParser) -> None:
    """Add the options of `rows`."""
    parser.add_argument("id", metavar="ID", help="a row, dataset, model or prediction")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--back", action="store_true", help="rows it was made of (default)")
    direction.add_argument("--forward", action="store_true", help="rows, models, predictions")
    parser.add_argument(
        "--where", metavar="EXPR", help="only the dataset's rows for which it holds"
    )
    add_table_options(parser)
    add_page_options(parser)
    add_moment_options(parser)


def execute(arguments: Namespace) -> int:
    """Ask and print; an answered question exits 0, whatever it says of completeness."""
    print_rows(arguments, "rows")
    return 0
