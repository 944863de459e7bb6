"""Blocking sockets to a job server.

Owns connecting (TCP, unix, TLS; bounded in time, names looked up afresh) and moving bytes. Foreign exceptions
end here: all that can go wrong comes out as `ConnectionLost`. Must not know packets or jobs.
"""

import contextlib
import ipaddress
import os
import select
import socket
import ssl
import sys
import threading
from struct import Struct
from time import monotonic
from typing import Final

from geartrain.client.address import Server
from geartrain.errors import ConnectionLost

__all__ = ["CHUNK", "SHORT", "Transport", "connect", "reason", "tune"]

CHUNK: Final = 64 * 1024
"""Bytes per read. More than 128 KiB would make glibc map and unmap memory for every read."""

SHORT: Final = 0.01
"""Seconds that `recv_more_than` waits for more."""

_TIMEVAL: Final = Struct("@ll")
_TLS_REASONS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it takes nobody without a certificate: name ssl_certificate and ssl_key",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "it does not speak TLS on this port",
}
"""OpenSSL's names for what a user can do something about."""


class Transport:
    """One connected socket. Reading and writing may go on in two threads at once."""

    __slots__ = ("_least", "server", "sock")

    waits_for_more = sys.platform == "linux"
    """Whether `recv_more_than` is there."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self.sock = sock
        self.server = server
        self._least = 0  # SO_RCVLOWAT, where it is set

    def recv(self, timeout: float | None) -> bytes | None:
        """Waits for bytes.

        Args:
            timeout: in seconds; None waits for ever.

        Returns:
            the bytes, empty at the end of the stream; None when nothing came in time.

        Raises:
            ConnectionLost: the connection broke.
        """
        if self._least and timeout != 0.0:
            self._wait_for_any()
        try:
            if timeout is None:
                return self.sock.recv(CHUNK)
            if timeout > 0 and not self.wait(timeout):
                return None
            return self.sock.recv(CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except (OSError, ValueError) as error:
            raise ConnectionLost(reason(error)) from error

    def recv_soon(self) -> bytes | None:
        """As `recv` for `SHORT` at most, in one call of the system rather than two."""
        return self.recv_more_than(0)

    def recv_more_than(self, size: int) -> bytes | None:
        """As `recv`, but gives the process its turn only once more than so many bytes are there, or after `SHORT`.

        A short job's result follows its JOB_CREATED at once. Each would wake the process; so both wake it once.
        """
        try:
            if self._least != size + 1:
                self._least = size + 1
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size + 1)
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, int(SHORT * 1e6)))
            return self.sock.recv(CHUNK)
        except BlockingIOError:
            return None
        except (OSError, ValueError) as error:
            raise ConnectionLost(reason(error)) from error

    def _wait_for_any(self) -> None:
        self._least = 0
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, 0))
        except OSError as error:
            raise ConnectionLost(reason(error)) from error

    def send(self, data: bytes | memoryview) -> int:
        """Hands over as much as goes without waiting. Returns how many bytes that were.

        Raises:
            ConnectionLost: the connection broke.
        """
        try:
            return self.sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except (OSError, ValueError) as error:
            raise ConnectionLost(reason(error)) from error

    def wait(self, timeout: float | None, *, read: bool = True, write: bool = False) -> bool:
        """Waits until bytes came (read) or can go (write). Returns whether so before the timeout, in seconds.

        Raises:
            ConnectionLost: the socket was closed in the meantime.
        """
        if self._least and read:
            self._wait_for_any()
        poll = select.poll()
        try:
            poll.register(self.sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        except (OSError, ValueError) as error:
            raise ConnectionLost("the connection was closed") from error
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def buffered(self) -> bool:
        """Whether bytes were read from the socket already that `recv` would give; TLS reads whole records."""
        return False

    def shutdown(self) -> None:
        """Ends both directions, which wakes whoever waits in another thread."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the socket; the server sees the end of the stream."""
        self.sock.close()


class TlsTransport(Transport):
    """The same over TLS. OpenSSL allows one call at a time, so a lock stands before it and waiting is outside."""

    __slots__ = ("_lock", "_tls")

    waits_for_more = False

    def __init__(self, sock: ssl.SSLSocket, server: Server) -> None:
        super().__init__(sock, server)
        sock.setblocking(False)
        self._tls = sock
        self._lock = threading.Lock()

    def recv(self, timeout: float | None) -> bytes | None:
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            try:
                with self._lock:
                    return self.sock.recv(CHUNK)
            except ssl.SSLWantReadError:
                write = False
            except ssl.SSLWantWriteError:
                write = True
            except ssl.SSLEOFError:
                return b""
            except (OSError, ValueError) as error:
                raise ConnectionLost(reason(error)) from error
            remaining = None if deadline is None else deadline - monotonic()
            if (remaining is not None and remaining <= 0) or not self.wait(remaining, write=write):
                return None

    def send(self, data: bytes | memoryview) -> int:
        try:
            with self._lock:
                return self.sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except (OSError, ValueError) as error:
            raise ConnectionLost(reason(error)) from error

    def buffered(self) -> bool:
        with self._lock:
            return self._tls.pending() > 0


def connect(server: Server, context: ssl.SSLContext | None, timeout: float) -> Transport:
    """Connects to a server, with TLS where a context is given.

    Args:
        server: where to; its name is looked up now, never remembered.
        context: TLS, or None for plain text.
        timeout: seconds for all of it: look-up, every address of the name, and the TLS handshake.

    Raises:
        ConnectionLost: it did not work in time; the text names the server and the reason.
    """
    deadline = monotonic() + timeout
    try:
        sock = _open(server, deadline)
        try:
            if context is None:
                sock.settimeout(None)
                return Transport(sock, server)
            sock.settimeout(max(0.001, deadline - monotonic()))
            name = server.host or "localhost"
            return TlsTransport(context.wrap_socket(sock, server_hostname=name), server)
        except BaseException:
            sock.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: a host name that no certificate can be for
        raise ConnectionLost(f"{server}: {reason(error)}") from error


def _open(server: Server, deadline: float) -> socket.socket:
    if server.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return _finish(sock, server.path, deadline)
    problem: OSError | None = None
    for family, kind, protocol, _, address in _look_up(server, deadline):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that this machine does not have
            problem = error
            continue
        try:
            return tune(_finish(sock, address, deadline))
        except OSError as error:
            problem = error
    raise problem or OSError("the name has no address")


def _finish(sock: socket.socket, address: object, deadline: float) -> socket.socket:
    try:
        sock.settimeout(max(0.001, deadline - monotonic()))
        sock.connect(address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(server: Server, deadline: float) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    """The addresses of a name. The resolver has no time limit of its own, so a thread of its own asks it."""
    try:
        ipaddress.ip_address(server.host.partition("%")[0])
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)  # type: ignore[return-value]
    answer: list[object] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name=f"geartrain look-up of {server.host}", daemon=True)
    thread.start()
    thread.join(max(0.001, deadline - monotonic()))
    if not answer:
        raise OSError("the name could not be looked up in time")
    if isinstance(answer[0], Exception):
        raise OSError(f"the name cannot be looked up: {reason(answer[0])}")
    return answer[0]  # type: ignore[return-value]


def tune(sock: socket.socket) -> socket.socket:
    """No delay for small packets, and a dead peer is noticed within a minute or so."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000)):
        if hasattr(socket, name):  # not every system has all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def reason(error: Exception) -> str:
    """An exception's reason in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError) or (isinstance(error, ConnectionResetError) and not error.args):
        return "the server closed it"  # the second: asyncio's word for it in the middle of a handshake
    if isinstance(error, ssl.SSLError) and error.reason:
        return _TLS_REASONS.get(error.reason) or f"TLS: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio writes the address once more where the reason should be
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
