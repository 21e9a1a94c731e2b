"""Naming what a program reads and writes, after OpenLineage's naming rules.

Local files are datasets of namespace `file`, named by absolute path (links are not followed: the
name is the one that the program used). Object stores and web addresses follow the rules of
<https://openlineage.io/docs/spec/naming>; credentials and queries never become part of a name.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from lodeline.limits import GLOB_FILES_MAX

FILE = "file"
# Files that fsspec keeps in the process's memory: gone with it, like scratch files.
MEMORY = "memory"
# Query strings of these schemes may hold tokens and are cut off; the path names the dataset.
_FILE_ENDINGS = frozenset(
    [
        ".arrow",
        ".avro",
        ".csv",
        ".db",
        ".feather",
        ".gz",
        ".joblib",
        ".json",
        ".jsonl",
        ".ndjson",
        ".npy",
        ".npz",
        ".onnx",
        ".orc",
        ".parquet",
        ".pickle",
        ".pkl",
        ".pt",
        ".safetensors",
        ".sqlite",
        ".tsv",
        ".txt",
        ".xls",
        ".xlsx",
        ".xml",
        ".yaml",
        ".yml",
        ".zip",
        ".zst",
    ]
)
_WEB = frozenset({"http", "https"})
_S3 = frozenset({"s3", "s3a", "s3n"})


class Dataset(NamedTuple):
    """A dataset's identity on the wire."""

    namespace: str
    name: str


class Stat(NamedTuple):
    """What a file looked like: the deliverer digests it only if it still looks the same."""

    path: str
    inode: int
    mtime_ns: int
    size: int

    def to_json(self) -> dict[str, object]:
        """Give the `pending` member of `lodeline_digest`."""
        return {
            "path": self.path,
            "inode": self.inode,
            "mtimeNs": self.mtime_ns,
            "size": self.size,
        }


def file_dataset(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Dataset:
    """Name a local file by its absolute path."""
    return Dataset(FILE, readable(os.path.abspath(os.fsdecode(path))))


def readable(text: str) -> str:
    """Make any file name valid UTF-8: bytes that are none become backslash escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def find_dataset(target: object) -> Dataset | None:
    """Name what a reader or writer was given: a path, a URL, or an open file with a name.

    Returns:
        `None` for what has no name outside the process, such as a buffer in memory.
    """
    if isinstance(target, (str, bytes, os.PathLike)):
        text = os.fsdecode(target)
        if "::" in text and "://" in text:
            # Of fsspec: a view of what stands last, such as a file in an archive, or a copy of it.
            text = text.rpartition("::")[2]
        scheme, mark, rest = text.partition("://")
        if mark and scheme.replace("+", "").replace("-", "").isalnum() and len(scheme) > 1:
            return _from_url(scheme.lower(), rest)
        return file_dataset(os.path.expanduser(text)) if text else None
    whole = getattr(target, "full_name", None) or _full_name(getattr(target, "buffer", None))
    if isinstance(whole, str) and "://" in whole:
        # An open file of fsspec, which has no name that says where it is.
        return find_dataset(whole)
    name = getattr(target, "name", None)
    if isinstance(name, (str, bytes)) and name and not str(name).startswith("<"):
        return file_dataset(name)
    return None


# Filesystems of Arrow's own, and the schemes under which their paths are named.
_ARROW_SCHEMES = {"s3": "s3://", "gcs": "gs://", "hdfs": "hdfs://", "abfs": "abfs://"}


def in_filesystem(target: object, filesystem: object) -> object:
    """Say where paths lie that are given together with a filesystem of Arrow's or fsspec's.

    Args:
        target: a path or a list of them, below `filesystem`; anything else stays as it is.
        filesystem: `None` for paths and URLs that speak for themselves.
    """
    if filesystem is None or isinstance(filesystem, str):
        return target
    if isinstance(target, (list, tuple)):
        return [in_filesystem(one, filesystem) for one in target]
    if not isinstance(target, (str, os.PathLike)):
        return target
    path = os.fsdecode(target)
    # A filesystem below another one's folder, and one that fsspec lends to Arrow.
    base = getattr(filesystem, "base_fs", None)
    if base is not None:
        return in_filesystem(os.path.join(str(getattr(filesystem, "base_path", "")), path), base)
    inner = getattr(getattr(filesystem, "handler", None), "fs", filesystem)
    named = getattr(inner, "unstrip_protocol", None)
    if named is not None:
        return str(named(path))
    kind = getattr(filesystem, "type_name", "local")
    return path if kind == "local" else _ARROW_SCHEMES.get(kind, f"{kind}://") + path


def _full_name(target: object) -> object:
    return None if target is None else getattr(target, "full_name", None)


def declared_dataset(target: object, namespace: str) -> Dataset | None:
    """Name what a person declared: an identifier, a path, a URL, or a name in a namespace.

    A text is an identifier when it starts with `dataset:` or `model:`; a path when a file of that
    name exists, or it has a separator or the ending of a data file; else a name.
    """
    if not isinstance(target, str) or not target:
        return None if target == "" else find_dataset(target)
    if target.startswith(("dataset:", "model:")):
        # With it come `dataclasses` and `inspect`, which observed programs need not have.
        from lodeline.model import parse_identifier

        node = parse_identifier(target)
        return Dataset(node.namespace, node.name)
    ending = os.path.splitext(target)[1].lower()
    # `s3://bucket/key` has separators, too.
    if os.sep in target or target[:1] in "~." or ending in _FILE_ENDINGS or os.path.exists(target):
        return find_dataset(target)
    return Dataset(namespace, readable(target))


def list_datasets(target: object) -> tuple[list[Dataset], bool]:
    """Name everything that a scanner was given: a path, a pattern, a directory, or a list of them.

    Returns:
        The datasets, a pattern resolved to its files; and whether they are all of them.
    """
    if isinstance(target, (list, tuple)):
        found: list[Dataset] = []
        for member in target[:GLOB_FILES_MAX]:
            found += list_datasets(member)[0]
        return found, len(target) <= GLOB_FILES_MAX
    dataset = find_dataset(target)
    if dataset is None:
        return [], False
    path = local_path(dataset)
    if path is None or not any(mark in path for mark in "*?[") or os.path.exists(path):
        return [dataset], True
    import glob

    names = sorted(name for name in glob.iglob(path, recursive=True) if os.path.isfile(name))
    return [file_dataset(name) for name in names[:GLOB_FILES_MAX]], len(names) <= GLOB_FILES_MAX


def _from_url(scheme: str, rest: str) -> Dataset | None:
    if scheme in {"file", "local"}:
        return file_dataset("/" + rest.lstrip("/"))
    authority, _, path = rest.partition("/")
    host = authority.rpartition("@")[2] if scheme in _WEB else authority
    if ":" in host.rpartition("@")[0]:
        host = host.rpartition("@")[2]
    if scheme in _WEB:
        path = "/" + path.partition("?")[0].partition("#")[0]
    if scheme == MEMORY:
        return Dataset(MEMORY, "/" + rest.strip("/"))
    if scheme in _S3:
        scheme, path = "s3", path.partition("?versionId=")[0]
    return Dataset(f"{scheme}://{host}", path or "/")


def local_path(dataset: Dataset) -> str | None:
    """Path of a dataset that is a local file; `None` for others."""
    return dataset.name if dataset.namespace == FILE else None


def is_there(dataset: Dataset) -> bool:
    """Whether what was read just now can have been this: a local file is there, others may be.

    Some readers take the data themselves in the place of a path; these must not become a name.
    """
    path = local_path(dataset)
    return path is None or os.path.lexists(path)


def find_stat(dataset: Dataset) -> Stat | None:
    """Look at a local file or directory now; `None` when there is none.

    A directory's time is the present: its files count as long as none is younger.
    """
    if dataset.namespace != FILE:
        return None
    found = find_path_stat(dataset.name)
    if found is not None:
        return found
    try:
        entry = os.stat(dataset.name)
    except (OSError, ValueError):
        return None
    if entry.st_mode & 0o170000 != 0o040000:
        return None
    return Stat(dataset.name, entry.st_ino, time.time_ns(), 0)


def find_path_stat(path: str) -> Stat | None:
    """Look at a regular file now; `None` for anything else."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if found.st_mode & 0o170000 != 0o100000:
        return None
    return Stat(path, found.st_ino, found.st_mtime_ns, found.st_size)


def stem(dataset: Dataset) -> str:
    """Name a model by its dataset: its file's name without the suffix."""
    base = os.path.basename(local_path(dataset) or dataset.name)
    return base.partition(".")[0] or base or "model"
