"""The client of a witness reads any answer, and lets out only our errors."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lodeline.errors import (
    LodelineError,
    UsageError,
    WitnessConflictError,
    WitnessRefusedError,
    WitnessUnavailableError,
)
from lodeline.proof import Cosigner, Signer, TreeHead, format_tree_head, sign_note
from lodeline.tlog.witnesses import OtherSize, WitnessClient

WREN = Cosigner("witness.example/wren", b"w" * 32)
OWL = Cosigner("witness.example/owl", b"o" * 32)
TEXT = format_tree_head(TreeHead("example.com/log", 7, bytes(32)))
NOTE = sign_note(TEXT, [Signer("example.com/log", b"l" * 32)])
LINE = WREN.cosign(TEXT, time_s=9).line.encode()
OTHER = OWL.cosign(TEXT, time_s=9).line.encode()


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """One connection after the other, read as far as a request goes, then answered in raw bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(5)
                    received = b""
                    while b"\r\n\r\n" not in received or not received.endswith(NOTE.encode()):
                        received += connection.recv(65536)
                    answer(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def ask(raw: bytes | Callable[[socket.socket], None], *, seconds: float = 5.0) -> object:
    def send(connection: socket.socket) -> None:
        connection.sendall(raw)  # type: ignore[arg-type]

    with server(raw if callable(raw) else send) as url:
        client = WitnessClient(url, WREN.verifier, timeout_seconds=seconds)
        return client.add_checkpoint(NOTE, old_size=3, path=[bytes(32), bytes(32)])


def response(status: int, body: bytes = b"", content: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def test_the_request_is_old_size_proof_empty_line_checkpoint() -> None:
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            connection, _ = listener.accept()
            with connection:
                received = b""
                while not received.endswith(NOTE.encode()):
                    received += connection.recv(65536)
                seen.append(received)
                connection.sendall(response(200, LINE))

        thread = threading.Thread(target=work)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/prefix/"
        WitnessClient(url, WREN.verifier).add_checkpoint(NOTE, old_size=3, path=[bytes(32)])
        thread.join()
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /prefix/add-checkpoint HTTP/1.1\r\n")
    assert body.decode() == f"old 3\n{'A' * 43}=\n\n{NOTE}"


def test_the_signature_of_the_witness_is_found_among_others() -> None:
    found = ask(response(200, OTHER + LINE))
    assert found == WREN.cosign(TEXT, time_s=9)


@pytest.mark.parametrize("body", [b"7\n", b"0\n", b"7"])
def test_another_size_is_told(body: bytes) -> None:
    assert ask(response(409, body, "text/x.tlog.size; charset=utf-8")) == OtherSize(int(body))


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (response(400), WitnessRefusedError),
        (response(403), WitnessRefusedError),
        (response(404), WitnessRefusedError),
        (response(422), WitnessConflictError),
        (response(409, b"7\n"), WitnessUnavailableError),
        (response(409, b"seven\n", "text/x.tlog.size"), WitnessUnavailableError),
        (response(409, b"\xb2\n", "text/x.tlog.size"), WitnessUnavailableError),
        (response(409, b"9" * 20, "text/x.tlog.size"), WitnessUnavailableError),
        (response(200), WitnessUnavailableError),
        (response(200, OTHER), WitnessUnavailableError),
        (response(200, LINE[:-1]), WitnessUnavailableError),
        (response(200, b"\xff\n"), WitnessUnavailableError),
        (response(200, LINE * 101), WitnessUnavailableError),
        (response(301), WitnessUnavailableError),
        (response(500), WitnessUnavailableError),
        (response(503, b"later"), WitnessUnavailableError),
        (b"", WitnessUnavailableError),
        (b"no HTTP\r\n\r\n", WitnessUnavailableError),
        (b"HTTP/1.1 200 X\r\nContent-Length: 500\r\n\r\nshort", WitnessUnavailableError),
        (b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * 200 + b"\r\n", WitnessUnavailableError),
    ],
)  # fmt: skip
def test_each_answer_has_its_meaning(raw: bytes, error: type[LodelineError]) -> None:
    with pytest.raises(error):
        ask(raw)


def test_a_redirect_is_not_followed() -> None:
    with server(lambda connection: connection.sendall(response(200, LINE))) as elsewhere:
        raw = f"HTTP/1.1 307 X\r\nLocation: {elsewhere}/add-checkpoint\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(WitnessUnavailableError):
            ask(raw.encode())


def test_an_endless_answer_is_cut_off() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
        for _ in range(64):
            connection.sendall(b"x" * 65536)

    with pytest.raises(WitnessUnavailableError, match="longer than"):
        ask(flood)


def test_a_witness_that_is_silent_or_slow_costs_the_timeout_alone() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.1)

    for behave in (lambda _: time.sleep(3), drip):
        begun = time.monotonic()
        with pytest.raises(WitnessUnavailableError):
            ask(behave, seconds=0.5)
        assert time.monotonic() - begun < 12


def test_nobody_listening_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(WitnessUnavailableError):
        WitnessClient(url, WREN.verifier).add_checkpoint(NOTE, old_size=0, path=[])


def test_only_web_addresses_are_asked() -> None:
    for url in ("file:///etc/passwd", "ftp://x", "", "x"):
        with pytest.raises(UsageError):
            WitnessClient(url, WREN.verifier)


def test_mutated_answers_raise_only_our_errors() -> None:
    draw = random.Random(3)
    valid = [response(200, LINE), response(409, b"5\n", "text/x.tlog.size")]
    current = b""
    with server(lambda connection: connection.sendall(current)) as url:
        client = WitnessClient(url, WREN.verifier, timeout_seconds=2)
        for _ in range(300):
            changed = bytearray(draw.choice(valid))
            for _ in range(draw.randint(1, 4)):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            current = bytes(changed)
            try:
                found = client.add_checkpoint(NOTE, old_size=3, path=[])
            except LodelineError:
                continue
            assert isinstance(found, OtherSize) or WREN.verifier.is_of(found)
