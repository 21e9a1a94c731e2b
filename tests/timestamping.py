"""A timestamping authority for tests: a CA and `openssl ts -reply`, behind HTTP on loopback."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIGURATION = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[tsa_certificate]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = tsa_config
[tsa_config]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def openssl(*words: object, status: int = 0) -> str:
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


class Authority:
    """A CA with one certificate for timestamping, in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.roots = folder, folder / "ca.pem"
        self.configuration = folder / "openssl.cnf"
        self.configuration.write_text(CONFIGURATION.format(folder=folder))
        (folder / "serial").write_text("01\n")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        common = ("-config", self.configuration, "-days", "30")
        openssl("req", "-x509", *key, *common, "-extensions", "ca", "-subj", f"/CN=CA {folder.name}",
                "-keyout", folder / "ca.key", "-out", self.roots)  # fmt: skip
        openssl("req", *key, "-config", self.configuration, "-subj", f"/CN=TSA {folder.name}",
                "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr")  # fmt: skip
        openssl("x509", "-req", "-in", folder / "tsa.csr", "-CA", self.roots, "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-days", "30", "-extfile", self.configuration,
                "-extensions", "tsa_certificate", "-out", folder / "tsa.pem")  # fmt: skip

    def reply(self, query: bytes) -> bytes:
        (self.folder / "query.tsq").write_bytes(query)
        openssl("ts", "-reply", "-config", self.configuration, "-queryfile", self.folder / "query.tsq",
                "-out", self.folder / "reply.tsr")  # fmt: skip
        return (self.folder / "reply.tsr").read_bytes()


@contextmanager
def serving(
    reply: Callable[[bytes], bytes],
    *,
    status: int = 200,
    content: str = "application/timestamp-reply",
) -> Iterator[str]:
    """Serve replies on loopback; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = self.headers["Content-Type"] == "application/timestamp-query"
            answer = reply(body) if asked else b""
            self.send_response(status if asked else 415)
            self.send_header("Content-Type", content)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tsa"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
