"""A tree in which a recorded run finds its code and inputs as they were.

The mirror repeats the absolute paths of the record below one temporary directory: what lay in
`/data/a.parquet` lies in `<mirror>/data/a.parquet`. Programs that use relative paths, `../` among
them, or paths relative to their own file, then see what they saw. Every byte put here is verified
against the digest in the record first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lodeline.errors import CannotReplayError
from lodeline.replay.recipe import Artifact, Part, Recipe

_CHUNK_BYTES: Final = 1 << 20
_NEW_FILE: Final = re.compile(r"new file (.+) sha256:([0-9a-f]{64})\n")


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Mirror:
    """The tree below one directory.

    Attributes:
        root: the directory; made and removed by the caller.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, path: str | Path) -> Path:
        """Where an absolute path of the record lies in the mirror."""
        return self.root / str(path).lstrip("/")

    def original(self, path: str | Path) -> str | None:
        """The record's path for one in the mirror; `None` when it lies elsewhere."""
        path = Path(path)
        if not path.is_relative_to(self.root):
            return None
        return "/" + str(path.relative_to(self.root))

    def place(self, source: Path, path: str | Path, digest: str | None = None) -> None:
        """Copy a file to its place, verifying its bytes on the way.

        Raises:
            CannotReplayError: the bytes are not those of the record.
        """
        target = self.of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        with source.open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(_CHUNK_BYTES):
                found.update(chunk)
                writer.write(chunk)
        if digest is not None and found.hexdigest() != digest:
            target.unlink()
            raise CannotReplayError(
                reason=f"{path} is not what it was: the record says {digest[:12]}, "
                f"{source} has {found.hexdigest()[:12]}"
            )
        shutil.copymode(source, target)


def place_code(mirror: Mirror, recipe: Recipe) -> None:
    """Put the run's code in its place: the commit with its patch, else the one source file.

    Raises:
        CannotReplayError: the code can't be had as it was.
    """
    code = recipe.code
    commit, root = code.get("commit"), code.get("repositoryRoot")
    if commit and root:
        _check_out(mirror, Path(root), commit)
        if code.get("patchDigest"):
            _apply_patch(mirror, Path(root), code)
    digest = code.get("sourceDigest")
    if digest is None:
        return  # `python -c` and `python -m`: the command line says it all.
    digest = str(digest).removeprefix("sha256:")
    words = [str(code["path"])] if code.get("path") and root else list(recipe.argv[1:])
    base = root if code.get("path") and root else recipe.cwd
    scripts = [Path(base, word) for word in words]
    if not any(_has_digest(mirror.of(script), digest) for script in scripts):
        _place_script(mirror, scripts, digest)


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest


def _place_script(mirror: Mirror, scripts: Iterable[Path], digest: str) -> None:
    """Place the one file of the command line that has the recorded digest."""
    for script in scripts:
        if _has_digest(script, digest):
            mirror.place(script, script, digest)
            return
    raise CannotReplayError(reason=f"its source file, {digest[:12]}, is gone or has changed")


def _check_out(mirror: Mirror, root: Path, commit: str) -> None:
    if not root.is_dir():
        raise CannotReplayError(reason=f"the repository {root} is gone")
    target = mirror.of(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Objects are borrowed from the original: a replay neither copies history nor writes to it.
    _git(root.parent, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(target))
    _git(target, "checkout", "--quiet", "--detach", commit, missing=f"commit {commit[:12]}")


def _apply_patch(mirror: Mirror, root: Path, code: Mapping[str, Any]) -> None:
    """Apply the uncommitted changes, and bring the new files that git didn't know yet.

    The record ends the patch with a line a new file, its name and digest; their text stays on the
    machine.
    """
    patch, digest = code.get("patch"), str(code["patchDigest"]).removeprefix("sha256:")
    if patch is None:
        raise CannotReplayError(
            reason="the run used uncommitted changes, of which the record has the digest alone"
        )
    if hashlib.sha256(patch.encode()).hexdigest() != digest:
        raise CannotReplayError(reason="the recorded patch does not have its recorded digest")
    lines = patch.splitlines(keepends=True)
    while lines and (new := _NEW_FILE.fullmatch(lines[-1])):
        source = root / new[1]
        if not _has_digest(source, new[2]):
            raise CannotReplayError(reason=f"{source}, never committed, is gone or has changed")
        mirror.place(source, source, new[2])
        lines.pop()
    if lines:
        text = "".join(lines).encode()
        _git(mirror.of(root), "apply", "--binary", "--whitespace=nowarn", "-", text=text)


def _git(folder: Path, *words: str, text: bytes | None = None, missing: str = "") -> None:
    """Run git, unaffected by a repository that the caller's environment may name."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env=environment,
            input=text if text is not None else b"",
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise CannotReplayError(reason=f"git does not run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        what = missing or f"git {words[0]}"
        raise CannotReplayError(reason=f"{what}: {said[-1]}")


def place_inputs(
    mirror: Mirror,
    inputs: Sequence[Artifact],
    *,
    nearby: Iterable[str],
    find_copies: Callable[[str], Iterable[Path]],
) -> None:
    """Put the run's inputs in their places, at the digests of the record.

    Args:
        mirror: where to.
        inputs: what the run used and did not itself generate.
        nearby: directories below which inputs are copied; others are linked, since a program that
            reads from elsewhere is unlikely to write there, and is kept from it anyway.
        find_copies: further places where bytes of a digest may lie.

    Raises:
        CannotReplayError: an input isn't a file, has no recorded digest, or its bytes are gone.
    """
    folders = tuple(nearby)
    for artifact in inputs:
        if artifact.path is None:
            raise CannotReplayError(reason=f"{artifact.node} is not a file on this machine")
        parts = artifact.parts or _single(artifact)
        for part in parts:
            path = Path(artifact.path, part.key) if part.key else Path(artifact.path)
            copied = any(path.is_relative_to(folder) for folder in folders)
            _place_input(mirror, path, part.digest, find_copies=find_copies, copied=copied)


def _single(artifact: Artifact) -> tuple[Part, ...]:
    if artifact.digest is None:
        raise CannotReplayError(reason=f"the record has no digest of {artifact.node}")
    return (Part("", artifact.digest),)


def _place_input(
    mirror: Mirror,
    path: Path,
    digest: str,
    *,
    find_copies: Callable[[str], Iterable[Path]],
    copied: bool,
) -> None:
    digest = digest.removeprefix("sha256:")
    target = mirror.of(path)
    if target.is_file() and digest_of(target) == digest:
        return  # The commit brought it.
    source = next(
        (p for p in (path, *find_copies(digest)) if p.is_file() and digest_of(p) == digest), None
    )
    if source is None:
        state = f"now has {digest_of(path)[:12]}" if path.is_file() else "is gone"
        raise CannotReplayError(
            reason=f"{path} {state}; the run used {digest[:12]}, of which no copy is known"
        )
    if copied:
        mirror.place(source, path, digest)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source)
