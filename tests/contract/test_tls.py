"""TLS of the service, with certificates made for the test and spoken to by other programs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import signal
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lodeline.errors import UsageError
from lodeline.server.tls import Tls
from services import Service, command, environment, event, serving


@dataclass
class Authority:
    """A root that issues certificates into a folder."""

    folder: Path
    name: str = "root"

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        builder = self._builder(self.subject, self.key.public_key())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = builder.add_extension(basic, critical=True).sign(
            self.key, hashes.SHA256()
        )
        self.path = self.folder / f"{self.name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Issue a certificate for 127.0.0.1; its path, and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(here, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths

    def context(self) -> ssl.SSLContext:
        """What a client uses that trusts this root."""
        return ssl.create_default_context(cafile=str(self.path))


@pytest.fixture
def root(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def variables(root: Authority, name: str = "server", **more: object) -> dict[str, str]:
    certificate, key = root.issue(name)
    found = {"certificate": certificate, "key": key, **more}
    return {f"LODELINE_SERVER_TLS_{name.upper()}": str(value) for name, value in found.items()}


def common_name(service: Service) -> str:
    assert service.tls is not None
    connection = service.connect()
    try:
        connection.connect()
        found = connection.sock.getpeercert()
        return str(dict(pair[0] for pair in found["subject"])["commonName"])
    finally:
        connection.close()


def test_events_arrive_over_https(root: Authority, tmp_path: Path) -> None:
    with serving(tmp_path / "s.db", variables=variables(root), tls=root.context()) as service:
        assert service.post(event(outputs="a")).status == 201
        curl = shutil.which("curl")
        if curl is not None:
            words = [curl, "-sS", "--cacert", str(root.path), f"{service.url}/healthz"]
            assert subprocess.run(words, capture_output=True, check=True).stdout == b"ok\n"
        assert service.stop() == 0


def test_plain_http_and_old_tls_get_no_answer(root: Authority, tmp_path: Path) -> None:
    with serving(tmp_path / "s.db", variables=variables(root), tls=root.context()) as service:
        plain = Service(service.process, service.host, service.port, service.store)
        with pytest.raises(OSError):  # whatever the socket says
            plain.send("GET", "/healthz")
        address = f"{service.host}:{service.port}"
        for version, accepted in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            words = ["openssl", "s_client", "-connect", address, version]
            # Level 0, so that it is the service which refuses.
            words += ["-CAfile", str(root.path), "-cipher", "DEFAULT:@SECLEVEL=0"]
            done = subprocess.run(words, input=b"", capture_output=True, check=False)
            assert (done.returncode == 0) is accepted, version


def test_only_clients_with_a_certificate_are_served_when_that_is_asked_for(
    root: Authority, tmp_path: Path
) -> None:
    others = Authority(tmp_path, "others")
    roots = tmp_path / "roots.pem"
    roots.write_bytes(others.path.read_bytes())
    settings = variables(root, client_ca=roots)
    stranger = root.context()
    known = root.context()
    known.load_cert_chain(*others.issue("producer"))
    known.maximum_version = ssl.TLSVersion.TLSv1_2
    forged = root.context()
    forged.load_cert_chain(*root.issue("forged"))
    said = tmp_path / "said.txt"
    with serving(tmp_path / "s.db", variables=settings, diagnostics=said, tls=known) as service:

        def is_served(context: ssl.SSLContext) -> bool:
            as_client = Service(service.process, service.host, service.port, service.store, context)
            try:
                return as_client.send("GET", "/healthz").status == 200
            except OSError:  # TLS 1.3 tells it at the first read
                return False

        assert service.post(event(outputs="a")).status == 201
        clients = (known, stranger, forged)
        assert [is_served(one) for one in clients] == [True, False, False]
        # A root that goes vouches for nobody, once the files were read again.
        roots.write_bytes(root.path.read_bytes())
        service.process.send_signal(signal.SIGHUP)
        told(said, "was read again")
        assert [is_served(one) for one in clients] == [False, False, True]
        roots.write_text("no root")
        service.process.send_signal(signal.SIGHUP)
        told(said, "the earlier TLS certificate goes on")
        assert [is_served(one) for one in clients] == [False, False, True]


def test_a_renewed_certificate_is_taken_up_on_a_signal_and_a_broken_one_is_not(
    root: Authority, tmp_path: Path
) -> None:
    settings = variables(root, "first")
    certificate, key = (
        Path(settings[f"LODELINE_SERVER_TLS_{part}"]) for part in ("CERTIFICATE", "KEY")
    )
    said = tmp_path / "said.txt"
    with serving(
        tmp_path / "s.db", variables=settings, diagnostics=said, tls=root.context()
    ) as service:
        assert common_name(service) == "first"
        certificate_2, key_2 = root.issue("second")
        certificate.write_bytes(certificate_2.read_bytes())
        service.process.send_signal(signal.SIGHUP)
        told(said, "the earlier TLS certificate goes on")
        assert common_name(service) == "first"
        key.write_bytes(key_2.read_bytes())
        service.process.send_signal(signal.SIGHUP)
        told(said, "was read again")
        assert common_name(service) == "second"
        assert service.stop() == 0


def told(said: Path, text: str) -> None:
    for _ in range(500):
        if text in said.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"never said {text!r}: {said.read_text()}")


def test_files_that_do_not_fit_are_told_before_serving(root: Authority, tmp_path: Path) -> None:
    certificate, _ = root.issue("one")
    _, key = root.issue("two")
    with pytest.raises(UsageError, match="cannot use"):
        Tls(certificate, key)
    locked = tmp_path / "locked.key"
    words = ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", str(locked)]
    subprocess.run([*words, "-passout", "pass:secret"], check=True, capture_output=True)
    with pytest.raises(UsageError, match="passphrase"):
        Tls(tmp_path / "two.pem", locked)
    given = {
        "LODELINE_SERVER_TLS_CERTIFICATE": str(certificate),
        "LODELINE_SERVER_TLS_KEY": str(key),
    }
    done = subprocess.run(
        command("serve", "--check", "--port", "0", "--store", str(tmp_path / "s.db")),
        env=environment(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no  tls: " in done.stdout
