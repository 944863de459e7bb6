"""The server's side of TLS: an `ssl.SSLContext` from files.

Owns which files make a context, and their reload. Knows no sockets and no settings but paths.
Half a configuration and unreadable files are errors; nothing here ever falls back to plain text.
"""

import ssl
from pathlib import Path

from ..errors import ConfigError

__all__ = ["ServerTls"]


def _load(context: ssl.SSLContext, ca_file: str, certificate: str, key: str) -> None:
    for name, path in (("CA file", ca_file), ("certificate", certificate), ("key", key)):
        if path:
            _readable(name, path)
    if certificate or key:
        if not (certificate and key):
            missing, given = ("key", certificate) if certificate else ("certificate", key)
            raise ConfigError(f"TLS has {given}, but no {missing} that belongs to it.")
        try:
            # Asked for a pass phrase, OpenSSL would wait at the terminal.
            context.load_cert_chain(certificate, key, password=_no_password)
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            raise ConfigError(f"The certificate {certificate} and the key {key} cannot be used: {reason}.") from error
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except ssl.SSLError as error:
            raise ConfigError(f"The CA file {ca_file} cannot be used: {error.reason or error}.") from error


def _readable(name: str, path: str) -> None:
    """OpenSSL's own message for a missing file does not name it."""
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"The TLS {name} {path} cannot be read: {error.strerror}.") from error


def _no_password() -> str:
    raise ConfigError("The TLS key is protected by a pass phrase. Store it without one, readable by the server alone.")


class ServerTls:
    """The server's side of TLS.

    Args:
        certificate: the server's certificate and its chain, a PEM file.
        key: its private key, a PEM file.
        ca_file: the authorities of clients' certificates, a PEM file. Empty: none.
        verify_client: only clients with a certificate of theirs are served.

    Raises:
        ConfigError: a file is missing or cannot be used; the text names it.
    """

    def __init__(self, certificate: str, key: str, ca_file: str = "", *, verify_client: bool = False) -> None:
        if not certificate or not key:
            raise ConfigError("TLS needs a certificate and its key: --ssl-certificate and --ssl-key.")
        if verify_client and not ca_file:
            raise ConfigError(
                "To verify clients, TLS needs the authorities that sign their certificates: --ssl-ca-file."
            )
        self._files = (ca_file, certificate, key)
        self._verify = ssl.CERT_REQUIRED if verify_client else ssl.CERT_NONE
        self._current = self._make()
        self.context = self._make()
        """For the listening sockets. It stays the same object; `reload` changes what it hands to new connections."""
        self.context.sni_callback = self._choose

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = self._verify
        # A ticket would let a client come back with the trust of a certificate that was replaced since.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        _load(context, *self._files)
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        # OpenSSL calls this for each handshake, with or without a server name in it.
        connection.context = self._current

    def reload(self) -> None:
        """Reads the files again, for connections that come from now on.

        Raises:
            ConfigError: they cannot be used. The old ones stay in force.
        """
        self._current = self._make()
