"""`serve --check`: everything that serving needs, tried without serving; every fault is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lodeline.errors import ConfigurationError, LodelineError, Problem, StoreUnreachableError
from lodeline.server.configuration import ServerConfiguration
from lodeline.server.running import listen
from lodeline.server.tls import find_tls
from lodeline.settings import is_postgres, shown_store, store_path
from lodeline.store import open_segment
from lodeline.store.declarations import read_declarations
from lodeline.store.postgres_bounds import POSTGRES_BOUNDS, read_bounds


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        subject: what was checked.
        message: what was found.
        error: what is wrong; `None` where nothing is.
        where: of the fault, as far as it has a place.
        settings: that decide about it.
    """

    subject: str
    message: str
    error: LodelineError | None = None
    where: str = ""
    settings: tuple[str, ...] = ()

    @property
    def next_step(self) -> str | None:
        """What to do about a fault."""
        if self.error is None:
            return None
        return self.error.next_step or NEXT_STEPS.get(self.subject)

    def to_json(self) -> dict[str, object]:
        """Give the documented keys of one finding."""
        return {
            "subject": self.subject,
            "ok": self.error is None,
            "code": None if self.error is None else self.error.code,
            "where": self.where,
            "settings": list(self.settings),
            "message": self.message,
            "next": self.next_step,
        }


Check = Callable[[], str]

# What decides about each subject.
_SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "address": ("server.host", "server.port", "server.authentication"),
    "tls": ("server.tls.certificate", "server.tls.key", "server.tls.client_ca"),
    "store": ("store",),
    "postgres": tuple(f"postgres.{bound.name}" for bound in POSTGRES_BOUNDS),
    "witnesses": ("witness_policy",),
    "streams": ("streams",),
    "segments": ("segments",),
    "personal": ("personal",),
}
# What helps where a fault does not say so itself.
NEXT_STEPS: Final[Mapping[str, str]] = {
    "settings": "correct it; docs/reference/settings.md lists the settings and their values",
    "address": "name an address of this machine and a free port; port 0 takes any",
    "tls": "name PEM files that this user may read, and a key that belongs to the certificate",
    "store": "name a store that this user may write, or start its database",
    "witnesses": "name a tlog-policy file, or leave the setting out",
    "streams": "name sources as `lodeline consume --help` tells, or leave the setting out",
    "segments": "mend the segment that is named; docs/guides/segments.md has an example",
    "personal": "mend the declaration; docs/explanation/erasure.md tells its form",
}


def check(
    store: str,
    configuration: ServerConfiguration,
    problems: Sequence[Problem],
    further: Sequence[tuple[str, Check]] = (),
) -> list[Finding]:
    """Try everything that serving needs.

    Args:
        store: URL of the store, empty where the settings do not tell it; it is not made here.
        configuration: the settings, with defaults in place of faulty ones.
        problems: faults of the settings.
        further: subjects with a check each, which tells what it found or raises.
    """
    about = configuration.places
    told = "the defaults" if configuration.file is None else str(configuration.file)
    findings = [
        Finding("settings", problem.message, ConfigurationError((problem,)), problem.where)
        for problem in problems
    ] or [Finding("settings", f"{told} and the environment make sense")]
    checks = [
        ("address", lambda: _check_address(configuration)),
        ("tls", lambda: _check_tls(configuration)),
        *([("store", lambda: check_store(store))] if store else []),
        *([("postgres", _check_postgres)] if _has_bounds(store, about) else []),
        *([("personal", lambda: _check_personal(store))] if store else []),
        *further,
    ]
    told_before = {problem.message for problem in problems}
    for subject, one in checks:
        finding = _run(subject, one, about)
        # A file that cannot be read is told once, not by everything that would read it.
        if finding.message not in told_before:
            findings.append(finding)
        if finding.error is not None:
            told_before.add(finding.message)
    return findings


def _run(subject: str, one: Check, places: Mapping[str, str]) -> Finding:
    settings = _SETTINGS.get(subject, ())
    try:
        return Finding(subject, one(), settings=settings)
    except LodelineError as error:
        where = next((places[name] for name in settings if name in places), "")
        return Finding(subject, str(error), error, where, settings)


def _check_address(configuration: ServerConfiguration) -> str:
    gated = configuration.authentication == "keys"
    listen(configuration.host, configuration.port, gated=gated).close()
    reach = "callers need a key" if gated else "loopback only, callers need no key"
    return f"{configuration.host}:{configuration.port} is free, {reach}"


def _check_tls(configuration: ServerConfiguration) -> str:
    if find_tls(configuration) is None:
        return "off"
    asked = "" if configuration.tls_client_ca is None else ", and clients are asked for theirs"
    return f"{configuration.tls_certificate} fits its key{asked}"


def _has_bounds(store: str, places: Mapping[str, str]) -> bool:
    """Whether the bounds of PostgreSQL matter: its store is served, or somebody set one."""
    return is_postgres(store) or any(name in places for name in _SETTINGS["postgres"])


def _check_postgres() -> str:
    return f"at most {read_bounds()}"


def _check_personal(store: str) -> str:
    rules = read_declarations(store_path(store))
    return f"{len(rules)} rules" if rules else "none declared"


def check_store(store: str) -> str:
    """Tell what serving would make of a store; makes none.

    Raises:
        LodelineError: it could not be served.
    """
    shown = shown_store(store)
    path = store_path(store)
    if not store.startswith("sqlite:") or path.is_file():
        open_segment(store, create=False).close()
        return f"{shown} opens"
    if path.exists():
        raise StoreUnreachableError(shown, "it is a folder, and a store is a file")
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreUnreachableError(shown, f"it would be made in {folder}, which is not writable")
    return f"{shown} is not there yet; serving makes it"
