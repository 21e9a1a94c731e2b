"""The files of a model folder, hashed for its signed manifest."""

from __future__ import annotations

import os
from hashlib import file_digest
from pathlib import Path

from lodeline.attest.model_bundles import IGNORED_PATHS, Manifest
from lodeline.errors import UnsignableFileError


def read_manifest(folder: Path, *, ignored: tuple[str, ...] = IGNORED_PATHS) -> Manifest:
    """Hash every file of a folder.

    Args:
        folder: of the model.
        ignored: paths below it that are left out, each with all below it.

    Raises:
        UnsignableFileError: a symbolic link, which would sign what lies elsewhere, something that
            is neither file nor folder, a name that is not UTF-8, or a file that cannot be read.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise UnsignableFileError(str(folder), "not a folder")
    files: dict[str, str] = {}
    skipped = {folder / path for path in ignored}
    try:
        for place, names, files_here in os.walk(folder, onerror=_refuse):
            here = Path(place)
            names[:] = sorted(name for name in names if here / name not in skipped)
            for name in (*names, *sorted(files_here)):
                path = here / name
                if path in skipped:
                    continue
                if path.is_symlink():
                    raise UnsignableFileError(str(path), "a symbolic link")
                if path.is_dir():
                    continue
                if not path.is_file():
                    raise UnsignableFileError(str(path), "neither a file nor a folder")
                relative = path.relative_to(folder).as_posix()
                relative.encode()
                with path.open("rb") as stream:
                    files[relative] = file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UnsignableFileError(str(error.filename or folder), str(error.strerror)) from error
    except UnicodeEncodeError as error:
        raise UnsignableFileError(str(folder), "a file's name is not UTF-8") from error
    return Manifest.of(folder.name, files, ignored)


def _refuse(error: OSError) -> None:
    raise error


def differences(signed: Manifest, found: Manifest) -> list[str]:
    """Name the files in which a folder differs from its signed manifest."""
    expected, actual = dict(signed.files), dict(found.files)
    lines = [f"missing: {path}" for path in sorted(expected.keys() - actual.keys())]
    lines += [f"not signed: {path}" for path in sorted(actual.keys() - expected.keys())]
    lines += [
        f"changed: {path}"
        for path in sorted(expected.keys() & actual.keys())
        if expected[path] != actual[path]
    ]
    return lines
