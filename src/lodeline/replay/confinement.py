"""Keeps a replayed program from writing outside its mirror: `python -m … ALLOWED… -- COMMAND…`.

A program may hold absolute paths of the files it wrote the first time, and running it again must
not overwrite them. The kernel's Landlock holds whatever writes, Python or not, and needs no
privilege; the restriction passes to every program started from here. Reading stays free. On a
kernel without Landlock nothing is restricted, and `is_available` says so.

Source: Linux, Documentation/userspace-api/landlock.rst; the three system calls have the same
numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

# Bits of struct landlock_ruleset_attr.handled_access_fs that change files or directories.
_WRITE_FILE: Final = 1 << 1
_CHANGES_OF_DIRECTORIES: Final = sum(1 << bit for bit in range(4, 13))
_REFER: Final = 1 << 13  # since ABI 2: rename and link across directories
_TRUNCATE: Final = 1 << 14  # since ABI 3


def abi_version() -> int:
    """Landlock's ABI version here; 0 where the kernel has none or it is switched off."""
    if not sys.platform.startswith("linux"):
        return 0
    version = _system_call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(version, 0)


def is_available() -> bool:
    """Whether writes can be confined here."""
    return abi_version() > 0


def confine_writes(allowed: Sequence[Path]) -> None:
    """Let this process, and what it starts, write below `allowed` only. Cannot be undone.

    Raises:
        OSError: the kernel refused.
    """
    version = abi_version()
    handled = _WRITE_FILE | _CHANGES_OF_DIRECTORIES
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    attribute = struct.pack("=Q", handled)
    ruleset = _checked(_system_call(_CREATE_RULESET, attribute, len(attribute), 0))
    try:
        for path in allowed:
            _allow_below(ruleset, path, handled)
        libc = ctypes.CDLL(None, use_errno=True)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_system_call(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow_below(ruleset: int, path: Path, handled: int) -> None:
    if not path.exists():
        return
    # A rule on a file may hold only the rights that files have.
    rights = handled if path.is_dir() else handled & (_WRITE_FILE | _TRUNCATE)
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, parent)
        _checked(_system_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(parent)


def _system_call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    return result


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def main(argv: Sequence[str]) -> None:
    """Confine, then become the command."""
    border = list(argv).index("--")
    confine_writes([Path(word) for word in argv[:border]])
    command = list(argv[border + 1 :])
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
