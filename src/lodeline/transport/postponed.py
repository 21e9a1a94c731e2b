"""Logical digests that wait: a program's end does not pay for what no answer needs at once.

Reading a table again, and hashing its rows, takes longer than many a program that wrote it. Where
the delivery at a program's end may not spend that time, the event goes out whole but for them, and
what they follow from is noted here. Whoever delivers next without such a bound (a question, a
server, `lodeline flush`) computes them, and tells them in one more event of the same run: dated a
microsecond after, so that its facet is the later word, and of a type that ends nothing.

A file that was written again meanwhile has lost its rows; its note goes, and the dataset stays
without a logical digest, as any does that has none.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lodeline.limits import LOGICAL_POSTPONED_MAX
from lodeline.model import format_time, parse_time
from lodeline.spool import replace_file

# The type of a spooled record that holds a note, of a run whose delivery waits.
POSTPONED: Final = "postponed"
_NAME: Final = "logical-postponed.json"
_MEMBERS: Final = frozenset({"inputs", "outputs"})

Note = dict[str, Any]


def note_of(
    event: Mapping[str, Any],
    member: str,
    dataset: Mapping[str, Any],
    file: Mapping[str, Any],
    names: frozenset[str],
) -> Note:
    """Note what is left open of one dataset.

    Args:
        event: of a run, finished but for this.
        member: `inputs` or `outputs`.
        dataset: in it, with a digest of its bytes.
        file: its state at close.
        names: that the program used for its columns.
    """
    return {
        "file": dict(file),
        "names": sorted(names),
        "member": member,
        "dataset": {"namespace": dataset["namespace"], "name": dataset["name"]},
        "digest": dict(dataset["facets"]["lodeline_digest"]),
        "event": {
            "eventType": "RUNNING",
            "eventTime": format_time(parse_time(str(event["eventTime"]))[0] + 1),
            "producer": event["producer"],
            "schemaURL": event["schemaURL"],
            "run": {"runId": event["run"]["runId"]},
            "job": {name: event["job"][name] for name in ("namespace", "name")},
        },
    }


def completed(note: Note, logical: str, schema: list[dict[str, str]]) -> dict[str, Any]:
    """Make the event that tells what a note left open."""
    digest = {**note["digest"], "logical": logical, "logicalSchema": schema}
    told = {**note["dataset"], "facets": {"lodeline_digest": digest}}
    empty: dict[str, Any] = {member: [] for member in sorted(_MEMBERS)}
    return {**note["event"], **empty, note["member"]: [told]}


def read_note(record: bytes) -> Note:
    """Read the note of a spooled record.

    Raises:
        ValueError: it holds none.
    """
    note: object = json.loads(record).get("note")
    if not isinstance(note, dict) or not isinstance(note.get("file"), dict):
        raise ValueError("not the note of a logical digest")  # noqa: TRY004  # foreign bytes
    if note.get("member") not in _MEMBERS:
        raise ValueError(f"no note is of {note.get('member')!r}")
    return note


class Postponed:
    """The notes of one spool: the newest of each file. Written under the drain's lock.

    Args:
        directory: of the spool.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._notes: dict[str, Note] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for key, note in json.loads(self._path.read_bytes()).items():
                if isinstance(note, dict) and note.get("member") in _MEMBERS:
                    self._notes[str(key)] = note

    def __len__(self) -> int:
        return len(self._notes)

    def __iter__(self) -> Iterator[Note]:
        yield from list(self._notes.values())

    def add(self, note: Note) -> None:
        """Note what is open of a file, in place of what was open of its older bytes."""
        key = str(note["file"].get("path"))
        self._notes.pop(key, None)
        self._notes[key] = note

    def discard(self, note: Note) -> None:
        """Take a note out, unless a newer one of the file took its place."""
        key = str(note["file"].get("path"))
        if self._notes.get(key) == note:
            del self._notes[key]

    def keep(self) -> None:
        """Write the notes down.

        Raises:
            OSError: the disk is full or not writable; the old notes stay.
        """
        if self._notes:
            latest = dict(list(self._notes.items())[-LOGICAL_POSTPONED_MAX:])
            replace_file(self._path, json.dumps(latest).encode())
        else:
            self._path.unlink(missing_ok=True)
