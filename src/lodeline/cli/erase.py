"""Erase what is kept of single rows and single predictions; every other proof stays valid.

lodeline erase row:file:/data/orders.parquet:17#sha256:… --dry-run
lodeline erase row:postgres%3A//db:shop.public.orders:A-17 --forward
lodeline erase prediction:01932d3c-1f2e-7a3b-9c4d-5e6f70819203

Of a row go the links that led to it and its declared key; with --forward also every claim that
names it: links of rows that were made of it, with whatever else those were made of, and its place
in the sets that models were fitted on. The log says what goes before it goes; blocks are written
again under the same roots. A person's values go with `lodeline subject erase`. Exit status: 0
something goes, 1 nothing is kept, 3 a block that may hold it is not here.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from importlib.util import find_spec

from lodeline.cli.answers import open_segment, print_json
from lodeline.errors import MissingExtraError
from lodeline.ingest.predictions import fold_blocks
from lodeline.rows.committing import commit_blocks
from lodeline.rows.erasing import find_kept
from lodeline.rows.steps import fold_steps
from lodeline.store.erasing import erase


def configure(parser: ArgumentParser) -> None:
    """Add what goes."""
    parser.add_argument("ids", metavar="ID", nargs="+", help="a row or a prediction")
    parser.add_argument(
        "--forward", action="store_true", help="also every claim that names a row as an input"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go; remove nothing")


def execute(arguments: Namespace) -> int:
    """Find it, and let it go."""
    for package in ("numpy", "pyarrow"):
        if find_spec(package) is None:
            raise MissingExtraError("rows", package)
    with closing(open_segment(arguments)) as segment:
        # Links that are not committed to yet have no block to write again.
        commit_blocks(segment)
        fold_steps(segment)
        fold_blocks(segment)
        found = find_kept(segment, arguments.ids, forward=arguments.forward)
        rows = {block: sorted(numbers) for block, numbers in sorted(found.rows.items())}
        position = None
        if rows and not arguments.dry_run:
            position = erase(segment, rows=rows)
    missing = sorted(found.missing)
    if arguments.json:
        blocks = [{"blob": block, "rows": numbers} for block, numbers in rows.items()]
        print_json({"erased_by": position, "rows": blocks, "missing": missing})
    else:
        _print(rows, position)
    for digest in missing:
        print(f"not here: {digest}, which may name it", file=sys.stderr)
    if missing:
        return 3
    return 0 if rows else 1


def _print(rows: dict[str, list[int]], position: int | None) -> None:
    if not rows:
        print("nothing is kept of it")
        return
    for block, numbers in rows.items():
        print(f"blob {block}: rows {', '.join(map(str, numbers))}")
    print("would be erased" if position is None else f"erased, by entry {position}")
