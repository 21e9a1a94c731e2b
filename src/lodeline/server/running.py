"""Listening: sockets, signals, and the refusal to listen in the open.

Without authentication only loopback is served. With it any address is; TLS is another matter.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Final

import uvicorn

from lodeline.errors import AddressInUseError, LodelineError, UnprotectedAddressError
from lodeline.ingest.collecting import collect_seldom
from lodeline.limits import CONNECTIONS_WAITING_MAX, DESCRIPTORS_RESERVED, IDLE_SECONDS_MAX
from lodeline.server.assembly import build_application
from lodeline.server.configuration import ServerConfiguration
from lodeline.server.guarding import Bounds, Guard, GuardedProtocol
from lodeline.server.key_gate import KeyGate
from lodeline.server.pages.service import LookAtSpool
from lodeline.server.tls import Tls, find_tls

_TURN_SECONDS: Final = 0.0002

_logger: Final = logging.getLogger("lodeline.serve")


def serve(
    store: str,
    configuration: ServerConfiguration,
    *,
    bounds: Bounds | None = None,
    look_at_spool: LookAtSpool | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished, what waits is written.

    SIGHUP reads the files of TLS again.

    Args:
        store: URL of the store; made when missing.
        configuration: the service's settings; port 0 takes a free one, the line printed tells
            which.
        bounds: of connections; those of `limits` without.
        look_at_spool: looks at the spool beside a store, for the page of health.

    Raises:
        UsageError: the TLS files are unusable.
        UnprotectedAddressError: the host is not loopback, and nobody would be asked for a key.
        AddressInUseError: the port is taken.
        StoreUnreachableError: the store cannot be opened.
    """
    host = configuration.host
    gated = configuration.authentication == "keys"
    tls = find_tls(configuration)
    listener = listen(host, configuration.port, gated=gated)
    try:
        application = build_application(
            store,
            make_gate=KeyGate if gated else None,
            configuration=configuration,
            look_at_spool=look_at_spool,
        )
        # Until the loop listens to it; its default would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        number = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if tls is None else "https"
        print(f"Lodeline serves {store} at {scheme}://{shown}:{number}", flush=True)  # noqa: T201
        settings = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=configuration.limits_shutdown_seconds,
            timeout_keep_alive=IDLE_SECONDS_MAX,
            http=partial(GuardedProtocol, Guard(_grant(bounds or Bounds())), application.direct),
            ws="none",
            server_header=False,
        )
        _tune_interpreter()
        settings.load()
        settings.ssl = None if tls is None else tls.context
        _Server(settings, tls, application.begin_stopping).run(sockets=[listener])
    finally:
        listener.close()


def _tune_interpreter() -> None:
    # The loop and the writer take turns: at Python's 5 ms a commit waits as long for its turn as
    # for the disk, and each answer that the loop sends for one while events are folded.
    sys.setswitchinterval(_TURN_SECONDS)
    collect_seldom()


def _grant(bounds: Bounds) -> Bounds:
    """Take as many descriptors as the system grants, and bound connections by them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = bounds.connections + DESCRIPTORS_RESERVED
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return replace(
        bounds, connections=max(16, min(bounds.connections, soft - DESCRIPTORS_RESERVED))
    )


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


def listen(host: str, port: int, *, gated: bool) -> socket.socket:
    """Listen on an address.

    Args:
        host: an address or name.
        port: 0 takes a free one.
        gated: whether callers are asked for keys; without, only loopback will do.

    Raises:
        UnprotectedAddressError: the host is not loopback, and nobody would be asked for a key.
        AddressInUseError: the port is taken.
    """
    if not gated:
        require_loopback(host)
    return open_listener(host, port)


def open_listener(host: str, port: int) -> socket.socket:
    """Open a socket that takes connections.

    Raises:
        AddressInUseError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm only where the protocol is told: with it, an answer whose
    # body follows its head waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS_WAITING_MAX)
    except (OSError, OverflowError) as error:
        listener.close()
        raise AddressInUseError(f"{host}:{port}", str(error)) from error
    return listener


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn's types are optional
    """uvicorn's server, ending with status 0 after a signal instead of raising it again."""

    def __init__(
        self, config: uvicorn.Config, tls: Tls | None, begin_stopping: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._begin_stopping = begin_stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop: answers without an end are ended, the others are waited for."""
        self._begin_stopping()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        # Without a handler SIGHUP would end the service, TLS or not.
        loop.add_signal_handler(signal.SIGHUP, self._renew)
        yield
        for number in (*signals, signal.SIGHUP):
            loop.remove_signal_handler(number)

    def _renew(self) -> None:
        if self._tls is None:
            _logger.info("SIGHUP: no TLS certificate to read again; settings need a restart")
            return
        try:
            self._tls.renew()
        except LodelineError as error:
            _logger.error("SIGHUP: the earlier TLS certificate goes on: %s", error)  # noqa: TRY400
        else:
            _logger.info("SIGHUP: the TLS certificate was read again")
