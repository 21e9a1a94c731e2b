"""Addresses of brokers: one way to write them, for those who consume and those who deliver.

What a client needs beyond it (TLS, who one is) is read off the address here, too. The clients
themselves are imported by whoever talks to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from lodeline.errors import UsageError

# Parameters that say how to connect; consumers and deliverers have further ones.
KAFKA_CONNECTION: Final = frozenset(
    {"security_protocol", "sasl_mechanism", "ca_file", "cert_file", "key_file"}
)
NATS_CONNECTION: Final = frozenset({"credentials", "ca_file"})
_PORTS: Final = {"kafka": 9092, "nats": 4222, "tls": 4222}


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's URL taken apart.

    Attributes:
        servers: `host:port`, one or more.
        names: what the path names, separated by commas: topics, or a stream.
        user: of the URL, or empty.
        password: of the URL, or read from the file that `password_file` names.
        options: the other parameters.
        secure: the scheme itself asks for TLS.
    """

    servers: tuple[str, ...]
    names: tuple[str, ...]
    user: str
    password: str
    options: Mapping[str, str]
    secure: bool = False

    def option(self, name: str, otherwise: str = "") -> str:
        """One parameter of the URL."""
        return self.options.get(name) or otherwise


def parse_address(text: str, *, known: frozenset[str]) -> Address:
    """Take a broker's URL apart.

    Args:
        text: `kafka://host:port/topic`, `nats://host:port/STREAM` or `tls://host:port/STREAM`.
        known: names of the parameters that are allowed, besides `password_file`.

    Raises:
        UsageError: it names no server or no topic, or has a parameter that is not known.
    """
    url = urlsplit(text)
    options = dict(parse_qsl(url.query))
    unknown = sorted(options.keys() - known - {"password_file"})
    if unknown:
        raise UsageError(f"{url.scheme}: no parameter {unknown[0]!r}; known: {sorted(known)}")
    hosts = url.netloc.rpartition("@")[2]
    port = _PORTS[url.scheme]
    servers = tuple(_with_port(host, port) for host in hosts.split(",") if host)
    names = tuple(unquote(name) for name in url.path.strip("/").split(",") if name)
    if not servers or not names:
        raise UsageError(f"{url.scheme}://host:port/name: a server and a name are needed")
    user, password = _login(url, options)
    return Address(servers, names, user, password, options, url.scheme == "tls")


def _login(url: SplitResult, options: dict[str, str]) -> tuple[str, str]:
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    if "password_file" not in options:
        return unquote(user), unquote(password)
    path = Path(options.pop("password_file"))
    try:
        return unquote(user), path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _with_port(host: str, port: int) -> str:
    has_port = host.rpartition(":")[2].isdigit() and not host.endswith("]")
    return host if has_port else f"{host}:{port}"


def shown_broker(text: str) -> str:
    """Give a broker's URL as it may be printed: without who one is."""
    url = urlsplit(text)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def kafka_connection(address: Address) -> dict[str, Any]:
    """How `aiokafka` connects to an address.

    Raises:
        UsageError: the certificates cannot be read.
    """
    mechanism = address.option("sasl_mechanism", "PLAIN" if address.user else "")
    otherwise = "SASL_SSL" if mechanism else "SSL" if address.option("ca_file") else "PLAINTEXT"
    protocol = address.option("security_protocol", otherwise)
    options: dict[str, Any] = {
        "bootstrap_servers": list(address.servers),
        "client_id": "lodeline",
        "security_protocol": protocol,
    }
    if mechanism:
        options |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": address.user,
            "sasl_plain_password": address.password,
        }
    if protocol.endswith("SSL"):
        import ssl

        try:
            context = ssl.create_default_context(cafile=address.option("ca_file") or None)
            if address.option("cert_file"):
                context.load_cert_chain(
                    address.option("cert_file"), address.option("key_file") or None
                )
        except OSError as error:
            raise UsageError(f"kafka: certificates: {error}") from error
        options["ssl_context"] = context
    return options


def nats_connection(address: Address) -> dict[str, Any]:
    """How `nats-py` connects to an address."""
    options: dict[str, Any] = {}
    scheme = "tls" if address.secure else "nats"
    if address.secure:
        import ssl

        options["tls"] = ssl.create_default_context(cafile=address.option("ca_file") or None)
    if address.option("credentials"):
        options["user_credentials"] = address.option("credentials")
    if address.user and address.password:
        options |= {"user": address.user, "password": address.password}
    elif address.user:
        options["token"] = address.user
    return {"servers": [f"{scheme}://{server}" for server in address.servers], **options}
