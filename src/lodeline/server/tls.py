"""TLS of the service: the certificate, the least version, client certificates, renewal."""

from __future__ import annotations

import ssl
from pathlib import Path

from lodeline.errors import UsageError
from lodeline.server.configuration import ServerConfiguration


class Tls:
    """The TLS of a listening service.

    Args:
        certificate: PEM file: the certificate, then those that lead to its root.
        key: PEM file of its private key, without a passphrase.
        client_ca: PEM file of roots; with it every client must show a certificate.

    Raises:
        UsageError: a file cannot be read, is no PEM, or certificate and key do not belong
            together.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        # The listener keeps the context that it began with; each handshake goes on in the present.
        self.context = self._present = self._load()
        self.context.sni_callback = self._go_on
        if client_ca is not None:
            # A resumed session would be served by what its client once showed.
            self.context.num_tickets = 0
            self.context.options |= ssl.OP_NO_TICKET

    def renew(self) -> None:
        """Read all files again; new connections get them, old ones go on.

        Raises:
            UsageError: as at the beginning; all that was read before goes on.
        """
        # A context of its own: roots can be added to one, and none taken away.
        self._present = self._load()

    def _go_on(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        # Called in every handshake, whether or not the client names a server.
        connection.context = self._present

    def _load(self) -> ssl.SSLContext:
        client_ca = self._client_ca
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        reading = f"{self._certificate} with key {self._key}"
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
            if client_ca is not None:
                reading = str(client_ca)
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise UsageError(f"TLS: cannot use {reading}: {error}") from error
        return context


def _no_passphrase() -> str:
    # Without this OpenSSL would ask at the terminal and wait.
    raise ValueError("the private key asks for a passphrase; keys are read without one")


def find_tls(configuration: ServerConfiguration) -> Tls | None:
    """Set TLS up as configured; `None` where it is not.

    Raises:
        UsageError: its files are unusable.
    """
    if configuration.tls_certificate is None or configuration.tls_key is None:
        return None
    return Tls(configuration.tls_certificate, configuration.tls_key, configuration.tls_client_ca)
