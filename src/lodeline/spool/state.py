"""What the drain remembers between deliveries: how far each segment was acknowledged.

One file, replaced whole and forced to disk: a crash leaves the old state or the new one. Lost or
damaged state makes records come twice, which the log recognises; it never makes them vanish.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from lodeline.records import fresh, record

_NAME: Final = "state.json"


@record
class State:
    """The drain's memory.

    Attributes:
        acknowledged: offset behind the last acknowledged record, by segment file name.
        lost_records: records dropped by writers whose segments are gone.
        lost_bytes: their bytes.
        torn: damaged places skipped.
        notes: what the deliverer keeps beside, as JSON.
    """

    acknowledged: dict[str, int] = fresh(default_factory=dict)
    lost_records: int = 0
    lost_bytes: int = 0
    torn: int = 0
    notes: dict[str, object] = fresh(default_factory=dict)


def read_state(directory: Path) -> State:
    """Read the drain's memory; empty when there is none or it is damaged."""
    try:
        found = json.loads((directory / _NAME).read_bytes())
        return State(
            acknowledged={str(k): int(v) for k, v in found["acknowledged"].items()},
            lost_records=int(found["lost_records"]),
            lost_bytes=int(found["lost_bytes"]),
            torn=int(found["torn"]),
            notes=dict(found["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State()


def write_state(directory: Path, state: State) -> None:
    """Replace the drain's memory durably.

    Raises:
        OSError: the disk is full or the directory is not writable; the old memory stays.
    """
    body = {
        "acknowledged": state.acknowledged,
        "lost_records": state.lost_records,
        "lost_bytes": state.lost_bytes,
        "torn": state.torn,
        "notes": state.notes,
    }
    replace_file(directory / _NAME, json.dumps(body).encode())


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file of the spool durably; only its owner may read it.

    Raises:
        OSError: the disk is full or the directory is not writable; the old file stays.
    """
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
