"""`serve --check`: everything that serving needs, tried without serving; every fault is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lodeline.errors import ConfigurationError, LodelineError, Problem, StoreUnreachableError
from lodeline.server.configuration import ServerConfiguration
from lodeline.server.running import listen
from lodeline.server.tls import find_tls
from lodeline.settings import store_path
from lodeline.store import open_segment


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        subject: what was checked.
        message: what was found.
        error: what is wrong; `None` where nothing is.
        where: of the fault, as far as it has a place.
    """

    subject: str
    message: str
    error: LodelineError | None = None
    where: str = ""

    def to_json(self) -> dict[str, object]:
        """Give the documented keys of one finding."""
        return {
            "subject": self.subject,
            "ok": self.error is None,
            "code": None if self.error is None else self.error.code,
            "where": self.where,
            "message": self.message,
        }


Check = Callable[[], str]


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
    told = "the defaults" if configuration.file is None else str(configuration.file)
    findings = [
        Finding("settings", problem.message, ConfigurationError((problem,)), problem.where)
        for problem in problems
    ] or [Finding("settings", f"{told} and the environment make sense")]
    checks = [
        ("address", lambda: _check_address(configuration)),
        ("tls", lambda: _check_tls(configuration)),
        *([("store", lambda: _check_store(store))] if store else []),
        *further,
    ]
    return [*findings, *(_run(subject, one) for subject, one in checks)]


def _run(subject: str, one: Check) -> Finding:
    try:
        return Finding(subject, one())
    except LodelineError as error:
        return Finding(subject, str(error), error)


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


def _check_store(store: str) -> str:
    if not store.startswith("sqlite:"):
        open_segment(store, create=False).close()
        return f"{store} opens"
    path = store_path(store)
    if path.is_file():
        open_segment(store, create=False).close()
        return f"{store} opens"
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreUnreachableError(store, f"it would be made in {folder}, which is not writable")
    return f"{store} is not there yet; serving makes it"
