"""Appends events of crash tests to a store and tells what was acknowledged; a program of its own.

`python appending.py URL FIRST COUNT BATCH`: a line for each batch whose acknowledgement came.
"""

import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import killing

from lodeline.errors import CouldNotTellError
from lodeline.ingest import accept
from lodeline.store import SqlSegment, open_segment

_ATTEMPTS = 200


def reach(url: str) -> SqlSegment:
    """Open the store, however long its server takes to come."""
    for _ in range(_ATTEMPTS):
        try:
            return open_segment(url)
        except CouldNotTellError:
            time.sleep(0.05)
    return open_segment(url)


def main(url: str, first: int, count: int, batch: int) -> None:
    segment = reach(url)
    chance = random.Random(first)
    for start in range(first, first + count, batch):
        numbers = list(range(start, start + batch))
        for attempt in reversed(range(_ATTEMPTS)):
            try:
                accept(segment, map(killing.event, numbers), fold=chance.random() < 0.3)
            except CouldNotTellError:
                # What a client does that got no answer: it sends the same again.
                if not attempt:
                    raise
                time.sleep(0.05)
            else:
                break
        os.write(1, b"".join(b"%d\n" % number for number in numbers))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
