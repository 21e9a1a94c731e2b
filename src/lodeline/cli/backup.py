"""Write a backup of the store to a new folder, while it may be in use, and check it on the way.

The backup has everything but what can be made again (graph, indexes) and the keys that sign. Keys
of data subjects are left out, too, so that an erasure reaches every backup; keep them apart, or ask
for them with --subject-keys.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lodeline.cli.answers import open_segment, print_json
from lodeline.cli.progress import counting


def configure(parser: ArgumentParser) -> None:
    """Add the options of `backup`."""
    parser.add_argument("dest", metavar="DEST", help="folder to make")
    parser.add_argument(
        "--subject-keys",
        action="store_true",
        help="also keep the keys of data subjects; an erasure does not reach them there",
    )


def execute(arguments: Namespace) -> int:
    """Write the backup and tell what it is of."""
    from lodeline.store.backups import write_backup

    folder = Path(arguments.dest)
    with (
        open_segment(arguments) as segment,
        counting("backup", quiet=arguments.json) as progress,
    ):
        manifest = write_backup(
            segment,
            folder,
            subject_keys=arguments.subject_keys,
            progress=lambda done, total: progress(done, total, f"{done} entries"),
        )
    if arguments.json:
        print_json(
            {
                "path": str(folder.absolute()),
                "origin": manifest.origin,
                "size": manifest.size,
                "root_hash": manifest.root_hash,
                "blobs": len(manifest.blobs),
                "subject_keys": manifest.subject_keys,
            }
        )
    else:
        print(f"{manifest.size} entries of {manifest.origin}, {len(manifest.blobs)} blobs")
        print(f"  root {manifest.root_hash}")
        if not manifest.subject_keys:
            print("  without keys of data subjects")
    return 0
