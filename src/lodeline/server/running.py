"""Listening: sockets, signals, and the refusal to listen in the open.

Without authentication only loopback is served. With it any address is; TLS is another matter.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from lodeline.errors import AddressInUseError, UnprotectedAddressError
from lodeline.limits import SHUTDOWN_SECONDS_MAX
from lodeline.server.assembly import build_application
from lodeline.server.key_gate import KeyGate
from lodeline.settings import authentication


def serve(store: str, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished, what waits is written.

    Args:
        store: URL of the store; made when missing.
        host: an address or name; of loopback where the service asks for no keys.
        port: 0 takes a free one; the line printed tells which.

    Raises:
        UnprotectedAddressError: the host is not loopback, and nobody would be asked for a key.
        AddressInUseError: the port is taken.
        StoreUnreachableError: the store cannot be opened.
    """
    gated = authentication() == "keys"
    listener = _listen(host, port, gated=gated)
    try:
        application = build_application(store, make_gate=KeyGate if gated else None)
        number = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(f"Lodeline serves {store} at http://{shown}:{number}", flush=True)  # noqa: T201
        _Server(
            uvicorn.Config(
                application,
                log_level="warning",
                access_log=False,
                lifespan="on",
                timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
                server_header=False,
            )
        ).run(sockets=[listener])
    finally:
        listener.close()


def check(store: str, *, host: str, port: int) -> list[str]:
    """Try everything that `serve` needs, without serving.

    Returns:
        What was found, a line each.

    Raises:
        LodelineError: what `serve` would raise.
    """
    gated = authentication() == "keys"
    _listen(host, port, gated=gated).close()
    build_application(store, make_gate=KeyGate if gated else None)
    reach = "callers need a key" if gated else "loopback only, callers need no key"
    return [f"address: {host}:{port} is free, {reach}", f"store: {store} opens"]


def require_loopback(host: str) -> None:
    """Refuse what others could reach.

    Raises:
        UnprotectedAddressError: any address of the host is not loopback.
        AddressInUseError: the name does not resolve.
    """
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host or "0.0.0.0", None)}  # noqa: S104
    except OSError as error:
        raise AddressInUseError(host, str(error)) from error
    if not all(ipaddress.ip_address(str(address).split("%")[0]).is_loopback for address in found):
        raise UnprotectedAddressError(
            f"refusing to listen on {host or 'every address'}: authentication is off, so only "
            "loopback (127.0.0.1, ::1, localhost) is served; "
            "make a key with `lodeline key create` and set LODELINE_AUTHENTICATION=keys"
        )


def _listen(host: str, port: int, *, gated: bool) -> socket.socket:
    if not gated:
        require_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        raise AddressInUseError(f"{host}:{port}", str(error)) from error
    return listener


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn's types are optional
    """uvicorn's server, ending with status 0 after a signal instead of raising it again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        for number in signals:
            loop.remove_signal_handler(number)
