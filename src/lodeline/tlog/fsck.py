"""Checking a tiled log from its files alone, and telling where the first bad byte lies.

Needs no store: a checkpoint, tiles and entry bundles, read through `LogFolder`. Memory holds one
tile of each level and one bundle at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lodeline.errors import ProofError
from lodeline.proof import (
    EMPTY_ROOT,
    TreeHead,
    Verifier,
    parse_note,
    parse_tree_head,
    root_from_tiles,
    verify_note,
)
from lodeline.tlog.faults import FsckReport
from lodeline.tlog.folders import LogFolder
from lodeline.tlog.leftovers import check_leftovers
from lodeline.tlog.resources import CHECKPOINT, NEXT_CHECKPOINT
from lodeline.tlog.walk import Walk

Progress = Callable[[int, int], object]


def check_folder(
    folder: LogFolder,
    *,
    verifiers: Sequence[Verifier] = (),
    origin: str | None = None,
    earlier: Sequence[tuple[str, bytes]] = (),
    progress: Progress = lambda _done, _total: None,
) -> FsckReport:
    """Check a log's files.

    1. The checkpoint is a signed note of the right origin; with keys, one of them signed it.
       Without that nothing else is looked at: there would be nothing to hold it against.
    2. No checkpoint kept earlier covers more, or the same with another root.
    3. Entries and tiles lead to the checkpoint's root (`walk`).
    4. The log extends every checkpoint kept earlier.
    5. Where files can be listed: those beside are beginnings of what was checked, or belong to a
       publication under way (`leftovers`). Anything else in `tile/` is superfluous.

    Args:
        folder: to be read.
        verifiers: keys that are trusted; none leaves signatures unchecked.
        origin: that the checkpoint must have; with keys and without it, the name of one of them.
        earlier: checkpoints kept elsewhere, each with a name for it.
        progress: told of entries checked.

    Raises:
        FolderUnreachableError: a file cannot be read.
    """
    report = FsckReport("policy" if verifiers else "none")
    with report.collecting():
        # 1.
        data = folder.read(CHECKPOINT)
        if data is None:
            report.fail("checkpoint.missing", CHECKPOINT, expected="a signed checkpoint")
            return report
        head = _check_checkpoint(report, CHECKPOINT, data, verifiers, origin)
        report.head = head
        if head is None:
            return report
        # 2.
        heads = _check_earlier(report, head, earlier, verifiers)
        # 3.
        walk = Walk(folder, head, report, progress)
        walk.run()
        # 4.
        if report.ok:
            _check_extension(report, walk, heads)
        # 5.
        check_leftovers(folder, head, _find_next(folder, head, report, verifiers), report)
    return report


def _check_checkpoint(
    report: FsckReport,
    at: str,
    data: bytes,
    verifiers: Sequence[Verifier],
    origin: str | None,
) -> TreeHead | None:
    try:
        # Bytes that are no UTF-8 become surrogates, which no note has.
        note = data.decode("utf-8", "surrogateescape")
        text, _ = parse_note(note)
        head = parse_tree_head(text)
    except ProofError as error:
        report.fail("checkpoint.malformed", at, expected="a checkpoint", found=str(error))
        return None
    names = sorted({verifier.name for verifier in verifiers})
    wanted = [origin] if origin is not None else names
    if wanted and head.origin not in wanted:
        report.fail(
            "checkpoint.origin", at, offset=0, expected=" or ".join(wanted), found=head.origin
        )
        return None
    if verifiers:
        try:
            verify_note(note, verifiers)
        except ProofError as error:
            expected = f"a signature by {', '.join(names)}"
            report.fail("checkpoint.signature", at, expected=expected, found=str(error))
            return None
        report.signatures += 1
    return head


def _check_earlier(
    report: FsckReport,
    head: TreeHead,
    earlier: Sequence[tuple[str, bytes]],
    verifiers: Sequence[Verifier],
) -> list[tuple[str, TreeHead]]:
    heads = []
    for name, data in earlier:
        kept = _check_checkpoint(report, name, data, verifiers, head.origin)
        if kept is None:
            continue
        if kept.size > head.size:
            report.fail(
                "consistency.rollback",
                CHECKPOINT,
                expected=f"at least {kept.size} entries, as in {name}",
                found=f"{head.size} entries",
            )
        elif kept.size == head.size and kept.root_hash != head.root_hash:
            _split(report, name, kept, head.root_hash)
        else:
            heads.append((name, kept))
    return heads


def _split(report: FsckReport, name: str, kept: TreeHead, root: bytes) -> None:
    report.fail(
        "consistency.split_view",
        name,
        part=f"tree of {kept.size}",
        expected=kept.root_hash.hex(),
        found=root.hex(),
    )


def _check_extension(report: FsckReport, walk: Walk, heads: Sequence[tuple[str, TreeHead]]) -> None:
    for name, kept in heads:
        root = EMPTY_ROOT
        if kept.size:
            root = root_from_tiles(0, kept.size, walk.read_hashes)
        if root != kept.root_hash:
            _split(report, name, kept, root)
        else:
            report.checkpoints += 1


def _find_next(
    folder: LogFolder, head: TreeHead, report: FsckReport, verifiers: Sequence[Verifier]
) -> TreeHead | None:
    data = folder.read(NEXT_CHECKPOINT)
    if data is None:
        return None
    upcoming = _check_checkpoint(report, NEXT_CHECKPOINT, data, verifiers, head.origin)
    if upcoming is not None and upcoming.size < head.size:
        report.fail(
            "checkpoint.malformed",
            NEXT_CHECKPOINT,
            expected=f"at least {head.size} entries",
            found=f"{upcoming.size} entries",
        )
        return None
    return upcoming
