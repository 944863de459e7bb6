"""The sync client's connection, and the turns that threads take at reading it.

Owns the one connection of a `Client`: opening it, failing over, writing, and reading. There is no thread of its
own: whoever waits reads, for itself and for everybody else, and the other threads wait until it is done or take
over. One thread alone so pays for no hand-over. Must not know what the packets mean: that is the session's.
"""

import logging
import os
import ssl
from collections.abc import Sequence
from threading import Condition, Lock, get_ident
from time import monotonic
from typing import Any, Final, Protocol

from geartrain.client.flow import to_gather
from geartrain.client.pool import Doubt, Pool, silent
from geartrain.client.session import ClientSession
from geartrain.client.sockets import SHORT, Transport, connect
from geartrain.client.task import BaseTask, Pending, describe
from geartrain.errors import ConnectionLost, GeartrainError, NoServersAvailable, RemoteProtocolError, RequestTimeout
from geartrain.protocol.commands import Command

__all__ = ["Awaited", "Driver"]

logger = logging.getLogger("geartrain.client")

_SILENCE: Final = 0.01
"""Seconds after which an idle connection is looked at before a job is trusted to it."""


class Awaited(Protocol):
    """Anything that one can wait for."""

    @property
    def done(self) -> bool:
        """Whether waiting is over."""


class Link:
    """One connection: socket and session."""

    __slots__ = ("blocked", "doubt", "gather", "session", "transport", "used")

    def __init__(self, transport: Transport, session: ClientSession) -> None:
        self.transport = transport
        self.session = session
        self.used = monotonic()  # when something came last
        self.doubt = Doubt()
        self.blocked = False  # there is more to write than the system took
        self.gather = 0  # bytes to wait for


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
        self._cond = Condition(Lock())  # guards all that follows, the session included
        self._link: Link | None = None
        self._reader: int | None = None  # the thread that reads at the moment
        self._others = 0  # how many wait for it
        self._pid = os.getpid()

    # Sending, and waiting.

    def start(self, tasks: Sequence[BaseTask], timeout: float | None) -> None:
        """Sends tasks. Those that no server can have seen go to the next server when one fails.

        Where the server takes no more for so many seconds, the rest waits for whoever waits for a task.

        Raises:
            NoServersAvailable: no server could be reached.
        """
        with self._cond:
            link = self._connected()
            for task in tasks:
                link.session.submit(task)
            self._write(link)
            if link.blocked:
                self._flush(None if timeout is None else monotonic() + timeout)

    def run(self, task: BaseTask, timeout: float | None) -> None:
        """Sends a task and reads until it is done. Raises as `start` and `wait`."""
        with self._cond:
            link = self._connected()
            session = link.session
            session.submit(task)
            self._write(link)
            if (
                self._reader is None
                and link.transport.waits_for_more
                and session.single
                and session.confirmation
                and not link.blocked
                and (timeout is None or timeout > SHORT)
            ):
                self._read(link, SHORT, get_ident(), session.confirmation)
                if timeout is not None:
                    timeout -= SHORT
            if not task.done:
                self._read_until(task, timeout, task)

    def ask(self, command: Command, key: bytes, timeout: float | None) -> Any:
        """Asks the server something and waits for the reply; once more where the connection ends meanwhile.

        Raises:
            RequestTimeout, ConnectionLost, ServerError: there is none.
        """
        for attempt in (1, 2):  # a question changes nothing, so it may be asked twice
            pending = Pending(key)
            with self._cond:
                link = self._connected()
                link.session.ask(command, pending)
                self._write(link)
                self._read_until(pending, timeout, None)
            if pending.error is None:
                break
            if attempt == 2 or not isinstance(pending.error, ConnectionLost):
                raise pending.error
        return pending.value

    def wait(self, awaited: Awaited, timeout: float | None, task: BaseTask | None = None) -> None:
        """Reads until something is done.

        Args:
            awaited: what.
            timeout: in seconds, None for ever.
            task: what the error's text speaks of.

        Raises:
            RequestTimeout: it is not, after so many seconds.
        """
        with self._cond:
            self._read_until(awaited, timeout, task)

    def _read_until(self, awaited: Awaited, timeout: float | None, task: BaseTask | None) -> None:
        deadline = None if timeout is None else monotonic() + timeout
        me = get_ident()
        remaining: float | None = None
        while not awaited.done:
            if deadline is not None:
                remaining = deadline - monotonic()
                if remaining <= 0:
                    self._doubt(deadline - timeout, me)  # type: ignore[operator]
                    raise RequestTimeout(f"{describe(task)} did not come within {timeout:g} s")
            if self._reader is not None and self._reader != me:
                self._others += 1
                self._cond.wait(remaining)
                self._others -= 1
                continue
            link = self._link
            if link is None:
                raise ConnectionLost("the client was closed")
            self._read(link, remaining, me, link.gather if remaining is None or remaining > SHORT else 0)

    def _doubt(self, since: float, me: int) -> None:
        """Somebody waited in vain. A server that does not even confirm is left for another: it may be stopped."""
        link = self._link
        if link is None or not link.session.doubtful or len(self._pool.servers) == 1:
            return
        seconds = link.doubt.grow(since, link.used, monotonic())
        if seconds < self._connect_timeout:
            return
        link.transport.shutdown()  # another thread may be reading
        self._lose(link, silent(link.transport.server, seconds))
        if link.session.calls:
            self._run_calls(link, me)
        if self._others:
            self._cond.notify_all()

    def _write(self, link: Link) -> None:
        """Writes what goes without waiting."""
        session, transport = link.session, link.transport
        try:
            data = session.pending()
            while data:
                count = transport.send(data)
                if not count:
                    link.blocked = True
                    return
                data = session.sent(count)
            link.blocked = False
        except ConnectionLost as error:
            self._lose(link, str(error))

    def _flush(self, deadline: float | None) -> None:
        """Writes the rest, and reads meanwhile: a server whose answers nobody takes may stop listening."""
        me = get_ident()
        while (link := self._link) is not None and link.blocked:
            remaining = None if deadline is None else deadline - monotonic()
            if remaining is not None and remaining <= 0:
                return
            if self._reader is None or self._reader == me:
                self._read(link, remaining, me)
                continue
            self._cond.release()  # another thread reads; this one only writes
            try:
                link.transport.wait(1.0 if remaining is None else min(1.0, remaining), read=False, write=True)
            except ConnectionLost:
                logger.debug("the connection to %s ended while a job was sent", link.transport.server)
            finally:
                self._cond.acquire()
            if self._link is link:
                self._write(link)

    def _read(self, link: Link, timeout: float | None, me: int, more_than: int = 0) -> None:
        """Reads once, with the lock given up meanwhile, and runs the callbacks that are due."""
        cond = self._cond
        before, self._reader = self._reader, me
        cond.release()
        try:
            if link.blocked:
                link.transport.wait(timeout, write=True)
                timeout, more_than = 0.0, 0
            data = link.transport.recv_more_than(more_than) if more_than else link.transport.recv(timeout)
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
                self._write(link)
            if data:
                link.session.receive(data)
                now = monotonic()
                if link.transport.waits_for_more:
                    link.gather = to_gather(len(data), now - link.used, link.session)
                link.used = now
            elif data is None:
                link.gather = 0
            else:
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
        if os.getpid() != self._pid:
            self._forked()
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
        if not unsent:
            return
        try:
            link = self._open()
        except GeartrainError as error:
            for task in unsent:
                task.fail(error)
            return
        for task in unsent:
            link.session.submit(task)
        self._write(link)  # which comes back here where this one ends too

    def _forked(self) -> None:
        """This process is a child: the connection belongs to the parent, whose server must not see it end."""
        link = self._link
        self._link = self._reader = None
        self._others = 0
        self._pid = os.getpid()
        if link is not None:
            link.transport.close()  # without a shutdown: that would end the parent's too

    def close(self) -> None:
        """Ends the connection. Tasks that are not done fail with `ConnectionLost`."""
        with self._cond:
            if os.getpid() != self._pid:
                self._forked()
                return
            link, self._link = self._link, None
            if link is None:
                return
            link.transport.shutdown()
            link.transport.close()
            for task in link.session.lost("the client was closed"):
                task.fail(ConnectionLost("the client was closed before the job was sent"))
            if link.session.calls:
                self._run_calls(link, get_ident())
            self._cond.notify_all()
