"""TLS settings of a client or worker, made into one ssl context.

Owns the rule that a setting for TLS means TLS: there is no way from here back to plain text.
Must not know sockets.
"""

import os
import ssl
from ssl import SSLContext
from typing import NamedTuple

from geartrain.errors import ConfigError

__all__ = ["Tls"]


class Tls(NamedTuple):
    """What a user may say about TLS. Naming any file, or `ssl=True`, turns it on.

    Attributes:
        ssl: True, or a context of your own; then the files must be left out.
        ssl_ca_file: the authorities that may have signed the server's certificate (PEM); the system's by default.
        ssl_certificate: our own certificate (PEM), for a server that asks for one.
        ssl_key: its private key (PEM); left out where the certificate's file holds it.
        ssl_check_hostname: whether the certificate must be for the host that was named. libgearman does not
            look; we do, unless told otherwise.
    """

    ssl: "bool | SSLContext" = False
    ssl_ca_file: str | os.PathLike[str] | None = None
    ssl_certificate: str | os.PathLike[str] | None = None
    ssl_key: str | os.PathLike[str] | None = None
    ssl_check_hostname: bool = True

    def context(self) -> "SSLContext | None":
        """The context to connect with, or None for plain text.

        Raises:
            ConfigError: a file cannot be used, or the settings contradict each other.
        """
        files = (self.ssl_ca_file, self.ssl_certificate, self.ssl_key)
        if isinstance(self.ssl, ssl.SSLContext):
            if any(files):
                raise ConfigError(
                    "an ssl context of your own and ssl_ca_file, ssl_certificate or ssl_key exclude "
                    "each other; load the files into the context"
                )
            return self.ssl
        if not self.ssl and not any(files):
            return None
        if self.ssl_key and not self.ssl_certificate:
            raise ConfigError("ssl_key is given without ssl_certificate; name both, or neither")
        return self._from_files()

    def _from_files(self) -> "SSLContext":
        try:
            ca_file = os.fspath(self.ssl_ca_file) if self.ssl_ca_file else None
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the ssl_ca_file {self.ssl_ca_file} cannot be used: {_reason(error)}") from error
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certificate:
            key = os.fspath(self.ssl_key) if self.ssl_key else None
            try:
                context.load_cert_chain(os.fspath(self.ssl_certificate), key)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"the ssl_certificate {self.ssl_certificate} and the ssl_key {self.ssl_key} cannot be used: "
                    f"{_reason(error)}"
                ) from error
        return context


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
