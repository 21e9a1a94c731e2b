"""Plain files, through the audit events of the interpreter (PEP 578).

`open`, `os.open`, `pathlib` and everything written in Python on top of them raise `open`; renames
and copies have events of their own. What the interpreter itself, its packages and the system read
is left out. Files that native code opens by itself are not seen here: each such framework has an
adapter, or a gap.

An event tells the intent, before the call: whether a file that was opened for writing exists in
the end is looked up when the run's events are made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.datasets import FILE, Dataset, find_dataset, readable
from lodeline.capture.recorder import Recorder
from lodeline.limits import ARGUMENTS_NAMED_MAX

# Not all of /usr: containers keep applications in /usr/src.
_SYSTEM: Final = (
    *("/proc/", "/sys/", "/dev/", "/run/", "/etc/", "/lib/", "/lib64/", "/bin/", "/sbin/"),
    *("/usr/lib/", "/usr/lib64/", "/usr/share/", "/usr/bin/", "/usr/include/"),
    *("/usr/local/lib/", "/usr/local/share/", "/usr/local/bin/"),
)
_PARTS: Final = (
    *("/__pycache__/", "/site-packages/", "/dist-packages/", "/.git/", "/.lodeline/"),
    # What tools keep for themselves.
    *("/.pytest_cache/", "/pytest-cache-files-", "/.ipynb_checkpoints/", "/.mypy_cache/"),
)
# Code is recorded as code: its version is that of the repository, or of the source digest.
_CODE: Final = (".py", ".pyc", ".pyo", ".pyi", ".so", ".pth")
_INSTALLED: Final = ("bin", "etc", "include", "lib", "lib64", "share")
_HOME_CACHES: Final = (".cache", ".config", ".local", ".matplotlib", ".ipython", ".jupyter")


class FilesIntegration:
    """Plain files of any program."""

    name = "files"
    supports = ""

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Add an audit hook; the interpreter can't take one out, so undoing silences it."""
        watcher = _Watcher(recorder)
        sys.addaudithook(watcher.hook())
        return watcher.silence


class _Watcher:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._local = recorder.local
        self._ignored = _ignored_folders()
        # A console script has no ending that tells it from data.
        self._script = os.path.abspath(sys.argv[0]) if getattr(sys, "argv", None) else ""
        self._acts: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "open": self._open,
            "os.rename": self._rename,
            "os.link": self._copy,
            "os.remove": self._remove,
            "shutil.copyfile": self._copy,
            "sqlite3.connect": self._database,
            "socket.connect": self._connect,
            "urllib.Request": self._fetch,
            "subprocess.Popen": self._program,
            "os.system": self._shell,
            "os.posix_spawn": self._spawn,
            "os.exec": self._spawn,
            "ctypes.dlsym": self._symbol,
            "ctypes.dlopen": self._library,
        }

    def silence(self) -> None:
        """Ignore everything from here on."""
        self._acts.clear()

    def hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """Make the audit hook. An exception in it would stop the program's own call: none gets out.

        Importing pandas raises 70,000 events (most of them `id`), nearly all of which end at the
        first line: a closure and a membership test are the cheapest that Python offers.
        """
        acts, local, recorder = self._acts, self._local, self._recorder

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event not in acts or local.suspended:
                return
            try:
                local.suspended = 1
                acts[event](args)
            except Exception as error:  # capture's outermost door
                recorder.trouble(f"files.{event}", error)
            finally:
                local.suspended = 0

        return hook

    def _open(self, args: tuple[Any, ...]) -> None:
        target, mode, flags = args
        if type(target) is int:
            return
        path = self._path(target)
        if path is None:
            return
        if mode is None and not os.path.exists(path) and not os.path.isabs(os.fsdecode(target)):
            path = self._path(self._below_open_folder(target, flags) or target) or path
        self._recorder.opened(path, _mode(mode, flags))

    def _below_open_folder(self, target: Any, flags: object) -> str | None:
        """Find a file that `os.open` was given relative to a folder's descriptor.

        The event does not say which; nearly always one folder is open, and holds the file.
        """
        name, found = os.fsdecode(target), []
        for entry in os.listdir("/proc/self/fd"):
            try:
                folder = os.readlink(f"/proc/self/fd/{entry}")
            except OSError:
                continue
            path = os.path.join(folder, name)
            writes = isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY
            if os.path.isdir(folder) and (writes or os.path.exists(path)):
                found.append(path)
        if len(set(found)) > 1:
            detail = "opened relative to one of several folders; which, is not known"
            self._recorder.gap(name, "capture", detail)
        return found[0] if len(set(found)) == 1 else None

    def _path(self, target: object) -> str | None:
        """The absolute path of a file that matters; `None` for the system's and the packages'."""
        if not isinstance(target, (str, bytes, os.PathLike)):
            return None
        path = os.fsdecode(target)
        if path.startswith(_SYSTEM) or path.endswith(_CODE):
            return None
        path = os.path.abspath(path)
        if path.startswith(self._ignored) or path == self._script:
            return None
        if any(part in path for part in _PARTS):
            return None
        return readable(path)

    def _rename(self, args: tuple[Any, ...]) -> None:
        given = self._inside(args[0], args[2:3]), self._inside(args[1], args[3:4])
        source, target = self._path(given[0]), self._path(given[1])
        if source is None or target is None or source == target:
            return
        try:
            there = os.lstat(source).st_dev
            fits = there == os.stat(os.path.dirname(target)).st_dev
        except OSError:
            return
        # To another device it fails, and whoever moves a file copies and removes it then.
        if fits:
            self._recorder.moved(source, target)

    def _remove(self, args: tuple[Any, ...]) -> None:
        path = self._path(self._inside(args[0], args[1:2]))
        if path is None:
            return
        try:
            found = os.lstat(path)
        except OSError:
            return
        if found.st_mode & 0o170000 == 0o100000:
            self._recorder.removed(Dataset(FILE, path), found.st_ctime_ns // 1000)

    def _inside(self, name: Any, folder: tuple[Any, ...]) -> Any:
        """Put before a name the open folder that it is relative to."""
        if not folder or type(folder[0]) is not int or folder[0] < 0 or type(name) is int:
            return name
        return os.path.join(os.readlink(f"/proc/self/fd/{folder[0]}"), os.fsdecode(name))

    def _copy(self, args: tuple[Any, ...]) -> None:
        source, target = self._path(args[0]), self._path(args[1])
        if source is not None and target is not None:
            self._recorder.opened(source, "r")
            self._recorder.moved(source, target, copied=True)

    def _database(self, args: tuple[Any, ...]) -> None:
        name = args[0]
        if isinstance(name, (str, bytes, os.PathLike)) and os.fsdecode(name) not in {
            "",
            ":memory:",
        }:
            path = self._path(name)
            if path is not None:
                self._recorder.gap(path, "capture", "what passes through sqlite3 is not observed")

    def _connect(self, args: tuple[Any, ...]) -> None:
        address = args[1]
        if self._recorder.connecting.get():
            return
        if not isinstance(address, tuple) or len(address) < 2:
            return
        host = str(address[0])
        if host.startswith("127.") or host in {"::1", "localhost", "0.0.0.0"}:  # noqa: S104  # compared, not bound
            return
        detail = "what passes through a network connection is not observed"
        self._recorder.gap(f"{host}:{address[1]}", "capture", detail)

    def _fetch(self, args: tuple[Any, ...]) -> None:
        url, _, _, method = (*args, None, None, None, None)[:4]
        if isinstance(url, str) and url.startswith(("http://", "https://")):
            dataset = find_dataset(url)
            if dataset is not None and method in {None, "GET"}:
                self._recorder.read(dataset)

    def _program(self, args: tuple[Any, ...]) -> None:
        executable, words, _, environment = args
        if environment is not None and "LODELINE_JOURNALS" not in environment:
            self._tell_program(executable, "its environment leaves capture out")
            return
        self._started(executable, words, args[2])

    def _started(self, executable: Any, words: Any, folder: object) -> None:
        if not _is_python(executable, words):
            given = executable or (words[0] if isinstance(words, (list, tuple)) else words)
            name = given if isinstance(given, (str, bytes, os.PathLike)) else str(given)
            self._tell_program(os.path.basename(os.fsdecode(name)), "not a Python program")
            self._name_arguments(words, folder)
        elif _keeps_out(words):
            self._tell_program("python", "its options -I, -E or -S keep capture out")
            self._name_arguments(words, folder)

    def _name_arguments(self, words: object, folder: object) -> None:
        """Note the files that a program is given by name: what became of them, the end shows."""
        if isinstance(words, (list, tuple)) and len(words) == 3 and words[1] == "-c":
            words = words[2]
        if isinstance(words, (str, bytes)):
            words = os.fsdecode(words).replace(";", " ").replace(">", " ").replace("<", " ").split()
        if not isinstance(words, (list, tuple)):
            return
        base = os.fsdecode(folder) if isinstance(folder, (str, bytes, os.PathLike)) else ""
        for word in words[1:ARGUMENTS_NAMED_MAX]:
            if not isinstance(word, (str, bytes, os.PathLike)):
                continue
            text = os.fsdecode(word).rpartition("=")[2].strip("'\"")
            path = self._path(os.path.join(base, text)) if text and text[0] != "-" else None
            if path is not None and os.path.isdir(os.path.dirname(path)):
                self._recorder.named(path)

    def _shell(self, args: tuple[Any, ...]) -> None:
        command = os.fsdecode(args[0])
        self._tell_program(command.split()[0] if command.split() else "sh", "run by a shell")
        self._name_arguments("sh " + command, None)

    def _spawn(self, args: tuple[Any, ...]) -> None:
        """`os.exec*` and `os.posix_spawn*`: a path, words and an environment or `None`."""
        executable, words, environment = args
        if isinstance(environment, dict) and environment is not os.environ:
            named = {os.fsdecode(name) for name in environment}
            if "LODELINE_JOURNALS" not in named:
                self._tell_program(executable, "its environment leaves capture out")
        self._started(executable, words, None)

    def _symbol(self, args: tuple[Any, ...]) -> None:
        if args[1] in _NATIVE_OPENINGS:
            told = f"{args[1]}, called through ctypes: the files of it are not observed"
            self._recorder.gap("ctypes", "capture", told)

    def _library(self, args: tuple[Any, ...]) -> None:
        """The program's own native code; what packages and the system bring is theirs."""
        name = args[0]
        if isinstance(name, (str, bytes)) and os.sep in os.fsdecode(name):
            path = os.path.abspath(os.fsdecode(name))
            if not path.startswith(self._ignored) and not any(part in path for part in _PARTS):
                told = "native code, loaded through ctypes: files that it opens are not observed"
                self._recorder.gap(os.path.basename(path), "capture", told)

    def _tell_program(self, name: object, why: str) -> None:
        text = os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
        if os.path.basename(text) in _HARMLESS:
            return
        self._recorder.gap(text[:200], "capture", f"a program whose files are not observed: {why}")


# Functions of the C library that open, name or move files.
_NATIVE_OPENINGS: Final = frozenset(
    {"open", "open64", "openat", "openat64", "creat", "fopen", "fopen64", "freopen", "mkstemp"}
    | {"rename", "renameat", "link", "symlink", "copy_file_range", "execv", "execve", "system"}
    | {"syscall", "popen", "posix_spawn", "connect"}
)
# Programs that libraries start to ask about the machine; they write nothing.
_HARMLESS: Final = frozenset(
    {"git", "uname", "lscpu", "ldconfig", "nproc", "nvidia-smi", "file", "getconf", "sysctl", "tty"}
    | {"lsb_release", "hostname", "which", "id", "whoami", "locale", "gcc", "cc", "ld"}
)


def _is_python(executable: object, words: object) -> bool:
    """Whether a program is Python, or a script that says so in its first line."""
    names = [executable]
    if isinstance(words, (list, tuple)) and words:
        names.append(words[0])
    for name in names:
        if isinstance(name, (str, bytes)):
            base = os.path.basename(os.fsdecode(name))
            if base.startswith(("python", "pypy")) or _is_python_script(os.fsdecode(name)):
                return True
    return False


def _keeps_out(words: object) -> bool:
    """Whether Python is started with options that leave `sitecustomize` or its variables out."""
    rest = iter(words[1:] if isinstance(words, (list, tuple)) else ())
    for word in rest:
        text = os.fsdecode(word) if isinstance(word, (str, bytes, os.PathLike)) else ""
        if text[:1] != "-" or text == "-":
            return False
        for at, letter in enumerate(text[1:], 2):
            if letter in "IES":
                return True
            if letter in "cm":
                return False
            if letter in "WX":
                # What follows is theirs: the rest of the word, or the next one.
                if at == len(text):
                    next(rest, None)
                break
    return False


def _is_python_script(name: str) -> bool:
    folders = [""] if os.sep in name else os.environ.get("PATH", "").split(os.pathsep)
    for folder in folders:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                first = file.readline(256)
        except (OSError, ValueError):
            continue
        return first.startswith(b"#!") and b"python" in first
    return False


def _mode(mode: object, flags: object) -> str:
    """Reduce a mode or flags to `r`, `w` (truncates), `a` (writes), `u` (reads and writes)."""
    if isinstance(mode, str):
        if "+" in mode:
            return "w" if "w" in mode or "x" in mode else "u"
        return "w" if "w" in mode or "x" in mode else "a" if "a" in mode else "r"
    bits = flags if isinstance(flags, int) else 0
    access = bits & os.O_ACCMODE
    if access == os.O_RDONLY:
        return "r"
    if bits & os.O_TRUNC or bits & os.O_EXCL:
        return "w"
    return "u" if access == os.O_RDWR and not bits & os.O_CREAT else "a"


def _ignored_folders() -> tuple[str, ...]:
    paths = {os.path.dirname(os.__file__)}
    home = os.path.expanduser("~")
    if home not in {"/", "~", ""}:
        paths |= {os.path.join(home, cache) for cache in _HOME_CACHES}
    for variable in ("LODELINE_JOURNALS", "LODELINE_SPOOL"):
        if os.environ.get(variable):
            paths.add(os.environ[variable])
    for prefix in {sys.prefix, sys.base_prefix} - {"/", "/usr"}:
        paths |= {os.path.join(prefix, part) for part in _INSTALLED}
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (*_SYSTEM, *sorted(path.rstrip("/") + "/" for path in {*paths, own} if path))
