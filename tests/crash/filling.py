"""Fills a store until nothing fits, then makes room; a program of its own.

`python filling.py FOLDER ballast|limit` prints one JSON object. With `ballast` the folder is a
small file system, and room is made by removing a file; with `limit` no file may grow past a bound,
and room is made by raising it.
"""

import json
import resource
import signal
import sys
from pathlib import Path

import killing

from lodeline.errors import StoreFullError
from lodeline.ingest import accept
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.verification import verify_segment

LIMIT_BYTES = 900_000


def fill(segment: SqliteSegment) -> tuple[int, str]:
    acknowledged = 0
    try:
        while acknowledged < 100_000:
            batch = range(acknowledged, acknowledged + 20)
            accept(segment, map(killing.event, batch))
            acknowledged += len(batch)
    except StoreFullError as error:
        return acknowledged, str(error)
    return acknowledged, ""


def state(segment: SqliteSegment, acknowledged: int) -> dict[str, object]:
    kept = {entry.payload for entry in segment.iter_entries(kinds={"event"})}
    return {
        "events": len(kept),
        "failures": verify_segment(segment).to_json()["failures"],
        "acknowledged": acknowledged,
    }


def main() -> None:
    folder, way = Path(sys.argv[1]), sys.argv[2]
    ballast = folder / "ballast"
    if way == "ballast":
        ballast.write_bytes(b"x" * 1_000_000)
    else:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    segment = open_segment(f"sqlite:///{folder / 'lodeline.db'}")
    acknowledged, message = fill(segment)
    found = {"message": message, "full": state(segment, acknowledged)}
    again, message = fill(segment)
    found["still_full"] = {"message": message, **state(segment, again)}
    if way == "ballast":
        ballast.unlink()
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    result = accept(segment, map(killing.event, range(acknowledged, acknowledged + 40)))
    found["room"] = {"seen": result.seen, **state(segment, acknowledged + 40)}
    segment.close()
    reopened = open_segment(f"sqlite:///{folder / 'lodeline.db'}")
    found["reopened"] = state(reopened, acknowledged + 40)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
