"""What the record holds of one person: find it, hand it out, erase it.

lodeline subject find alice@example.com
lodeline subject export alice@example.com > alice.json
lodeline subject erase alice@example.com

Declared values are erased by destroying the subject's key, and predictions about the subject by
writing their batch again without them; every proof stays valid. Where the
subject's text stands in the clear, in fields that nobody declared, `find` lists it, and
`erase --undeclared` takes out those facets whole; `erase` alone tells what it leaves, which may be
right for an opaque identifier. Exit status: 0 yes, 1 nothing is known of the subject.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import closing
from typing import TYPE_CHECKING

from lodeline.cli.answers import open_segment, print_json
from lodeline.store.subject_records import (
    SubjectRecord,
    erase_subject,
    find_subject,
    iter_values,
)

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment


def configure(parser: ArgumentParser) -> None:
    """Add the actions."""
    parser.add_argument("action", choices=["find", "export", "erase"], help="what to do")
    parser.add_argument("key", metavar="KEY", help="the subject, as declared `subject` fields say")
    parser.add_argument(
        "--undeclared",
        action="store_true",
        help="erase: also whole facets, and refused inputs, that hold the subject's text",
    )


def execute(arguments: Namespace) -> int:
    """Find, export or erase."""
    with closing(open_segment(arguments)) as segment:
        record = find_subject(segment, arguments.key)
        if arguments.action == "export":
            return _export(segment, record)
        if arguments.action == "erase" and record.known:
            return _erase(segment, record, arguments)
    if arguments.json:
        print_json(record.to_json())
    else:
        _print(record)
    return 0 if record.known else 1


def _export(segment: SqlSegment, record: SubjectRecord) -> int:
    values = list(iter_values(segment, record))
    print_json({**record.to_json(), "values": values})
    return 0 if record.known else 1


def _erase(segment: SqlSegment, record: SubjectRecord, arguments: Namespace) -> int:
    from lodeline.ingest import fold_pending
    from lodeline.ingest.predictions import fold_blocks
    from lodeline.rows.steps import fold_steps

    position = erase_subject(segment, record, undeclared=arguments.undeclared)
    # An erasure of fields empties the views that were made of them.
    fold_pending(segment)
    fold_blocks(segment)
    fold_steps(segment)
    left = find_subject(segment, arguments.key)
    if arguments.json:
        print_json({"erased_by": position, **left.to_json()})
    elif position is None:
        print(f"erased before: {len(record.fields)} values")
    else:
        erased = sum(by is None for by in record.fields.values())
        rows = sum(map(len, record.rows.values()))
        print(f"erased: {erased} values and {rows} rows, by entry {position}")
    if not arguments.json:
        _print_rest(left)
    return 0


def _print(record: SubjectRecord) -> None:
    if not record.known:
        print(f"nothing is known of {record.subject}")
    for (position, pointer), erased_by in record.fields.items():
        state = "sealed" if erased_by is None else f"erased by entry {erased_by}"
        print(f"entry {position} {pointer}: {state}")
    for digest, numbers in record.rows.items():
        print(f"blob {digest}: {len(numbers)} rows of the subject's")
    _print_rest(record)
    if record.rows or any(erased_by is None for erased_by in record.keys.values()):
        print(f"  next: lodeline subject erase {record.subject}")


def _print_rest(record: SubjectRecord) -> None:
    for position, pointers in record.undeclared.items():
        places = ", ".join(pointer or "the event itself" for pointer in pointers)
        print(f"entry {position}: in the clear in {places}")
    for number in record.dead_letters:
        print(f"dead letter {number}: in the clear")
    for _, detail in record.gaps:
        print(f"gap: {detail}")
