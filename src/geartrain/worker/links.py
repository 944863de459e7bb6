"""The sync worker's connections.

Owns reaching every server, coming back after a loss, and moving bytes; one thread reads (`turn`), any may write.
Connecting happens in short-lived threads, so that a dead server never holds up the living. Must not know what a job
does or who runs it.
"""

import contextlib
import logging
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from geartrain.client.address import Server
from geartrain.client.pool import Pool
from geartrain.client.sockets import SHORT, Transport, connect
from geartrain.errors import ConnectionLost, RemoteProtocolError
from geartrain.worker.job import Job
from geartrain.worker.session import PATIENCE, WorkerSession

__all__ = ["Link", "Links"]

logger = logging.getLogger("geartrain.worker")

_GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Link:
    """One connection: socket and session."""

    __slots__ = ("blocked", "closed", "fd", "server", "session", "transport")

    def __init__(self, server: Server, transport: Transport, session: WorkerSession) -> None:
        self.server = server
        self.transport = transport
        self.session = session
        self.fd = transport.sock.fileno()
        self.closed = False
        self.blocked = False  # there is more to write than the system took


class Links:
    """All connections of a worker.

    Args:
        pool: the servers and when to try them.
        context: TLS, or None.
        connect_timeout: seconds per server.
        new_session: makes a session for a server.
        note_loss: told of a session that ended.

    Attributes:
        impatient: whether somebody has something else to do than to wait for a server that does not answer: another
            server, or the end.
    """

    def __init__(
        self,
        pool: Pool,
        context: ssl.SSLContext | None,
        connect_timeout: float,
        new_session: Callable[[Server], WorkerSession],
        note_loss: Callable[[Server, WorkerSession], None],
    ) -> None:
        self._pool = pool
        self._context = context
        self._connect_timeout = connect_timeout
        self._new_session = new_session
        self._note_loss = note_loss
        self.lock = threading.RLock()  # guards the sessions
        self.links: dict[int, Link] = {}
        self._absent: set[Server] = set(pool.servers)  # neither connected nor being connected
        self._newcomers: set[Link] = set()  # of those below, until they say something
        self._hang_up: set[Server] = set()  # these ended their last connection without a word
        self._complained: set[Server] = set()
        self._arrived: deque[tuple[Server, Transport | None, str]] = deque()
        self._open = False
        self.impatient = len(pool.servers) > 1
        self._looking = False  # for answers that do not come
        self._look_at = 0.0
        self._answering: Link | None = None  # the one that owes an answer, where there is only one

    def open(self) -> None:
        """Makes ready for `turn`, unless that is so already."""
        if not self._open:
            self._wake_out, self._wake_in = socket.socketpair()
            self._wake_out.setblocking(False)
            self._wake_in.setblocking(False)
            self._poll = select.poll()
            self._poll.register(self._wake_in, select.POLLIN)
            self._open = True

    def wake(self) -> None:
        """Ends a `turn` that waits. May be called from anywhere, a signal handler included."""
        if self._open:
            with contextlib.suppress(OSError):  # full: it is awake anyway; closed in this moment: it is gone
                self._wake_out.send(b"\0")

    # Reading.

    def turn(self, timeout: float | None) -> None:
        """Waits for whatever comes first, for at most so many seconds, and takes it in."""
        if self._absent and self._open:
            timeout = self._reconnect(timeout)
        if self._newcomers:
            self._greet()
        link, self._answering = self._answering, None
        if link is not None and not link.closed and not self._arrived and (timeout is None or timeout > SHORT):
            if self._read(link, soon=True):
                return
            if timeout is not None:
                timeout -= SHORT
        if self.impatient and (self._looking or self._begin_to_look()) and (timeout is None or timeout > PATIENCE):
            timeout = PATIENCE
        for fd, _ in self._poll.poll(None if timeout is None else timeout * 1000):
            link = self.links.get(fd)
            if link is not None:
                if link.blocked:
                    self._write_on(link)
                self._read(link)
            elif fd == self._wake_in.fileno():
                self._woken()
        if self._looking and monotonic() >= self._look_at:
            self._look()

    def _begin_to_look(self) -> bool:
        """Returns whether there is something to look for: answers that are due."""
        self._looking = any(link.session.awaiting for link in list(self.links.values()))
        self._look_at = monotonic() + PATIENCE
        return self._looking

    def _look(self) -> None:
        """Lets nobody wait for a server that does not answer."""
        with self.lock:
            for link in self.links.values():
                link.session.look()
        self._begin_to_look()

    def _read(self, link: Link, soon: bool = False) -> bool:
        """Takes in what came; `soon` waits a moment for it. Returns whether something came, the end included."""
        session = link.session
        try:
            data = link.transport.recv_soon() if soon else link.transport.recv(0.0)
            if data is None:
                return False
            while data:
                with self.lock:
                    session.receive(data)
                if self._context is None or not link.transport.buffered():
                    return True
                data = link.transport.recv(0.0)
            if data is not None:
                self.drop(link, "the server closed it")
        except (ConnectionLost, RemoteProtocolError) as error:
            self.drop(link, str(error))
        return True

    def _woken(self) -> None:
        try:
            while len(self._wake_in.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        while self._arrived:
            server, transport, problem = self._arrived.popleft()
            if transport is None or not self._open:
                if transport is not None:
                    transport.close()
                self._failed(server, problem)
            else:
                self._joined(server, transport)

    # Connecting.

    def _reconnect(self, timeout: float | None) -> float | None:
        """Starts the attempts that are due. Returns how long to wait at most, for the next one's sake."""
        now = monotonic()
        for server in list(self._absent):
            wait = self._pool.retry_at(server) - now
            if wait <= 0:
                self._absent.discard(server)
                threading.Thread(
                    target=self._attempt, args=(server,), name=f"geartrain connect {server}", daemon=True
                ).start()
            elif timeout is None or wait < timeout:
                timeout = wait
        return timeout

    def _attempt(self, server: Server) -> None:
        try:
            transport = connect(server, self._context, self._connect_timeout)
        except ConnectionLost as error:
            self._arrived.append((server, None, str(error)))
        else:
            with self.lock:
                if self._open:
                    self._arrived.append((server, transport, ""))
                else:
                    transport.close()
        self.wake()

    def _failed(self, server: Server, problem: str) -> None:
        at = self._pool.failed(server, monotonic())
        self._absent.add(server)
        if server not in self._complained:  # once per outage, not once per attempt
            self._complained.add(server)
            logger.warning("no connection to %s; trying again, next in %.1f s", problem, at - monotonic())

    def _greet(self) -> None:
        """What accepts and hangs up, a balancer without a server say, is no end of an outage: so an answer is."""
        for link in list(self._newcomers):
            if link.session.answered:
                self._newcomers.discard(link)
                self._hang_up.discard(link.server)
                logger.info("connected to %s", link.server)

    def _joined(self, server: Server, transport: Transport) -> None:
        self._complained.discard(server)
        with self.lock:
            link = Link(server, transport, self._new_session(server))
            link.session.owner = link
            self.links[link.fd] = link
            self._poll.register(link.fd, select.POLLIN)
        if server in self._hang_up:
            self._newcomers.add(link)
        else:
            logger.info("connected to %s", server)

    def drop(self, link: Link, cause: str) -> None:
        """A connection ended."""
        with self.lock:
            if link.closed:
                return
            link.closed = True
            del self.links[link.fd]
            self._poll.unregister(link.fd)
            link.session.lost()
        link.transport.close()
        self._note_loss(link.server, link.session)
        at = self._pool.failed(link.server, monotonic())
        self._absent.add(link.server)
        self._complained.add(link.server)
        self._newcomers.discard(link)
        known = link.server in self._hang_up
        if link.session.answered:
            self._hang_up.discard(link.server)
        else:
            self._hang_up.add(link.server)
        jobs = len(link.session.jobs)
        logger.log(
            logging.WARNING if link.session.answered or not known else logging.DEBUG,  # once per outage
            "the connection to %s was lost (%s)%s; trying again in %.1f s",
            link.server,
            cause,
            f" with {jobs} jobs running, which the server gives to others" if jobs else "",
            at - monotonic(),
        )
        self.wake()

    # Writing.

    def pump(self) -> None:
        """Lets every session ask for jobs, the one first that asked longest ago, and writes what they say.

        What a server does not take now is written by `turn`: it must not hold up the others.
        """
        links = list(self.links.values())
        if len(links) > 1:
            links.sort(key=lambda link: link.session.asked)
        for link in links:
            with self.lock:
                link.session.pump()
                waits = self._send(link)
            if waits:
                self._write_later(link)
        if len(links) == 1 and not waits and links[0].transport.waits_for_more and links[0].session.expecting:
            self._answering = links[0]

    def _write_later(self, link: Link) -> None:
        with self.lock:
            if link.closed or link.blocked:
                return
            link.blocked = True
            self._poll.modify(link.fd, select.POLLIN | select.POLLOUT)
        self.wake()

    def _write_on(self, link: Link) -> None:
        with self.lock:
            if not self._send(link) and not link.closed:
                link.blocked = False
                self._poll.modify(link.fd, select.POLLIN)

    def write(self, link: Link) -> None:
        """Writes all that a session has to say, however long the server takes to read it."""
        while True:
            with self.lock:
                if not self._send(link):
                    return
            try:
                link.transport.wait(None, read=False, write=True)
            except ConnectionLost as error:
                self.drop(link, str(error))

    def _send(self, link: Link) -> bool:
        """Writes what goes without waiting. Returns whether there is more."""
        if link.closed:
            return False
        session, transport = link.session, link.transport
        data = session.pending()
        try:
            while data:
                count = transport.send(data)
                if not count:
                    return True
                data = session.sent(count)
        except ConnectionLost as error:
            self.drop(link, str(error))
        return False

    def link_of(self, job: Job) -> Link | None:
        """The connection that a job came by; None when it has ended."""
        link = job.session.owner
        return link if isinstance(link, Link) and not link.closed else None

    def close(self) -> None:
        """Ends every connection, and all attempts."""
        if not self._open:
            return
        with self.lock:
            self._open = False
            for link in list(self.links.values()):
                link.closed = True
                link.session.lost()
                link.transport.shutdown()  # a task's thread may wait until it can write
                link.transport.close()
            self.links.clear()
            for _, transport, _ in self._arrived:
                if transport is not None:
                    transport.close()
            self._arrived.clear()
        self._wake_out.close()
        self._wake_in.close()
