"""Listeners: the open ports, and the connections that came through them.

Owns accepting, the bounds on connections, and the sockets' options. What is said on a connection is connection.py's.
"""

import errno
import logging
import os
import socket
import ssl
import stat
from collections.abc import Callable
from time import monotonic
from typing import Final

from geartrain.engine.engine import Engine
from geartrain.errors import ConfigError
from geartrain.server.config import Address, Config
from geartrain.server.connection import Connection
from geartrain.server.loop import Reactor
from geartrain.server.pipes import Pipes
from geartrain.server.tls_connection import TlsConnection

__all__ = ["Hub", "Listener", "open_sockets"]

logger = logging.getLogger("geartrain.server")

_ACCEPTS_PER_EVENT: Final = 64
_PAUSE: Final = 1.0
"""Seconds without accepting after the process ran out of descriptors."""
_COMPLAIN_EVERY: Final = 10.0
_MOST_ADDRESSES: Final = 1000
_HINTS: Final = {
    errno.EADDRINUSE: ". Another program has it: stop that one, or choose another port (--port, --http-port)",
    errno.EACCES: ". Ports below 1024 need root, or another port (--port, --http-port)",
    errno.EADDRNOTAVAIL: ". This machine has no such address (--listen, --http-host)",
}
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Hub:
    """What all connections of a server share.

    Attributes:
        engine: the policy.
        reactor: watches the sockets.
        connections: every open connection.
        deaf: whether nothing is read any more, because the server is about to stop.
        pipes: for large data.
        tls: the context for new connections, None for plain ones; replaced on reload.
    """

    def __init__(self, engine: Engine, reactor: Reactor, config: Config, tls: ssl.SSLContext | None) -> None:
        self.engine = engine
        self.stats = engine.stats
        self.reactor = reactor
        self.tls = tls
        self.pipes = Pipes()
        self.max_packet = config.max_packet
        self.max_output = config.max_output
        self.max_connections = config.max_connections
        self.connections: dict[Connection, None] = {}
        self._first_packet_timeout = config.first_packet_timeout
        self._unproven: dict[Connection, float] = {}
        self.on_empty: Callable[[], None] | None = None
        self.deaf = False
        self._complained: dict[str, float] = {}

    def complain(self, address: str, text: str) -> None:
        """Logs what a peer does wrong, once in a while for each address: some try again a hundred times a second."""
        now = monotonic()
        if now - self._complained.get(address, -_COMPLAIN_EVERY) < _COMPLAIN_EVERY:
            logger.debug("%s: %s", address, text)
            return
        if len(self._complained) >= _MOST_ADDRESSES:
            self._complained.clear()
        self._complained[address] = now
        logger.warning("%s: %s (said once in %g s for an address)", address, text, _COMPLAIN_EVERY)

    def add(self, sock: socket.socket, address: str, trusted: bool) -> None:
        """Takes a connection that was accepted."""
        if self.tls is not None:
            connection: Connection = TlsConnection(self, sock, address, trusted, self.tls)
        else:
            connection = Connection(self, sock, address, trusted)
        self.connections[connection] = None
        if self._first_packet_timeout:
            self._unproven[connection] = monotonic()
        else:
            connection.proven = True  # nobody asks
        self.reactor.watch(connection.fd, connection, True, False)

    def proven(self, connection: Connection) -> None:
        """A connection has sent a whole packet or line."""
        self._unproven.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.pop(connection, None)
        self._unproven.pop(connection, None)
        if not self.connections and self.on_empty is not None:
            self.on_empty()

    def sweep(self) -> None:
        """Closes the connections that have not sent a whole first packet in time, and pipes that are not needed."""
        self.pipes.rest()
        before = monotonic() - self._first_packet_timeout
        late = []
        for connection, since in self._unproven.items():  # in the order in which they came
            if since > before:
                break
            late.append(connection)
        for connection in late:
            connection.abort(f"no whole packet within {self._first_packet_timeout:g} s (--first-packet-timeout)")

    @property
    def sends(self) -> bool:
        """Whether some connection has output that its socket did not take yet."""
        return any(connection.unsent for connection in self.connections)

    def read_no_more(self) -> None:
        """Has all connections send only."""
        self.deaf = True
        for connection in self.connections:
            connection.read_no_more()

    def close_all(self) -> None:
        for connection in list(self.connections):
            connection.close()


class Listener:
    """One open port.

    Args:
        hub: who gets the connections.
        sock: bound and listening.
        later: calls something after some seconds.
    """

    def __init__(self, hub: Hub, sock: socket.socket, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._hub = hub
        self._sock = sock
        self._later = later
        self._unix = sock.family == socket.AF_UNIX
        self._path: str = sock.getsockname() if self._unix else ""
        self._closed = False
        self._hub.reactor.watch(sock.fileno(), self, True, False)

    @property
    def port(self) -> int:
        """The TCP port, 0 for a unix socket."""
        return 0 if self._unix else int(self._sock.getsockname()[1])

    @property
    def address(self) -> str:
        """As people write it: ``127.0.0.1:4730``, ``[::1]:4730``, ``unix:/run/gearmand.sock``."""
        if self._unix:
            return f"unix:{self._path}"
        host, port = self._sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def readable(self) -> None:
        hub = self._hub
        for _ in range(_ACCEPTS_PER_EVENT):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(f"{error.strerror} with {len(hub.connections)} connections open")
                    return
                raise
            if hub.max_connections and len(hub.connections) >= hub.max_connections:
                sock.close()
                logger.warning("a connection was refused: %d are open (--max-connections)", len(hub.connections))
                continue
            sock.setblocking(False)
            if self._unix:
                hub.add(sock, "unix", True)
            else:
                host: str = peer[0]
                hub.add(sock, host, host.startswith(("127.", "::ffff:127.")) or host == "::1")

    def writable(self) -> None:
        raise AssertionError("a listening socket is never watched for writing")

    def broken(self, error: BaseException) -> None:
        logger.error("a fault while accepting connections on %s", self.address, exc_info=error)

    def _pause(self, why: str) -> None:
        """Out of descriptors: an event that cannot be taken would make the loop spin."""
        logger.error("no connection can be accepted for %g s: %s. Raise --file-descriptors.", _PAUSE, why)
        self._hub.reactor.unwatch(self._sock.fileno())
        self._later(_PAUSE, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._hub.reactor.watch(self._sock.fileno(), self, True, False)

    def close(self) -> None:
        """Closes the port; a unix socket's file is removed."""
        if self._closed:
            return
        self._closed = True
        self._hub.reactor.unwatch(self._sock.fileno())
        self._sock.close()
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                logger.debug("%s was removed already", self._path)


def open_sockets(address: Address, config: Config) -> list[socket.socket]:
    """Binds and listens.

    Raises:
        ConfigError: the name cannot be found, or the address is in use or not allowed.
    """
    if address.path:
        return [_open_unix(address.path, config)]
    shown = f"{address.host or '*'}:{address.port}"
    try:
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"cannot listen on {shown}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    port = address.port
    for family, kind, protocol, _, target in dict.fromkeys(found):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                continue
            raise
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((target[0], port, *target[2:]))
            if not address.port and not address.host:
                port = sock.getsockname()[1]  # the same free port for IPv4 and IPv6
            _tune(sock, config)
            sock.listen(config.backlog)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL and not address.host:
                continue
            for opened in sockets:
                opened.close()
            hint = _HINTS.get(error.errno or 0, "")
            raise ConfigError(f"cannot listen on {shown}: {error.strerror}{hint}") from error
        sock.setblocking(False)
        sockets.append(sock)
    if not sockets:
        raise ConfigError(f"cannot listen on {shown}: this machine has no such address")
    return sockets


def _tune(sock: socket.socket, config: Config) -> None:
    """Options of the listening socket, which Linux hands down to the accepted ones: no system call for each."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if config.keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", config.keepalive_idle),
            ("TCP_KEEPINTVL", config.keepalive_interval),
            ("TCP_KEEPCNT", config.keepalive_count),
        ):
            if value and hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if config.tcp_user_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(config.tcp_user_timeout * 1000))


def _open_unix(path: str, config: Config) -> socket.socket:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)  # left behind by a server that was killed
            else:
                raise ConfigError(f"cannot listen on unix:{path}: another server answers there")
            finally:
                probe.close()
    except FileNotFoundError:
        logger.debug("%s is free", path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        sock.listen(config.backlog)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on unix:{path}: {error.strerror}") from error
    sock.setblocking(False)
    return sock
