"""Naming a source by a URL, as people write it, and opening it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from lodeline.errors import MissingExtraError, UsageError
from lodeline.streams.consuming import Source


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's URL taken apart.

    Attributes:
        servers: `host:port`, one or more.
        names: what the path names, separated by commas: topics, or a stream.
        user: of the URL, or empty.
        password: of the URL, or read from the file that `password_file` names.
        options: the other parameters.
    """

    servers: tuple[str, ...]
    names: tuple[str, ...]
    user: str
    password: str
    options: Mapping[str, str]

    def option(self, name: str, otherwise: str = "") -> str:
        """One parameter of the URL."""
        return self.options.get(name) or otherwise


def find_sources(
    given: Sequence[str] | None, environment: Mapping[str, str], table: object, folder: Path
) -> list[str]:
    """Find the sources of a service: as given, else of the environment, else of the file.

    Args:
        given: on the command line.
        environment: of the process.
        table: `[streams]` of the configuration file, as it was read.
        folder: of that file; where its relative paths start.

    Raises:
        UsageError: the table holds something else than a list of sources.
    """
    if given:
        return list(given)
    if environment.get("LODELINE_STREAMS"):
        return environment["LODELINE_STREAMS"].split()
    if table is None:
        return []
    sources = table.get("sources") if isinstance(table, dict) else None
    if (
        not isinstance(table, dict)
        or table.keys() != {"sources"}
        or not isinstance(sources, list)
        or not all(isinstance(source, str) and source for source in sources)
    ):
        raise UsageError("[streams]: it holds one list of texts, `sources`")
    return [source if "://" in source else str(folder / source) for source in sources]


def open_source(text: str, *, group: str) -> Source:
    """Give the source that a URL or a path names.

    Args:
        text: `kafka://host:port/topic`, `nats://host:port/STREAM`, a folder or a file.
        group: under which consumers of one store share messages, unless the URL says otherwise.

    Raises:
        UsageError: no such source, or an unknown parameter.
        MissingExtraError: the broker's client is not installed.
    """
    url = urlsplit(text)
    if url.scheme in {"", "file"}:
        from lodeline.streams.folders import FolderSource

        return FolderSource(Path(unquote(url.path) if url.scheme else text))
    try:
        if url.scheme == "kafka":
            from lodeline.streams.kafka import OPTIONS as KAFKA_OPTIONS
            from lodeline.streams.kafka import KafkaSource

            return KafkaSource(_address(url, KAFKA_OPTIONS, port=9092), group=group)
        if url.scheme in {"nats", "tls"}:
            from lodeline.streams.nats import OPTIONS as NATS_OPTIONS
            from lodeline.streams.nats import NatsSource

            address = _address(url, NATS_OPTIONS, port=4222)
            return NatsSource(address, durable=group, secure=url.scheme == "tls")
    except ModuleNotFoundError as error:
        extra = "kafka" if url.scheme == "kafka" else "nats"
        raise MissingExtraError(extra, error.name or "") from error
    raise UsageError(f"{url.scheme}: streams are kafka://, nats://, tls:// (NATS), or a path")


def _address(url: SplitResult, known: frozenset[str], *, port: int) -> Address:
    options = dict(parse_qsl(url.query))
    unknown = sorted(options.keys() - known - {"password_file"})
    if unknown:
        raise UsageError(f"{url.scheme}: no parameter {unknown[0]!r}; known: {sorted(known)}")
    credentials, _, hosts = url.netloc.rpartition("@")
    servers = tuple(_with_port(host, port) for host in hosts.split(",") if host)
    names = tuple(unquote(name) for name in url.path.strip("/").split(",") if name)
    if not servers or not names:
        raise UsageError(f"{url.scheme}://host:port/name: a server and a name are needed")
    user, _, password = credentials.partition(":")
    if "password_file" in options:
        path = Path(options.pop("password_file"))
        try:
            password = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        return Address(servers, names, unquote(user), password, options)
    return Address(servers, names, unquote(user), unquote(password), options)


def _with_port(host: str, port: int) -> str:
    has_port = host.rpartition(":")[2].isdigit() and not host.endswith("]")
    return host if has_port else f"{host}:{port}"
