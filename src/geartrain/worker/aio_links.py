"""The asyncio worker's connections.

Owns reaching every server, coming back after a loss, and when to write. Must not know what a job does or who runs
it.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from time import monotonic

from geartrain.client.address import Server
from geartrain.client.aio_sockets import AioLink, open_link
from geartrain.client.pool import Pool
from geartrain.errors import ConnectionLost, RemoteProtocolError
from geartrain.worker.session import PATIENCE, WorkerSession

__all__ = ["AioLinks", "WorkerLink"]

logger = logging.getLogger("geartrain.worker")


class WorkerLink(AioLink):
    """One connection of a worker, with its session."""

    session: WorkerSession

    def __init__(self, server: Server, links: "AioLinks") -> None:
        super().__init__(server)
        self.loop = asyncio.get_running_loop()
        self.cause = ""
        self._came = links.came
        self._scheduled = False
        self._drained: list[asyncio.Future[None]] = []

    def begin(self, session: WorkerSession) -> None:
        """The connection stands."""
        self.session = session
        session.owner = self

    def taken(self, data: bytes) -> None:
        try:
            self.session.receive(data)
        except RemoteProtocolError as error:
            self.fail(str(error))
        else:
            self._came(self)

    def flush(self) -> None:
        self._scheduled = False
        transport = self.transport
        if transport is None or self.cause:
            return
        session = self.session
        while session.out and not self.paused:
            transport.write(session.take())
        if self._drained and not self.paused:
            self._wake_senders()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.unsent:
            self._came(self)  # the worker may wait for just that before it leaves

    @property
    def unsent(self) -> bool:
        """Whether there is something to write that the system has not taken."""
        return self.paused or bool(self.session.out)

    def flush_soon(self) -> None:
        """One write for all that is said in this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self.flush)

    def flush_when_due(self) -> None:
        """At once where no other job runs that could end in the same turn; that saves a turn."""
        if not self.session.jobs:
            self.flush()
        elif self.session.out:
            self.flush_soon()

    async def drained(self) -> None:
        """Waits until the connection takes more, or is gone."""
        self.flush()
        while self.paused and not self.cause:
            future = self.loop.create_future()
            self._drained.append(future)
            await future

    def _wake_senders(self) -> None:
        waiting, self._drained = self._drained, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def lost(self, cause: str) -> None:
        if not self.cause:
            self.cause = cause
            self.session.lost()
            self._wake_senders()
            self._came(self)


class AioLinks:
    """All connections of an asyncio worker.

    Args:
        pool: the servers and when to try them.
        context: TLS, or None.
        connect_timeout: seconds per server.
        new_session: makes a session for a server.
        came: told when something came by a connection, its end included.
        note_loss: told of a session that ended.

    Attributes:
        links: those that stand.
        impatient: whether somebody has something else to do than to wait for a server that does not answer: another
            server, or the end.
    """

    def __init__(
        self,
        pool: Pool,
        context: ssl.SSLContext | None,
        connect_timeout: float,
        new_session: Callable[[Server], WorkerSession],
        came: Callable[[WorkerLink], None],
        note_loss: Callable[[Server, WorkerSession], None],
    ) -> None:
        self._pool = pool
        self._context = context
        self._connect_timeout = connect_timeout
        self._new_session = new_session
        self._note_loss = note_loss
        self._tasks: list[asyncio.Task[None]] = []
        self.came = came
        self.links: dict[Server, WorkerLink] = {}
        self.impatient = len(pool.servers) > 1
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to connect to all servers, unless that is so already."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._serve(server)) for server in self._pool.servers]

    async def _serve(self, server: Server) -> None:
        """Keeps one server connected."""
        complained = hangs_up = False
        while True:
            await asyncio.sleep(max(0.0, self._pool.retry_at(server) - monotonic()))
            link = WorkerLink(server, self)
            try:
                await open_link(link, self._context, self._connect_timeout)
            except ConnectionLost as error:
                at = self._pool.failed(server, monotonic())
                if not complained:  # once per outage, not once per attempt
                    complained = True
                    logger.warning("no connection to %s; trying again, next in %.1f s", error, at - monotonic())
                continue
            complained = False
            link.begin(self._new_session(server))
            self.links[server] = link
            if not hangs_up:
                logger.info("connected to %s", server)
            try:
                self.pump()
                self.came(link)
                if hangs_up:
                    await self._greet(link)
                await asyncio.wait([link.closed])
            finally:
                del self.links[server]
            self._note_loss(server, link.session)
            at = self._pool.failed(server, monotonic())
            complained = True
            known, hangs_up = hangs_up, not link.session.answered
            jobs = len(link.session.jobs)
            logger.log(
                logging.DEBUG if known and hangs_up else logging.WARNING,  # once per outage
                "the connection to %s was lost (%s)%s; trying again in %.1f s",
                server,
                link.cause,
                f" with {jobs} jobs running, which the server gives to others" if jobs else "",
                at - monotonic(),
            )

    async def _greet(self, link: WorkerLink) -> None:
        """What accepts and hangs up, a balancer without a server say, is no end of an outage: so an answer is."""
        while not (link.session.answered or link.closed.done()):
            await asyncio.wait([link.closed], timeout=PATIENCE)
        if link.session.answered:
            logger.info("connected to %s", link.server)

    def pump(self) -> None:
        """Lets every session ask for jobs, the one first that asked longest ago, and writes what they say."""
        links: Iterable[WorkerLink] = self.links.values()
        if self.impatient:
            links = sorted(links, key=lambda link: link.session.asked)
        for link in links:
            session = link.session
            session.pump()
            if session.out:
                link.flush_when_due()
        if self.impatient:
            self._look_later()

    def hurry(self) -> None:
        """The worker is to end: from now on it waits for no server that does not answer."""
        self.impatient = True
        self._look_later()

    def _look_later(self) -> None:
        if self._timer is None and any(link.session.awaiting for link in self.links.values()):
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    def _look(self) -> None:
        """Lets nobody wait for a server that does not answer."""
        self._timer = None
        for link in list(self.links.values()):
            if link.session.look():
                self.came(link)
        self._look_later()

    async def close(self) -> None:
        """Ends every connection, and all attempts."""
        links = list(self.links.values())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for link in links:
            link.cause = link.cause or "the worker was closed"
            if link.session.out and link.transport is not None:
                link.transport.abort()  # half a packet is of no use
            link.session.lost()
        await asyncio.gather(*(link.leave() for link in links))
        self.links.clear()
