"""s3fs: files that it moves to and from S3 whole. What it reads and writes, botocore's events tell.

Inside such a move stand calls that know of bytes alone; the move knows which file they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.datasets import file_dataset, find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder


class S3fsIntegration:
    """s3fs since 2023."""

    name = "s3fs"
    supports = "s3fs>=2023.1,<2028"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Observe the coroutines that move one file; lists and folders go through them, too."""
        import s3fs

        def put(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            filesystem, local, remote = _arguments(args, kwargs, ("lpath", "rpath"))
            dataset = find_dataset(filesystem.unstrip_protocol(remote))
            if dataset is not None:
                recorder.put_file(dataset, file_dataset(local))

        def got(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            filesystem, remote, local = _arguments(args, kwargs, ("rpath", "lpath"))
            source = find_dataset(filesystem.unstrip_protocol(remote))
            if source is not None and isinstance(local, str):
                recorder.write(file_dataset(local), flow=recorder.flow.note_read(source))

        patches = Patches("s3fs")
        patches.after_awaited(s3fs.S3FileSystem, "_put_file", put)
        patches.after_awaited(s3fs.S3FileSystem, "_get_file", got)
        return patches.undo


def _arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, str]
) -> tuple[Any, Any, Any]:
    given = [*args[1:3], *(kwargs[name] for name in names[len(args) - 1 :])]
    return args[0], given[0], given[1]
