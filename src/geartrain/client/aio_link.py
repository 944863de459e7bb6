"""The asyncio client's connection.

Owns the one connection of an `AsyncClient`: opening it, failing over, and flow control: what the system does not
take stays in the session, where it still counts as unsent. Must not know what the packets mean: that is the
session's.
"""

import asyncio
import os
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from geartrain.client.address import Server
from geartrain.client.aio_prompt import Reading
from geartrain.client.aio_sockets import AioLink, open_link
from geartrain.client.flow import to_gather
from geartrain.client.pool import Doubt, Pool, silent
from geartrain.client.session import ClientSession
from geartrain.client.sockets import SHORT
from geartrain.client.task import BaseTask, Pending
from geartrain.errors import ConnectionLost, NoServersAvailable, RemoteProtocolError
from geartrain.protocol.commands import Command

__all__ = ["AsyncPending", "Linker"]

_SILENCE: Final = 0.01
"""Seconds after which an idle connection is looked at before a job is trusted to it."""

_process = object()
"""Another one in every process: asking the system for its number costs every job."""


def _forked() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class AsyncPending(Pending):
    """A question whose answer wakes a coroutine."""

    __slots__ = ("answered",)

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self, value: Any, error: Exception | None = None) -> None:
        super().finish(value, error)
        if not self.answered.done():
            self.answered.set_result(None)


class ClientLink(AioLink, Reading):
    """One connection of a client, with its session."""

    def __init__(self, server: Server, linker: "Linker") -> None:
        AioLink.__init__(self, server)
        Reading.__init__(self, asyncio.get_running_loop())
        self.linker = linker
        self.session = ClientSession(str(server), exceptions=linker.exceptions)
        self.process = _process
        self.used = monotonic()  # when something came last
        self.doubt = Doubt()
        self.over = False
        self._gathering = False
        self._scheduled = False

    def taken(self, data: bytes) -> None:
        session = self.session
        self.reading = True
        try:
            session.receive(data)
        except RemoteProtocolError as error:
            self.fail(str(error))
        finally:
            self.reading = False
            now = monotonic()
            more = to_gather(len(data), now - self.used, session)
            self.used = now
            if more or self._gathering:
                self._gathering = more > 0
                self.gather(more, SHORT)
            if session.calls:
                session.run_calls()
            due = self.due
            if due is not None:
                self.due = None
                due.go()

    def flush(self) -> None:
        self._scheduled = False
        transport = self.transport
        if transport is None or self.over:
            return
        session = self.session
        while session.out and not (self.paused or transport.is_closing()):
            transport.write(session.take())

    def flush_soon(self) -> None:
        """One write for all that is submitted in this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self.flush)

    def lost(self, cause: str) -> None:
        if self.over:
            return
        self.over = True
        self.linker.lost(self, self.session.lost(cause))
        self.session.run_calls()


class Linker:
    """Connects for an `AsyncClient`, and gives its tasks to the connection.

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
        self.exceptions = exceptions
        self._link: ClientLink | None = None
        self._tasks: list[BaseTask] = []  # these wait for a connection
        self._questions: list[tuple[Command, Pending]] = []
        self._connecting: asyncio.Task[None] | None = None

    def start(self, tasks: Sequence[BaseTask]) -> None:
        """Sends tasks, or keeps them until there is a connection."""
        link = self._usable(asyncio.get_running_loop())
        if link is None:
            self._tasks.extend(tasks)
            return
        session = link.session
        idle = session.idle
        for task in tasks:
            session.submit(task)
        link.gather(0)
        if idle:
            link.flush()  # nobody else writes in this turn yet: at once saves a turn
        else:
            link.flush_soon()

    def run(self, task: BaseTask) -> ClientLink | None:
        """As `start` for a task that nobody sees before it is done: alone, both of its packets may come at once.

        Returns:
            the connection that it went to; None where it waits for one.
        """
        link = self._usable(asyncio.get_running_loop())
        if link is None:
            self._tasks.append(task)
            return None
        session = link.session
        if session.idle:
            session.submit(task)
            link.gather(session.confirmation)
            link.flush()
        else:
            session.submit(task)
            link.gather(0)
            link.flush_soon()
        return link

    async def ask(self, command: Command, key: bytes) -> Any:
        """Asks the server something and waits for the reply; once more where the connection ends meanwhile.

        Raises:
            ConnectionLost, ServerError: there is none.
        """
        for attempt in (1, 2):  # a question changes nothing, so it may be asked twice
            pending = AsyncPending(key)
            link = self._usable(asyncio.get_running_loop())
            if link is None:
                self._questions.append((command, pending))
            else:
                link.gather(0)
                link.session.ask(command, pending)
                link.flush()
            await pending.answered
            if pending.error is None:
                break
            if attempt == 2 or not isinstance(pending.error, ConnectionLost):
                raise pending.error
        return pending.value

    def doubt(self, since: float) -> None:
        """Somebody waited in vain. A server that does not even confirm is left for another: it may be stopped."""
        link = self._link
        if link is None or not link.session.doubtful or len(self._pool.servers) == 1:
            return
        seconds = link.doubt.grow(since, link.used, monotonic())
        if seconds >= self._connect_timeout:
            link.fail(silent(link.server, seconds))

    def _usable(self, loop: asyncio.AbstractEventLoop) -> ClientLink | None:
        """The connection, if there is one that can be trusted now; otherwise one is on its way."""
        link = self._link
        if link is not None and (link.loop is not loop or link.process is not _process):
            self._forget(link)  # of another loop, or of the parent process
            link = None
        if link is None:
            if self._connecting is None or self._connecting.get_loop() is not loop:
                self._connecting = loop.create_task(self._connect())
            return None
        if monotonic() - link.used > _SILENCE and link.session.idle and link.stale():
            link.used = monotonic()
            loop.call_soon(loop.call_soon, self._retry)  # after the loop has read what came
            return None
        return link

    def _retry(self) -> None:
        if self._tasks or self._questions:
            link = self._usable(asyncio.get_running_loop())
            if link is not None:
                self._hand_over(link)

    def _hand_over(self, link: ClientLink) -> None:
        tasks, self._tasks = self._tasks, []
        questions, self._questions = self._questions, []
        for task in tasks:
            if not task.done:
                link.session.submit(task)
        for command, pending in questions:
            link.session.ask(command, pending)
        link.flush()

    async def _connect(self) -> None:
        problems: list[str] = []
        try:
            for server in self._pool.candidates(monotonic()):
                link = ClientLink(server, self)
                try:
                    await open_link(link, self._context, self._connect_timeout)
                except ConnectionLost as error:
                    self._pool.failed(server, monotonic())
                    problems.append(str(error))
                    continue
                self._pool.succeeded(server)
                self._link = link
                self._connecting = None
                self._hand_over(link)
                return
            self._give_up(NoServersAvailable(f"no job server could be reached ({'; '.join(problems)})"))
        except asyncio.CancelledError:
            self._give_up(ConnectionLost("the client was closed before the job was sent"))
            raise
        finally:
            if self._connecting is asyncio.current_task():
                self._connecting = None

    def _give_up(self, error: ConnectionLost) -> None:
        tasks, self._tasks = self._tasks, []
        questions, self._questions = self._questions, []
        for task in tasks:
            task.fail(error)
        for _, pending in questions:
            pending.finish(None, error)

    def lost(self, link: ClientLink, unsent: list[BaseTask]) -> None:
        """A connection ended. What surely did not leave waits for the next one."""
        if self._link is link:
            self._link = None
            self._pool.failed(link.server, monotonic())
        self._tasks.extend(unsent)
        if self._tasks or self._questions:
            self._usable(link.loop)

    def _forget(self, link: ClientLink) -> None:
        self._link = None
        link.over = True
        link.session.lost("it belonged to another event loop or process")
        if link.transport is not None and not link.loop.is_closed():
            link.loop.call_soon_threadsafe(link.transport.abort)

    async def close(self) -> None:
        """Ends the connection. Tasks that are not done fail with `ConnectionLost`."""
        connecting = self._connecting
        if connecting is not None and connecting.get_loop() is asyncio.get_running_loop():
            connecting.cancel()
            await asyncio.wait([connecting])
            self._connecting = None  # one that had not begun could not say so itself, nor give up
        self._give_up(ConnectionLost("the client was closed before the job was sent"))
        link, self._link = self._link, None
        if link is None or link.loop is not asyncio.get_running_loop():
            return
        link.over = True
        for task in link.session.lost("the client was closed"):
            task.fail(ConnectionLost("the client was closed before the job was sent"))
        link.session.run_calls()
        await link.leave()
