"""The sync client's connection, and the turns that threads take at reading it.

Owns the one connection of a `Client`: opening it, failing over, writing, and reading. There is no thread of its
own: whoever waits reads, for itself and for everybody else, and the other threads wait until it is done or take
over. One thread alone so pays for no hand-over. Must not know what the packets mean: that is the session's.
"""

import os
import ssl
from collections.abc import Callable, Sequence
from threading import Condition, Lock, get_ident
from time import monotonic
from typing import Any, Final, Protocol

from geartrain.client.pool import Pool
from geartrain.client.session import ClientSession
from geartrain.client.sockets import Transport, connect
from geartrain.client.task import BaseTask, Pending
from geartrain.errors import ConnectionLost, GeartrainError, NoServersAvailable, RemoteProtocolError, RequestTimeout
from geartrain.protocol.commands import Command

__all__ = ["Awaited", "Driver"]

_SILENCE: Final = 0.1
"""Seconds after which an idle connection is looked at before a job is trusted to it."""


class Awaited(Protocol):
    """Anything that one can wait for."""

    @property
    def done(self) -> bool:
        """Whether waiting is over."""


class Link:
    """One connection: socket and session."""

    __slots__ = ("blocked", "session", "transport", "used")

    def __init__(self, transport: Transport, session: ClientSession) -> None:
        self.transport = transport
        self.session = session
        self.used = monotonic()
        self.blocked = False  # there is more to write than the system took


class Driver:
    """Reads and writes for a `Client`.

    Args:
        pool: the servers.
        context: TLS, or None.
        connect_timeout: seconds per server.
        exceptions: whether to ask servers for exceptions.
    """

    def __init__(self, pool: Pool, context: ssl.SSLContext | None, connect_timeout: float, exceptions: bool) -> None:
        self._pool = pool
        self._context = context
        self._connect_timeout = connect_timeout
        self._exceptions = exceptions
        self._reset()

    def _reset(self) -> None:
        self._cond = Condition(Lock())  # guards all that follows, the session included
        self._link: Link | None = None
        self._reader: int | None = None  # the thread that reads at the moment
        self._others = 0  # how many wait for it
        self._pid = os.getpid()

    # Sending.

    def start(self, tasks: Sequence[BaseTask]) -> None:
        """Sends tasks. Those that no server can have seen go to the next server when one fails.

        Raises:
            NoServersAvailable: no server could be reached.
        """

        def submit(session: ClientSession) -> None:
            for task in tasks:
                session.submit(task)

        link = self._put(submit)
        if link is not None:
            self._flush(link)

    def ask(self, command: Command, key: bytes, timeout: float | None) -> Any:
        """Asks the server something and waits for the reply.

        Raises:
            RequestTimeout, ConnectionLost, ServerError: there is none.
        """
        pending = Pending(key)
        link = self._put(lambda session: session.ask(command, pending))
        if link is not None:
            self._flush(link)
        self.wait(pending, timeout, "a reply")
        if pending.error is not None:
            raise pending.error
        return pending.value

    def _put(self, act: Callable[[ClientSession], object]) -> Link | None:
        """Lets `act` put packets into the session and writes. Returns the link where not all went out."""
        if os.getpid() != self._pid:
            self._forked()
        with self._cond:
            link = self._connected()
            act(link.session)
            try:
                if self._write(link):
                    return None
            except ConnectionLost as error:
                self._lose(link, str(error))
                return None
            return link

    def _write(self, link: Link) -> bool:
        """Writes what goes without waiting. Returns whether all is out."""
        session, transport = link.session, link.transport
        while data := session.pending():
            count = transport.send(data)
            if not count:
                link.blocked = True
                return False
            session.sent(count)
        link.blocked = False
        return True

    def _flush(self, link: Link) -> None:
        """Writes the rest, and reads meanwhile: a server whose answers nobody takes may stop listening."""
        me = get_ident()
        while link.blocked:
            with self._cond:
                if self._reader in (None, me):
                    self._read(link, None, me)
                elif self._link is link:
                    self._try_to_write(link)
                if self._link is None:
                    return
                if self._link is not link:  # what did not leave is in the next one now
                    link = self._link
                    continue
            if link.blocked:
                link.transport.wait(1.0, read=False, write=True)

    def _try_to_write(self, link: Link) -> None:
        try:
            self._write(link)
        except ConnectionLost as error:
            self._lose(link, str(error))

    # Waiting.

    def wait(self, awaited: Awaited, timeout: float | None, what: str) -> None:
        """Reads until something is done.

        Raises:
            RequestTimeout: it is not, after so many seconds.
        """
        deadline = None if timeout is None else monotonic() + timeout
        me = get_ident()
        remaining: float | None = None
        with self._cond:
            while not awaited.done:
                if deadline is not None:
                    remaining = deadline - monotonic()
                    if remaining <= 0:
                        raise RequestTimeout(f"{what} did not come within {timeout:g} seconds")
                if self._reader is not None and self._reader != me:
                    self._others += 1
                    self._cond.wait(remaining)
                    self._others -= 1
                    continue
                link = self._link
                if link is None:
                    raise ConnectionLost("the client was closed")
                self._read(link, remaining, me)

    def _read(self, link: Link, timeout: float | None, me: int) -> None:
        """Reads once, with the lock given up meanwhile, and runs the callbacks that are due."""
        cond = self._cond
        before, self._reader = self._reader, me
        cond.release()
        try:
            if link.blocked:
                link.transport.wait(timeout, write=True)
                timeout = 0.0
            data = link.transport.recv(timeout)
        except ConnectionLost as error:
            data, cause = b"", str(error)
        except BaseException:  # Ctrl-C: bytes may be gone, so the connection is of no more use
            cond.acquire()
            self._reader = before
            self._lose(link, "interrupted")
            raise
        else:
            cause = "the server closed it"
        cond.acquire()
        self._reader = before
        try:
            if link.blocked and data != b"":
                self._try_to_write(link)
            if data:
                link.session.receive(data)
                link.used = monotonic()
            elif data is not None:
                self._lose(link, cause)
        except RemoteProtocolError as error:
            self._lose(link, str(error))
        if link.session.calls:
            self._run_calls(link, me)
        if self._others:
            cond.notify_all()

    def _run_calls(self, link: Link, me: int) -> None:
        """Callbacks run without the lock, and in order: this thread stays the reader until they are through."""
        before, self._reader = self._reader, me
        self._cond.release()
        try:
            link.session.run_calls()
        finally:
            self._cond.acquire()
            self._reader = before
            if self._others:
                self._cond.notify_all()

    # The connection.

    def _connected(self) -> Link:
        """The connection to use, opened where there is none, or where the old one died in silence."""
        link = self._link
        if link is not None:
            if monotonic() - link.used < _SILENCE or not link.session.idle or self._reader is not None:
                return link
            try:
                data = link.transport.recv(0.0)
                if data is None:
                    return link
                if data:
                    link.session.receive(data)
                    return link
                self._lose(link, "the server closed it")
            except (ConnectionLost, RemoteProtocolError) as error:
                self._lose(link, str(error))
            if self._link is not None:
                return self._link
        return self._open()

    def _open(self) -> Link:
        problems: list[str] = []
        for server in self._pool.candidates(monotonic()):
            try:
                transport = connect(server, self._context, self._connect_timeout)
            except ConnectionLost as error:
                self._pool.failed(server, monotonic())
                problems.append(str(error))
                continue
            self._pool.succeeded(server)
            self._link = Link(transport, ClientSession(str(server), exceptions=self._exceptions))
            return self._link
        raise NoServersAvailable(f"no job server could be reached ({'; '.join(problems)})")

    def _lose(self, link: Link, cause: str) -> None:
        """A connection ended. What surely did not leave goes to the next server."""
        if self._link is not link:
            return
        self._link = None
        link.transport.close()
        self._pool.failed(link.transport.server, monotonic())
        unsent = link.session.lost(cause)
        while unsent:
            try:
                link = self._open()
            except GeartrainError as error:
                for task in unsent:
                    task.fail(error)
                return
            for task in unsent:
                link.session.submit(task)
            try:
                self._write(link)
                return
            except ConnectionLost as error:
                self._link = None
                link.transport.close()
                self._pool.failed(link.transport.server, monotonic())
                unsent = link.session.lost(str(error))

    def _forked(self) -> None:
        """This process is a child: the connection belongs to the parent, whose server must not see it end."""
        link = self._link
        self._reset()
        if link is not None:
            link.transport.close()

    def close(self) -> None:
        """Ends the connection. Tasks that are not done fail with `ConnectionLost`."""
        if os.getpid() != self._pid:
            self._forked()
            return
        with self._cond:
            link, self._link = self._link, None
            if link is None:
                return
            link.transport.shutdown()
            link.transport.close()
            for task in link.session.lost("the client was closed"):
                task.fail(ConnectionLost("the client was closed before the job was sent"))
            self._cond.notify_all()
