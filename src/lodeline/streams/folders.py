"""A folder, or one file, whose events are taken as they are written: for sites without a broker.

Lines are taken once they have ended; a document over several lines, or a last line without an end,
once the file has come to rest and reads as JSON; a gzipped file once it is whole. A file is known
by its first bytes and its inode, so that one that was renamed (rotation) goes on where it was, and
one that was emptied (truncation) or replaced begins anew.

Left out: notification by the kernel. A look a second costs a listing, works on network folders and
can't miss anything.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from lodeline.errors import StreamUnreachableError
from lodeline.limits import (
    DOCUMENT_BYTES_MAX,
    EVENT_BYTES_MAX,
    FOLDER_BYTES_MAX,
    FOLDER_FINGERPRINT_BYTES,
    FOLDER_PAUSE_SECONDS,
    STREAM_MESSAGES_MAX,
)
from lodeline.store import StreamOffset
from lodeline.streams.consuming import Sink
from lodeline.streams.messages import Message
from lodeline.wire.reading import is_whole

# What logging programs leave behind on rotation still counts: `a.jsonl.1`, `a.jsonl-20260101.gz`.
_EVENTS: Final = re.compile(r"[^.].*\.(json|jsonl|ndjson)([.-][0-9]+)*(\.gz)?")
_SPACE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it was at a look.

    Attributes:
        part: its name below the folder.
        inode: and size, mtime: as listed.
        position: bytes of it that are in the store.
        mark: its first bytes, as a count and their digest.
        at_rest: nothing was written to it since the last look.
    """

    part: str
    path: Path
    inode: int
    size: int
    mtime_ns: int
    position: int = 0
    mark: str = "0:"
    at_rest: bool = False

    def same_as(self, other: _File | None) -> bool:
        """Whether nothing was written in between."""
        return other is not None and (self.inode, self.size, self.mtime_ns) == (
            other.inode,
            other.size,
            other.mtime_ns,
        )

    def offset(self, source: str) -> StreamOffset:
        """How far it was taken."""
        behind = max(self.size - self.position, 0)
        generation = f"{self.inode}:{self.mark}"
        return StreamOffset(source, self.part, generation, self.position, self.position, behind)


@dataclass(slots=True)
class _Batch:
    """What goes into one commit."""

    messages: list[Message] = field(default_factory=list)
    files: dict[str, _File] = field(default_factory=dict)
    byte_count: int = 0

    @property
    def full(self) -> bool:
        return len(self.messages) >= STREAM_MESSAGES_MAX or self.byte_count >= FOLDER_BYTES_MAX

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.byte_count += len(message.body)


@dataclass(slots=True)
class _Look:
    """What a look at the folder found.

    Attributes:
        files: all of them, the longest untouched first.
        renamed: those that go on where a file of another name, or inode, was.
        restarted: names under which another file was taken before, or more of this one.
    """

    files: list[_File] = field(default_factory=list)
    renamed: list[_File] = field(default_factory=list)
    restarted: set[str] = field(default_factory=set)


class FolderSource:
    """The files of a folder, or one file and what it is rotated to.

    Args:
        path: of the folder, searched with all below it, or of a file of any name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self.name = f"folder:{self._path}"
        self._known: dict[str, _File] = {}
        self._unread: set[str] = set()

    async def run(self, sink: Sink, *, once: bool) -> None:
        """Give what is written until the sink stops, or, with `once`, what is there.

        Raises:
            StreamUnreachableError: the folder cannot be listed.
        """
        self._known = {}
        stored = await sink.offsets()
        while not sink.should_stop():
            look = await asyncio.to_thread(self._look, stored, once=once)
            if look.renamed:
                # Before anything is taken: the row of the old name is about to be another file's.
                await sink.take([], [file.offset(self.name) for file in look.renamed])
                stored |= {file.part: file.offset(self.name) for file in look.renamed}
            gone = stored.keys() - {file.part for file in look.files} | look.restarted
            if gone:
                await sink.forget(sorted(gone))
                stored = {part: row for part, row in stored.items() if part not in gone}
            batches = self._iter_batches(look.files, sink)
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                offsets = {part: file.offset(self.name) for part, file in batch.files.items()}
                await sink.take(batch.messages, list(offsets.values()))
                stored |= offsets
                if sink.should_stop():
                    return
            await sink.rest()
            if once:
                return
            await asyncio.sleep(FOLDER_PAUSE_SECONDS)

    # Looking

    def _look(self, stored: Mapping[str, StreamOffset], *, once: bool) -> _Look:
        """List the files with their positions."""
        by_inode = {offset.generation.partition(":")[0]: offset for offset in stored.values()}
        look = _Look()
        for listed in sorted(self._list(), key=lambda file: (file.mtime_ns, file.part)):
            before = self._known.get(listed.part)
            if before is not None and listed.same_as(before):
                look.files.append(replace(before, at_rest=True))
                continue
            candidates = [by_inode.get(str(listed.inode)), stored.get(listed.part)]
            offset = next((one for one in candidates if one and _goes_on(listed, one)), None)
            file = replace(listed, at_rest=once)
            if offset is not None:
                inode, _, mark = offset.generation.partition(":")
                file = replace(file, position=offset.position, mark=mark)
                if (offset.part, inode) != (file.part, str(file.inode)):
                    look.renamed.append(file)
            elif file.part in stored:
                look.restarted.add(file.part)
            look.files.append(file)
        return look

    def _list(self) -> Iterator[_File]:
        try:
            if self._path.is_dir():
                yield from _list_folder(self._path, "")
                return
            names = re.compile(re.escape(self._path.name) + r"([.-][0-9]+)*(\.gz)?")
            yield from _list_folder(self._path.parent, "", names=names, deep=False)
        except OSError as error:
            raise StreamUnreachableError(self.name, str(error.strerror or error)) from error

    # Reading

    def _iter_batches(self, files: list[_File], sink: Sink) -> Iterator[_Batch]:
        """Read what is new, in commits' worth."""
        batch = _Batch()
        for file in files:
            before = self._known.get(file.part)
            if file.same_as(before) and before is not None and before.at_rest:
                continue
            try:
                for read in self._iter_read(file, batch):
                    batch.files[file.part] = read
                    if batch.full:
                        yield batch
                        batch = _Batch()
                self._unread.discard(file.part)
            except FileNotFoundError:
                # Rotated or removed between listing and reading: the next look tells.
                continue
            except (OSError, EOFError, zlib.error) as error:
                if file.part not in self._unread:
                    self._unread.add(file.part)
                    sink.report(f"cannot read {file.path}: {error}")
                self._known[file.part] = file
        if batch.messages or batch.files:
            yield batch

    def _iter_read(self, file: _File, batch: _Batch) -> Iterator[_File]:
        """Put a file's new events into the batch; gives the file as taken, whenever it may end."""
        with file.path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_ino != file.inode:
                return
            taken = file
            if file.path.suffix == ".gz":
                if file.at_rest and file.position < file.size:
                    yield from self._iter_gzipped(file, stream, batch)
                    return
            else:
                at = f"{self.name}/{file.part}"
                while taken.position < file.size:
                    stream.seek(taken.position)
                    length = _read_some(taken, stream, batch, at)
                    if not length:
                        break
                    position = taken.position + length
                    taken = replace(taken, position=position, mark=_marked(stream, position))
                    yield taken
            # With the size that was listed: what was written meanwhile is another look's.
            self._known[file.part] = taken

    def _iter_gzipped(self, file: _File, stream: BinaryIO, batch: _Batch) -> Iterator[_File]:
        at = f"{self.name}/{file.part}"
        unfinished = replace(file, position=0, mark=_marked(stream, file.size))
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            place = 0
            first = unpacked.peek(64 * 1024)[: 64 * 1024]
            lines = _holds_lines(first)
            while True:
                limit = EVENT_BYTES_MAX + 1 if lines else DOCUMENT_BYTES_MAX
                text = unpacked.readline(limit) if lines else unpacked.read(limit)
                if not text:
                    break
                if text.strip(_SPACE):
                    batch.add(Message(text, {}, f"{at}@{place}"))
                place += len(text)
                yield unfinished
        taken = replace(unfinished, position=file.size)
        self._known[file.part] = taken
        yield taken


def _read_some(file: _File, stream: BinaryIO, batch: _Batch, at: str) -> int:
    """Put the next lines, or a document, into the batch; how many bytes that were, 0 for none."""
    left = file.size - file.position
    data = stream.read(min(left, FOLDER_BYTES_MAX))
    if not _holds_lines(data):
        if not file.at_rest:
            return 0
        document = data + stream.read(min(left, DOCUMENT_BYTES_MAX) - len(data))
        if not document.endswith(b"\n") and not is_whole(document.strip(_SPACE)):
            return 0
        batch.add(Message(document, {}, f"{at}@{file.position}"))
        return len(document)
    end = data.rfind(b"\n") + 1
    if len(data) == left and file.at_rest and is_whole(data[end:].strip(_SPACE)):
        end = left
    if not end and len(data) > EVENT_BYTES_MAX:
        # No end in sight of a line that no event can have: refused, not waited for.
        end = len(data)
    place = file.position
    for line in BytesIO(data[:end]):
        if line.strip(_SPACE):
            batch.add(Message(line, {}, f"{at}@{place}"))
        place += len(line)
    return end


def _holds_lines(data: bytes) -> bool:
    """Whether each line is for itself, going by the first two: as `iter_raw_events` judges."""
    lines = [line for line in data[: 2 * EVENT_BYTES_MAX].split(b"\n", 2)[:2] if line.strip(_SPACE)]
    if not lines:
        return True
    first = lines[0].strip(_SPACE)
    if is_whole(first):
        return True
    return first not in {b"{", b"["} and len(lines) > 1 and is_whole(lines[1].strip(_SPACE))


def _list_folder(
    folder: Path, prefix: str, *, names: re.Pattern[str] = _EVENTS, deep: bool = True
) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if deep and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _list_folder(Path(entry.path), f"{name}/")
            elif names.fullmatch(entry.name) and entry.is_file():
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                path = Path(entry.path)
                yield _File(name, path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _goes_on(file: _File, offset: StreamOffset) -> bool:
    """Whether a file is the one that an offset speaks of, grown or not."""
    count, _, digest = offset.generation.partition(":")[2].partition(":")
    if file.size < offset.position:
        return False
    try:
        with file.path.open("rb") as stream:
            return sha256(stream.read(int(count))).hexdigest()[:16] == digest
    except (OSError, ValueError):
        return False


def _marked(stream: BinaryIO, position: int) -> str:
    count = min(position, FOLDER_FINGERPRINT_BYTES)
    stream.seek(0)
    return f"{count}:{sha256(stream.read(count)).hexdigest()[:16]}"
