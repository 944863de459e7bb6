"""The server's side of TLS: one `ssl.SSLContext` from the files that the settings name.

Owns which files make a context, and what is wrong with them in words. Knows no sockets; the server makes a new
context for a reload and keeps its old one where that fails. Nothing here ever falls back to plain text.
"""

import ssl

from geartrain.errors import ConfigError
from geartrain.server.config import Config

__all__ = ["server_context"]


def server_context(config: Config) -> ssl.SSLContext | None:
    """Reads the files, now: call it again for renewed ones.

    Args:
        config: ssl and its files. `Config` itself sees to it that they go together.

    Returns:
        None without ``ssl``.

    Raises:
        ConfigError: a file is missing or cannot be used; the text names it.
    """
    if not config.ssl:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A session ticket would let a client in on the word of a certificate, or an authority, that was replaced since.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_certificate(context, config.ssl_certificate, config.ssl_key)
    if config.ssl_ca_file:
        _load_authorities(context, config.ssl_ca_file)
    # gearmand never asks clients for a certificate; so it takes an option to do it.
    context.verify_mode = ssl.CERT_REQUIRED if config.ssl_verify_client else ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    _must_be_readable("certificate", certificate)
    _must_be_readable("key", key)
    try:
        # Without the last argument OpenSSL would ask for a pass phrase at the terminal, and wait.
        context.load_cert_chain(certificate, key, password=_refuse_pass_phrase)
    except ssl.SSLError as error:
        reason = error.reason or error
        raise ConfigError(f"The certificate {certificate} and the key {key} cannot be used: {reason}.") from error


def _load_authorities(context: ssl.SSLContext, ca_file: str) -> None:
    _must_be_readable("CA file", ca_file)
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ConfigError(f"The CA file {ca_file} cannot be used: {error.reason or error}.") from error


def _must_be_readable(name: str, path: str) -> None:
    """OpenSSL's own message for a missing file does not name it."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ConfigError(f"The TLS {name} {path} cannot be read: {error.strerror}.") from error


def _refuse_pass_phrase() -> str:
    raise ConfigError("The TLS key is protected by a pass phrase. Store it without one, readable by the server alone.")
