"""A witness as c2sp.org/tlog-witness describes one, in a process of its own: for tests alone.

    python witness.py --state DIRECTORY --name NAME --seed HEX --log VKEY... [--stall FILE]

It prints its URL and serves until it is killed. What it cosigned last stands in one file a log:
written beside it, fsynced, renamed over it, all under a lock, before the answer is sent. With
`--stall`, once that file exists, the witness persists, writes `persisted` into it, and never
answers: the moment at which a test kills it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lodeline.errors import ProofError, SignatureError
from lodeline.proof import (
    Cosigner,
    Verifier,
    parse_note,
    parse_tree_head,
    verify_consistency,
    verify_note,
)

BODY_BYTES_MAX = 1_000_000


class Refusal(Exception):
    def __init__(self, status: int, body: str = "", content: str = "text/plain") -> None:
        super().__init__(status)
        self.answer = (status, body, content)


class State:
    """What was cosigned last, by origin; shared with other processes on the same directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def path(self, origin: str) -> Path:
        return self.directory / f"{sha256(origin.encode()).hexdigest()}.json"

    def read(self, origin: str) -> tuple[int, str]:
        try:
            value = json.loads(self.path(origin).read_text())
        except FileNotFoundError:
            return 0, ""
        return value["size"], value["root"]

    def write(self, origin: str, size: int, root: str) -> None:
        path = self.path(origin)
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({"origin": origin, "size": size, "root": root}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        folder = os.open(self.directory, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


class Witness:
    def __init__(
        self, state: State, cosigner: Cosigner, logs: list[Verifier], stall: Path | None
    ) -> None:
        self.state, self.cosigner, self.stall = state, cosigner, stall
        self.logs: dict[str, list[Verifier]] = {}
        for log in logs:
            self.logs.setdefault(log.name, []).append(log)

    def add_checkpoint(self, body: str) -> str:
        old_size, path, note = parse_request(body)
        try:
            text, _ = parse_note(note)
            head = parse_tree_head(text)
        except ProofError as error:
            raise Refusal(400) from error
        if head.origin not in self.logs:
            raise Refusal(404)
        try:
            verify_note(note, self.logs[head.origin])
        except (SignatureError, ProofError) as error:
            raise Refusal(403) from error
        if old_size > head.size:
            raise Refusal(400)
        with self.state.locked():
            known, root = self.state.read(head.origin)
            if old_size != known:
                raise Refusal(409, f"{known}\n", "text/x.tlog.size")
            if old_size == head.size and known and root != head.root_hash.hex():
                raise Refusal(409, f"{known}\n", "text/x.tlog.size")
            self.check(old_size, bytes.fromhex(root), head.size, head.root_hash, path)
            self.state.write(head.origin, head.size, head.root_hash.hex())
        if self.stall is not None and self.stall.exists():
            self.stall.write_text("persisted")
            time.sleep(600)
        return self.cosigner.cosign(text, time_s=int(time.time())).line

    @staticmethod
    def check(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> None:
        try:
            if old == 0:
                if path:
                    raise Refusal(422)
                return
            verify_consistency(
                path, size_earlier=old, size_later=new, root_earlier=old_root, root_later=new_root
            )
        except ProofError as error:
            raise Refusal(422) from error


def parse_request(body: str) -> tuple[int, list[bytes], str]:
    head, empty, note = body.partition("\n\n")
    first, *lines = head.split("\n")
    word, _, size = first.partition(" ")
    if not empty or word != "old" or not size.isdigit() or str(int(size)) != size:
        raise Refusal(400)
    if len(lines) > 63:
        raise Refusal(400)
    try:
        return int(size), [b64decode(line, validate=True) for line in lines], note
    except ValueError as error:
        raise Refusal(400) from error


def serve(witness: Witness) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(min(length, BODY_BYTES_MAX)).decode("utf-8", "replace")
            try:
                if self.path != "/add-checkpoint" or length > BODY_BYTES_MAX:
                    answer = (404, "", "text/plain")
                else:
                    answer = (200, witness.add_checkpoint(body), "text/plain; charset=utf-8")
            except Refusal as refusal:
                answer = refusal.answer
            status, text, content = answer
            self.send_response(status)
            self.send_header("Content-Type", content)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=bytes.fromhex, required=True)
    parser.add_argument("--log", action="append", default=[])
    parser.add_argument("--stall", type=Path)
    arguments = parser.parse_args()
    logs = [Verifier.from_vkey(vkey) for vkey in arguments.log]
    cosigner = Cosigner(arguments.name, arguments.seed)
    serve(Witness(State(arguments.state), cosigner, logs, arguments.stall))


if __name__ == "__main__":
    main()
