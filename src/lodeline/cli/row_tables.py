"""What `rows` and `cohort` share: counts alone, and answers as tables."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lodeline.cli.asking import ask, print_answer
from lodeline.errors import UsageError
from lodeline.query.renderings import render_rows
from lodeline.questions import iter_pages


def add_table_options(parser: ArgumentParser) -> None:
    """Add what to print, and where to."""
    parser.add_argument("--counts", action="store_true", help="counts alone, no rows")
    parser.add_argument(
        "--format",
        choices=["tree", "json", "csv", "parquet", "arrow"],
        help="tables hold every row, whatever the page (default: tree; json with --json)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="where a table goes")


def print_rows(arguments: Namespace, verb: str) -> None:
    """Ask and print, or write a table."""
    form, output = arguments.format, arguments.output
    del arguments.output  # No part of the question.
    if form not in {"csv", "parquet", "arrow"}:
        if output is not None:
            raise UsageError("--output goes with --format csv, parquet or arrow")
        print_answer(arguments, ask(arguments, verb), {"tree": render_rows})
        return
    if output is None and form != "csv":
        raise UsageError(f"--format {form} is bytes: name a file with --output")
    # Only here: answers of the command need no table.
    from lodeline.rows.tables import write_table

    given = vars(arguments)
    rows = []
    for page in iter_pages(
        lambda cursor: ask(Namespace(**{**given, "cursor": cursor}), verb), arguments.cursor
    ):
        rows += page["rows"]
        for gap in page["gaps"]:
            print(f"gap: {gap['at']}: {gap['detail']} ({gap['reason']})", file=sys.stderr)
    data = write_table(rows, form)
    if output is None:
        sys.stdout.write(data.decode())
        return
    path = Path(output)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
    print(f"{output}: {len(rows)} rows, {len(data)} bytes")
