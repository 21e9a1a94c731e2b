"""Make a store from a backup, after checking all of it. The store must not exist yet.

The restored log has the entries of the earlier one and goes on under a new origin and new keys,
with an entry that cites the checkpoint it was restored from.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeline.cli.answers import print_json
from lodeline.cli.progress import counting
from lodeline.errors import UsageError
from lodeline.settings import store_url

if TYPE_CHECKING:
    from lodeline.store.backups import Backup


def configure(parser: ArgumentParser) -> None:
    """Add the options of `restore`."""
    parser.add_argument("backup", metavar="BACKUP", help="folder that `lodeline backup` made")
    parser.add_argument(
        "--check", action="store_true", help="check the backup alone, and restore nothing"
    )
    parser.add_argument(
        "--subject-keys",
        metavar="FOLDER",
        help="keys of data subjects, such as `STORE.keys/….subjects` of the earlier store",
    )
    parser.add_argument(
        "--erasures-of",
        metavar="URL",
        help="store that went on after the backup: what it erased since is erased again",
    )


def execute(arguments: Namespace) -> int:
    """Check the backup, restore it, and tell what came of it."""
    if arguments.server is not None:
        raise UsageError("restore makes a store; it takes no --server")
    from lodeline.store.backups import Backup

    backup = Backup(Path(arguments.backup))
    with counting("check", quiet=arguments.json) as progress:
        backup.verify(progress=lambda done, total: progress(done, total, f"{done} entries"))
    manifest = backup.manifest
    answer: dict[str, Any] = {
        "origin": manifest.origin,
        "size": manifest.size,
        "root_hash": manifest.root_hash,
        "verified": True,
    }
    if not arguments.check:
        answer["restored"] = _restore(arguments, backup)
    if arguments.json:
        print_json(answer)
        return 0
    print(f"verified: {manifest.size} entries of {manifest.origin}, {len(manifest.blobs)} blobs")
    if not arguments.check:
        made = answer["restored"]
        print(f"restored to {made['url']} as {made['origin']}")
        print(f"  graph {made['graph_digest']}")
        if made["erasures"]:
            print(f"  {made['erasures']} later erasures were carried out again")
    return 0


def _restore(arguments: Namespace, backup: Backup) -> dict[str, object]:
    from lodeline.ingest import fold_pending, graph_state
    from lodeline.store import open_segment
    from lodeline.store.restoring import check_continues, reapply_erasures, restore

    folder = None if arguments.subject_keys is None else Path(arguments.subject_keys)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--subject-keys: {folder} is no folder")
    with ExitStack() as opened:
        source = None
        if arguments.erasures_of is not None:
            url = store_url(arguments.erasures_of)
            source = opened.enter_context(open_segment(url, create=False))
            check_continues(source, backup.manifest)
        url = store_url(arguments.store)
        segment = opened.enter_context(restore(url, backup, subject_keys=folder))
        erasures = 0
        if source is not None:
            erasures = reapply_erasures(segment, source, since=backup.manifest.size)
        fold_pending(segment)
        return {
            "url": segment.url,
            "origin": segment.origin,
            "size": segment.size(),
            "graph_digest": graph_state(segment).graph_digest,
            "erasures": erasures,
        }
