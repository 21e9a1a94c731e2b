"""Which code ran: commit, uncommitted changes, remote; else a digest of the script.

Asked of git itself, in the parent of the observed program and before it starts. A repository too
large to answer in time costs a gap, not a delay.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from lodeline.credentials import redact_text
from lodeline.limits import GIT_SECONDS_MAX, PATCH_BYTES_MAX
from lodeline.records import fresh, record

_CREDENTIALS: Final = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@]*@")


@record
class Code:
    """The code of a run.

    Attributes:
        facet: `lodeline_code`, without stamps.
        location: the core facet `sourceCodeLocation`, when the code has an address.
        gaps: what could not be told.
    """

    facet: dict[str, Any] = fresh(default_factory=dict)
    location: dict[str, Any] | None = None
    gaps: list[tuple[str, str, str]] = fresh(default_factory=list)


def describe_code(script: Path | None, *, root: Path | None, text: str = "") -> Code:
    """Say which code runs.

    Args:
        script: absolute path of the script, if it is one.
        root: of the repository, when there is one.
        text: the code itself, when it was given on the command line.
    """
    code = Code()
    if root is not None:
        _describe_repository(code, script, root)
    if script is not None:
        digest = _source_digest(script)
        if digest is not None:
            code.facet["sourceDigest"] = digest
    elif text:
        code.facet["sourceDigest"] = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    commit = code.facet.get("commit")
    if commit:
        patch = code.facet.get("patchDigest")
        code.facet["version"] = f"{commit}+{patch}" if patch else commit
    elif "sourceDigest" in code.facet:
        code.facet["version"] = code.facet["sourceDigest"]
    return code


def _describe_repository(code: Code, script: Path | None, root: Path) -> None:
    commit = _git(root, "rev-parse", "--verify", "-q", "HEAD")
    if not commit:
        code.gaps.append((str(root), "capture", "git does not name a commit here"))
        return
    code.facet["commit"] = commit.decode().strip()
    code.facet["repositoryRoot"] = str(root)
    if script is not None and script.is_relative_to(root):
        code.facet["path"] = script.relative_to(root).as_posix()
    _describe_patch(code, root)
    remote = (_git(root, "config", "--get", "remote.origin.url") or b"").decode("utf-8", "replace")
    if remote.strip():
        url = redact_text(strip_credentials(remote.strip()))
        code.facet["remote"] = url
        code.location = {"type": "git", "url": url, "repoUrl": url, "version": code.facet["commit"]}
        if "path" in code.facet:
            code.location["path"] = code.facet["path"]


def _describe_patch(code: Code, root: Path) -> None:
    changes = _git(root, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD", "--", ".")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py", "*.sql")
    if changes is None or new is None:
        code.gaps.append((str(root), "time", "git took too long to tell uncommitted changes"))
        return
    for name in sorted(filter(None, new.split(b"\0"))):
        digest = _source_digest(root / name.decode("utf-8", "surrogateescape"))
        changes += b"new file " + name + b" " + (digest or "?").encode() + b"\n"
    if changes:
        code.facet["patchDigest"] = "sha256:" + hashlib.sha256(changes).hexdigest()
        if len(changes) <= PATCH_BYTES_MAX:
            patch = changes.decode("utf-8", "replace")
            code.facet["patch"] = redact_text(patch)
            if code.facet["patch"] != patch:
                # The digest stays that of what ran; the text alone cannot make it again.
                code.gaps.append((str(root), "capture", "the patch is kept without its secrets"))
        else:
            code.gaps.append((str(root), "size", f"the patch of {len(changes)} bytes is not kept"))


def strip_credentials(remote: str) -> str:
    """Take user name and password out of a remote's URL; `git@host:path` is left alone."""
    return _CREDENTIALS.sub(r"\1", remote)


def _git(root: Path, *arguments: str) -> bytes | None:
    """Ask git; empty when it says no, `None` when it is missing or too slow."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            timeout=GIT_SECONDS_MAX,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else b""


def _source_digest(path: Path) -> str | None:
    try:
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
