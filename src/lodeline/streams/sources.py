"""Naming a source by a URL, as people write it, and opening it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lodeline.brokers import parse_address
from lodeline.errors import MissingExtraError, UsageError
from lodeline.streams.consuming import Source


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

            return KafkaSource(parse_address(text, known=KAFKA_OPTIONS), group=group)
        if url.scheme in {"nats", "tls"}:
            from lodeline.streams.nats import OPTIONS as NATS_OPTIONS
            from lodeline.streams.nats import NatsSource

            return NatsSource(parse_address(text, known=NATS_OPTIONS), durable=group)
    except ModuleNotFoundError as error:
        extra = "kafka" if url.scheme == "kafka" else "nats"
        raise MissingExtraError(extra, error.name or "") from error
    raise UsageError(f"{url.scheme}: streams are kafka://, nats://, tls:// (NATS), or a path")
