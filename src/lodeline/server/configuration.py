"""Settings of the service: argument, environment, the tables of the configuration file, default.

Every fault is found at once and told with the place where it stands, so that `serve --check` can
list them all. Tables of other parts of the service are handed to them as they were read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from lodeline.errors import ConfigurationError, Problem, UsageError
from lodeline.limits import (
    EVENT_STREAMS_MAX,
    POSTGRES_CONNECTIONS_MAX,
    POSTGRES_IDLE_TRANSACTION_MS,
    POSTGRES_RECONNECT_SECONDS,
    POSTGRES_STATEMENT_MS_MAX,
    SERVER_THREADS_MAX,
    SHUTDOWN_SECONDS_MAX,
    STORE_BUSY_MS,
    WRITER_LOCK_SECONDS_MAX,
)
from lodeline.settings import SETTINGS, ConfigurationFile, find_configuration, read_whole
from lodeline.store.postgres_bounds import POSTGRES_BOUNDS


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole numbers of a range."""

    least: int
    most: int

    @property
    def values(self) -> str:
        """What it may be, for the documentation."""
        return f"{self.least} to {self.most}"

    def read(self, value: object, folder: Path) -> int:  # noqa: ARG002  # as its siblings
        """Read a number, or text that writes one."""
        return read_whole(value, least=self.least, most=self.most)


@dataclass(frozen=True, slots=True)
class Words:
    """One of several words."""

    words: tuple[str, ...]

    @property
    def values(self) -> str:
        """What it may be, for the documentation."""
        return ", ".join(f"`{word}`" for word in self.words)

    def read(self, value: object, folder: Path) -> str:  # noqa: ARG002  # as its siblings
        """Read one of the words."""
        if value not in self.words:
            raise ValueError(f"{value!r} is none of {', '.join(self.words)}")
        return str(value)


@dataclass(frozen=True, slots=True)
class Text:
    """Any text."""

    @property
    def values(self) -> str:
        """What it may be, for the documentation."""
        return "text"

    def read(self, value: object, folder: Path) -> str:  # noqa: ARG002  # as its siblings
        """Read a text."""
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text")  # noqa: TRY004  # a fault of the file
        return value


@dataclass(frozen=True, slots=True)
class File:
    """The path of a file; in a configuration file relative to its folder."""

    @property
    def values(self) -> str:
        """What it may be, for the documentation."""
        return "path"

    def read(self, value: object, folder: Path) -> Path:
        """Read a path."""
        if not isinstance(value, str) or not value:
            raise ValueError(f"{value!r} is no path")
        return folder / value


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    @property
    def values(self) -> str:
        """What it may be, for the documentation."""
        return "`true`, `false`"

    def read(self, value: object, folder: Path) -> bool:  # noqa: ARG002  # as its siblings
        """Read a switch: TOML's `true` and `false`, and what stands for them in text."""
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
            raise ValueError(f"{value!r} is neither true nor false")
        return word in {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """One setting of the service.

    Attributes:
        name: dotted path in the configuration file.
        variable: of the environment; it wins over the file.
        kind: what it may be.
        default: where nothing sets it; `None` is "not set".
        summary: one line for the documentation.
    """

    name: str
    variable: str
    kind: Whole | Words | Text | File | Switch
    default: Any
    summary: str

    @property
    def attribute(self) -> str:
        """Its name in `ServerConfiguration`."""
        return self.name.removeprefix("server.").replace(".", "_")

    @property
    def path(self) -> tuple[str, ...]:
        """Its path in the configuration file."""
        return tuple(self.name.split("."))


LOG_LEVELS: Final = ("debug", "info", "warning", "error")

SERVER_SETTINGS: Final = (
    ServerSetting(
        "server.host", "LODELINE_SERVER_HOST", Text(), "127.0.0.1", "Address to listen on."
    ),
    ServerSetting(
        "server.port",
        "LODELINE_SERVER_PORT",
        Whole(0, 65_535),
        5633,
        "Port to listen on; 0 takes any free one.",
    ),
    ServerSetting(
        "server.authentication",
        "LODELINE_AUTHENTICATION",
        Words(("none", "keys")),
        "none",
        "`keys` asks every caller for a key, see `lodeline key`; `none` asks nobody, and serves "
        "loopback alone.",
    ),
    ServerSetting(
        "server.tls.certificate",
        "LODELINE_SERVER_TLS_CERTIFICATE",
        File(),
        None,
        "PEM file: the certificate, then those that lead to its root. With it the service speaks "
        "HTTPS alone, TLS 1.2 or newer.",
    ),
    ServerSetting(
        "server.tls.key",
        "LODELINE_SERVER_TLS_KEY",
        File(),
        None,
        "PEM file: the certificate's private key.",
    ),
    ServerSetting(
        "server.tls.client_ca",
        "LODELINE_SERVER_TLS_CLIENT_CA",
        File(),
        None,
        "PEM file: root certificates; a client must show a certificate that one of them vouches "
        "for.",
    ),
    ServerSetting(
        "server.log.format",
        "LODELINE_SERVER_LOG_FORMAT",
        Words(("text", "json")),
        "text",
        "Form of diagnostics on stderr: `text`, or `json`, an object a line.",
    ),
    ServerSetting(
        "server.log.level",
        "LODELINE_SERVER_LOG_LEVEL",
        Words(LOG_LEVELS),
        "info",
        "Least level of diagnostics: " + ", ".join(f"`{level}`" for level in LOG_LEVELS) + ".",
    ),
    ServerSetting(
        "server.log.requests",
        "LODELINE_SERVER_LOG_REQUESTS",
        Words(("refused", "all")),
        "refused",
        "Requests told at level `info`: `refused` (status 400 and above) or `all`; the others are "
        "told at `debug`.",
    ),
    ServerSetting(
        "server.metrics",
        "LODELINE_SERVER_METRICS",
        Words(("operate", "public", "off")),
        "operate",
        "Who may read `/metrics`: callers with permission `operate`, anyone (`public`), or nobody "
        "(`off`).",
    ),
    ServerSetting(
        "server.mcp",
        "LODELINE_SERVER_MCP",
        Switch(),
        False,
        "Whether agents may ask at `/mcp` (Model Context Protocol); needs the extra `mcp`.",
    ),
    ServerSetting(
        "server.traces",
        "LODELINE_SERVER_TRACES",
        Switch(),
        False,
        "Send spans in OpenTelemetry's protocol; needs the extra `otel`. Where to, its own "
        "variables say, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.",
    ),
    ServerSetting(
        "server.spans.content",
        "LODELINE_SERVER_SPANS_CONTENT",
        Words(("digests", "values")),
        "digests",
        "What is kept of prompts and answers in spans that come to `/v1/traces`: `digests`, or "
        "`values` up to a bound.",
    ),
    ServerSetting(
        "server.limits.event_streams",
        "LODELINE_SERVER_LIMITS_EVENT_STREAMS",
        Whole(0, 10_000),
        EVENT_STREAMS_MAX,
        "Listeners to `/api/v2/events` at a time.",
    ),
    ServerSetting(
        "server.limits.questions",
        "LODELINE_SERVER_LIMITS_QUESTIONS",
        Whole(1, 1024),
        SERVER_THREADS_MAX,
        "Questions answered at a time.",
    ),
    ServerSetting(
        "server.limits.shutdown_seconds",
        "LODELINE_SERVER_LIMITS_SHUTDOWN_SECONDS",
        Whole(1, 3600),
        SHUTDOWN_SECONDS_MAX,
        "Seconds that a stopping service waits for requests under way.",
    ),
    ServerSetting(
        "retention.dead_letter_days",
        "LODELINE_RETENTION_DEAD_LETTER_DAYS",
        Whole(0, 36_500),
        0,
        "Days after which the bytes of a refused input go; its fault, digest and length stay. 0: "
        "never.",
    ),
    # Which every command that opens such a store reads, too.
    *(
        ServerSetting(
            f"postgres.{bound.name}",
            bound.variable,
            Whole(bound.least, bound.most),
            bound.default,
            bound.summary,
        )
        for bound in POSTGRES_BOUNDS
    ),
)

# Tables of the configuration file that other parts of the service read; what they hold is theirs
# to check.
OTHER_TABLES: Final = ("personal", "privacy", "sampling", "segments", "streams")
# Switches and numbers of capture; the other settings that clients read are texts.
_SCALARS: Final[dict[str, Any]] = dict.fromkeys(
    ("autocapture", "disabled", "rows", "spool_bytes", "spool_days"), str | int | float
)


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """The settings of one service; defaults where nothing was set.

    Attributes:
        file: the configuration file that counts, if there is one.
        tables: those of `OTHER_TABLES` that the file has, by dotted name, as they were read.
        places: where a setting or a table is set, by dotted name; without those that are not.
    """

    host: str = "127.0.0.1"
    port: int = 5633
    authentication: str = "none"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    log_format: str = "text"
    log_level: str = "info"
    log_requests: str = "refused"
    metrics: str = "operate"
    mcp: bool = False
    traces: bool = False
    spans_content: str = "digests"
    limits_event_streams: int = EVENT_STREAMS_MAX
    limits_questions: int = SERVER_THREADS_MAX
    limits_shutdown_seconds: int = SHUTDOWN_SECONDS_MAX
    retention_dead_letter_days: int = 0
    postgres_connections: int = POSTGRES_CONNECTIONS_MAX
    postgres_wait_seconds: int = STORE_BUSY_MS // 1000
    postgres_statement_seconds: int = POSTGRES_STATEMENT_MS_MAX // 1000
    postgres_lock_seconds: int = int(WRITER_LOCK_SECONDS_MAX)
    postgres_idle_transaction_seconds: int = POSTGRES_IDLE_TRANSACTION_MS // 1000
    postgres_reconnect_seconds: int = int(POSTGRES_RECONNECT_SECONDS)
    file: Path | None = None
    tables: Mapping[str, object] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict, compare=False)


DEFAULTS: Final = ServerConfiguration()


def read_configuration(
    arguments: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> tuple[ServerConfiguration, list[Problem]]:
    """Read the service's settings, and find every fault in them.

    Args:
        arguments: by attribute of `ServerConfiguration`; `None` counts as not given.
        environment: defaults to the process environment.

    Returns:
        The settings, with defaults in place of faulty ones, and the faults.
    """
    environment = os.environ if environment is None else environment
    problems: list[Problem] = []
    try:
        source = find_configuration()
    except UsageError as error:
        source, problems = None, [Problem(_place_in(str(error)), str(error))]
    found = _Found(source)
    problems += found.unknown_keys()
    problems += found.texts_that_are_none()
    values: dict[str, Any] = {}
    places = found.places(environment)
    for setting in SERVER_SETTINGS:
        for where, value, folder in found.sources(setting, arguments or {}, environment):
            places[setting.name] = where
            try:
                values[setting.attribute] = setting.kind.read(value, folder)
            except ValueError as error:
                problems.append(Problem(where, f"{setting.name}: {error}"))
            break
    problems += _contradictions(values, found)
    values["file"] = None if source is None else source.path
    return ServerConfiguration(**values, tables=found.tables(), places=places), problems


def get_configuration(arguments: Mapping[str, object] | None = None) -> ServerConfiguration:
    """Read the service's settings.

    Raises:
        ConfigurationError: some are faulty; it carries them all.
    """
    configuration, problems = read_configuration(arguments)
    if problems:
        raise ConfigurationError(tuple(problems))
    return configuration


class _Found:
    """What the configuration file says, and where in it."""

    def __init__(self, source: ConfigurationFile | None) -> None:
        self._source = source
        self._table: Mapping[str, object] = {} if source is None else source.table
        self._text = ""
        if source is not None:
            self._text = source.path.read_text(encoding="utf-8")

    def sources(
        self,
        setting: ServerSetting,
        arguments: Mapping[str, object],
        environment: Mapping[str, str],
    ) -> list[tuple[str, object, Path]]:
        """Where a setting is set, by precedence: place, value, folder of relative paths."""
        found: list[tuple[str, object, Path]] = []
        argument = arguments.get(setting.attribute)
        if argument is not None:
            found.append(("--" + setting.attribute.replace("_", "-"), argument, Path.cwd()))
        if environment.get(setting.variable):
            found.append((setting.variable, environment[setting.variable], Path.cwd()))
        value = self._find(setting.path)
        if value is not None and self._source is not None:
            found.append((self.place(setting.path), value, self._source.path.parent))
        return found

    def _find(self, path: Sequence[str]) -> object:
        value: object = self._table
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def tables(self) -> dict[str, object]:
        """The tables of other parts of the service, by dotted name."""
        found = {name: self._find(name.split(".")) for name in OTHER_TABLES}
        return {name: table for name, table in found.items() if table is not None}

    def places(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Where the settings are set that other parts of Lodeline read, by name."""
        found: dict[str, str] = {}
        for setting in SETTINGS:
            named = [variable for variable in setting.variables if environment.get(variable)]
            if named:
                found[setting.name] = named[0]
            elif self._find((setting.name,)) is not None:
                found[setting.name] = self.place((setting.name,))
        if "segments" in self.tables():
            found["segments"] = self.place(("segments",))
        return found

    def texts_that_are_none(self) -> list[Problem]:
        """Find settings of other parts of Lodeline that are no text, number or switch."""
        return [
            Problem(self.place((setting.name,)), f"{setting.name}: {value!r} is no text")
            for setting in SETTINGS
            if setting.name not in OTHER_TABLES
            and (value := self._find((setting.name,))) is not None
            and not isinstance(value, _SCALARS.get(setting.name, str))
        ]

    def place(self, path: Sequence[str]) -> str:
        """Give file and line of a setting."""
        if self._source is None:
            return ""
        line = find_line(self._text, (*self._source.prefix, *path))
        return f"{self._source.path}:{line}" if line else str(self._source.path)

    def unknown_keys(self) -> list[Problem]:
        """Find keys that nothing reads, and tables that are none."""
        tables = {s.path[:end] for s in SERVER_SETTINGS for end in range(1, len(s.path))}
        known = {s.path for s in SERVER_SETTINGS} | tables
        known |= {tuple(name.split(".")) for name in OTHER_TABLES}
        known |= {(s.name,) for s in SETTINGS if s.name != "config"}
        problems = []
        queue: list[tuple[str, ...]] = [()]
        while queue:
            path = queue.pop(0)
            value = self._find(path)
            if path in tables and not isinstance(value, Mapping):
                problems.append(Problem(self.place(path), f"{'.'.join(path)} is no table"))
            elif not path or path in tables:
                assert isinstance(value, Mapping)
                queue += [(*path, str(name)) for name in value]
            elif path not in known:
                problems.append(Problem(self.place(path), _unknown(path, known)))
        return problems


def _unknown(path: tuple[str, ...], known: set[tuple[str, ...]]) -> str:
    siblings = sorted(one[-1] for one in known if one[:-1] == path[:-1])
    near = get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
    anywhere = sorted(".".join(one) for one in known if one[-1] == path[-1])
    hint = ".".join((*path[:-1], *near)) if near else (anywhere[0] if anywhere else "")
    return f"no setting {'.'.join(path)!r}" + (f"; did you mean {hint!r}?" if hint else "")


def _contradictions(values: Mapping[str, Any], found: _Found) -> list[Problem]:
    """Find settings that make no sense without others."""
    place = found.place(("server", "tls"))
    certificate = values.get("tls_certificate")
    problems = []
    if (certificate is None) != (values.get("tls_key") is None):
        missing = "server.tls.key" if certificate else "server.tls.certificate"
        problems.append(Problem(place, f"{missing}: needed beside the other of the two"))
    if values.get("tls_client_ca") is not None and certificate is None:
        problems.append(Problem(place, "server.tls.client_ca: needs server.tls.certificate"))
    return problems


_HEADER = re.compile(r"\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"([\w.\"' -]+?)\s*=")


def find_line(text: str, path: tuple[str, ...]) -> int | None:
    """Find the line of a TOML text on which a key stands, or else the nearest table around it.

    The standard library's parser keeps no places. A line of a multi-line text that looks like a
    key may mislead; the place is a hint for people.
    """
    table: tuple[str, ...] = ()
    best, best_length = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        here: tuple[str, ...] = ()
        if header := _HEADER.match(line.strip()):
            here = table = _parts(header[1])
        elif key := _KEY.match(line.strip()):
            here = (*table, *_parts(key[1]))
        if here and len(here) > best_length and path[: len(here)] == here:
            best, best_length = number, len(here)
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _place_in(message: str) -> str:
    """Give file and line of a TOML fault that the parser tells in words."""
    named = re.match(r"cannot read (.+?): ", message)
    line = re.search(r"at line (\d+)", message)
    return (named[1] if named else "") + (f":{line[1]}" if line else "")
