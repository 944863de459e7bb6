"""TlsConnection: one socket of the job server, under TLS.

Owns the handshake, and how TLS is read and written: by records, and with the same bytes again after a refusal.
Everything else is connection.py's.
"""

import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from geartrain.server.connection import Connection

if TYPE_CHECKING:
    from geartrain.server.listener import Hub

__all__ = ["TlsConnection"]

_RECORD: Final = 16 * 1024
"""Bytes of a TLS record: OpenSSL gives out no more at once."""


class TlsConnection(Connection):
    """A connection under TLS: the same, over a socket that must shake hands first."""

    __slots__ = ("_shaken", "_tls")

    def __init__(self, hub: "Hub", sock: socket.socket, address: str, trusted: bool, context: ssl.SSLContext) -> None:
        self._tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._shaken = False
        super().__init__(hub, self._tls, address, trusted)

    def readable(self) -> None:
        if not self._shaken and not self._shake():
            return
        while self.fd >= 0 and not self.peer.gone:
            try:
                data = self._tls.recv(_RECORD)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                return
            except ssl.SSLEOFError:
                data = b""  # closed without a goodbye, as libgearman does
            except OSError as error:
                self._lost(error)
                return
            self._take(data)
            if (
                self._backlog is not None or not self._tls.pending()
            ):  # most often all is read: another recv would say so
                return

    def writable(self) -> None:
        if not self._shaken:
            self._shake()
            return
        super().writable()
        if self.fd >= 0 and self._backlog is None and self._tls.pending():
            self.readable()  # it was read from the socket while other packets waited, and epoll knows nothing of it

    def flush(self) -> None:
        """TLS has no sendmsg, and must be given the same bytes again after a refusal: always from `Unsent`."""
        peer = self.peer
        if self.fd < 0:
            peer.ready.clear()
            return
        if peer.ready:
            blocked = self._unsent is not None
            self._queue(peer.ready)
            if self._shaken and not blocked:
                self._send_unsent()
        if peer.closing and self._unsent is None and peer.held is None:
            self._close()

    def _write(self, pieces: list[Any], kept_follows: bool) -> int:
        return self._tls.send(pieces[0])

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._hub.reactor.watch(self.fd, self, True, False)
            return False
        except ssl.SSLWantWriteError:
            self._hub.reactor.watch(self.fd, self, False, True)
            return False
        except OSError as error:
            self._hub.complain(self.peer.address.decode(), f"no TLS handshake: {error}")
            self._close()
            return False
        self._shaken = True
        self._hub.reactor.watch(self.fd, self, True, False)
        return True
