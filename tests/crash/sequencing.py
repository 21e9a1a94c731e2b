"""A sequencer that tells what it acknowledged and signed; a program of its own, to be killed.

`python sequencing.py STORE FIRST HOURS` appends events from number FIRST on, by a clock that is
HOURS wrong, and prints a JSON line for each batch after its acknowledgement.
"""

import json
import sys
import time
from pathlib import Path

import killing

from lodeline.ingest import prepare_event
from lodeline.store import SqliteSegment


def main() -> None:
    path, first, hours = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    segment = SqliteSegment(
        path,
        url=f"sqlite:///{path}",
        create=True,
        clock_us=lambda: time.time_ns() // 1000 + hours * 3_600_000_000,
    )
    for number in range(first, first + 10_000, 3):
        numbers = [number, number + 1, number + 2]
        appended = segment.append([prepare_event(killing.event(one)) for one in numbers])
        found = {
            "numbers": numbers,
            "receipts": [one.receipt for one in appended],
            "note": segment.last_checkpoint().note,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
