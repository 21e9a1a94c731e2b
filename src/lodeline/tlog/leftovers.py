"""The files of a tiled log that its checkpoint does not name: earlier edges, and what is new.

1. An unfinished tile or bundle of an earlier tree is the beginning of today's.
2. Files of a publication under way lie beyond the checkpoint and within `checkpoint.next`. They
   are well formed, and bundles agree with the tiles above them; the root over them is the next
   checkpoint's matter.
3. Every other file in `tile/` is superfluous.
4. Files outside `tile/` are no part of the layout; nothing is said about them.
"""

from __future__ import annotations

from lodeline.errors import MalformedProofError
from lodeline.proof import HASH_BYTES, TILE_WIDTH, TreeHead, hash_leaf, iter_bundle
from lodeline.tlog.faults import FsckReport
from lodeline.tlog.folders import LogFolder
from lodeline.tlog.resources import (
    CHECKPOINT,
    ENTRIES_LEVEL,
    NEXT_CHECKPOINT,
    TILES,
    Resource,
    find_resource,
    width_at,
)


def check_leftovers(
    folder: LogFolder, head: TreeHead, upcoming: TreeHead | None, report: FsckReport
) -> None:
    """Check every file that the walk did not read.

    Args:
        folder: to be read; nothing is checked where it cannot be listed.
        head: of the checkpoint.
        upcoming: of a publication under way.
        report: told of faults and counts.
    """
    paths = folder.paths()
    if paths is None:
        report.listed = False
        return
    faulty = {fault.at for fault in report.faults}
    for path in paths:
        if not path.startswith(TILES):
            # 4.
            report.ignored += path not in {CHECKPOINT, NEXT_CHECKPOINT}
            continue
        resource = find_resource(path)
        width = 0 if resource is None else width_at(resource.level, resource.number, head.size)
        if resource is not None and resource.width <= width:
            if resource.width < width:
                # 1.
                _check_beginning(folder, resource, width, faulty, report)
        elif resource is not None and _is_upcoming(resource, upcoming):
            # 2.
            report.pending += 1
            _check_shape(folder, resource, report)
        else:
            # 3.
            report.fail("extra", path, expected="no such file", found=_reason(resource))


def _reason(resource: Resource | None) -> str:
    if resource is None:
        return "a file that is no tile and no bundle"
    return "a file beyond the checkpoint"


def _is_upcoming(resource: Resource, upcoming: TreeHead | None) -> bool:
    if upcoming is None:
        return False
    return resource.width <= width_at(resource.level, resource.number, upcoming.size)


def _check_beginning(
    folder: LogFolder, resource: Resource, width: int, faulty: set[str], report: FsckReport
) -> None:
    today = Resource(resource.level, resource.number, width)
    if today.path in faulty:
        return
    whole = folder.read(today.path)
    data = folder.read(resource.path)
    if whole is None or data is None:
        return
    expected = _beginning(whole, resource)
    if data == expected:
        return
    is_bundle = resource.level == ENTRIES_LEVEL
    same = next(
        (i for i, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b),
        min(len(data), len(expected)),
    )
    if len(data) != len(expected) and same == min(len(data), len(expected)):
        code = "bundle.length" if is_bundle else "tile.length"
        report.fail(
            code,
            resource.path,
            offset=same,
            expected=f"{len(expected)} bytes",
            found=f"{len(data)} bytes",
        )
        return
    report.fail(
        "entry" if is_bundle else "tile",
        resource.path,
        offset=same,
        part=f"as at the beginning of {today.path}",
        expected=expected[same : same + HASH_BYTES].hex(),
        found=data[same : same + HASH_BYTES].hex(),
    )


def _beginning(whole: bytes, resource: Resource) -> bytes:
    if resource.level != ENTRIES_LEVEL:
        return whole[: resource.width * HASH_BYTES]
    end = 0
    for _ in range(resource.width):
        end += 2 + int.from_bytes(whole[end : end + 2], "big")
    return whole[:end]


def _check_shape(folder: LogFolder, resource: Resource, report: FsckReport) -> None:
    data = folder.read(resource.path)
    if data is None:
        return
    if resource.level != ENTRIES_LEVEL:
        wanted = resource.width * HASH_BYTES
        if len(data) != wanted:
            report.fail(
                "tile.length",
                resource.path,
                offset=min(len(data), wanted),
                expected=f"{wanted} bytes",
                found=f"{len(data)} bytes",
            )
        return
    try:
        hashes = [hash_leaf(entry) for entry in iter_bundle(data)]
    except MalformedProofError as error:
        report.fail("bundle.length", resource.path, found=str(error))
        return
    if len(hashes) != resource.width:
        report.fail(
            "bundle.length",
            resource.path,
            expected=f"{resource.width} entries",
            found=f"{len(hashes)} entries",
        )
        return
    tile = folder.read(Resource(0, resource.number, resource.width).path)
    if tile is None or len(tile) != resource.width * HASH_BYTES:
        return
    for index, value in enumerate(hashes):
        if tile[index * HASH_BYTES : (index + 1) * HASH_BYTES] != value:
            report.fail(
                "entry",
                resource.path,
                part=f"entry {resource.number * TILE_WIDTH + index}",
                expected=tile[index * HASH_BYTES : (index + 1) * HASH_BYTES].hex(),
                found=value.hex(),
            )
            return
