"""JobServer: the parts put together: engine, ports, committer, and the way they start and stop.

Owns the life of a server. Knows nothing of command lines, daemons and signals (cli/, daemon.py).
"""

import asyncio
import importlib
import logging
import os
import sys
import time
from time import monotonic
from typing import TYPE_CHECKING, Final

import geartrain
from geartrain.engine.engine import Engine
from geartrain.engine.journal import Journal
from geartrain.engine.options import About, EngineOptions
from geartrain.errors import ConfigError, StoreLocked, StoreUnavailable
from geartrain.server.committer import Committer
from geartrain.server.config import Config, parse_address
from geartrain.server.listener import Hub, Listener, open_sockets
from geartrain.server.logs import NOTICE
from geartrain.server.loop import LoopReactor, reactor_of
from geartrain.server.replay import replay
from geartrain.server.tls import server_context
from geartrain.server.turn import Turn
from geartrain.stores import find
from geartrain.stores.base import Store

if TYPE_CHECKING:
    from geartrain.http.serve import HttpServer
    from geartrain.server.loop import Reactor

__all__ = ["JobServer", "handle_prefix"]

logger = logging.getLogger("geartrain.server")

_SWEEP_EVERY: Final = 1.0
_LAST_REPLIES: Final = 2.0
"""Seconds that a stop waits for those who read their replies slowly."""
_LOOK_AGAIN: Final = 0.02
_STOP_WAIT: Final = 20.0
"""Seconds that a stop waits for the store to take what was finished."""
_STOP_WAIT_LAZY: Final = 600.0
"""The same with --store-queue-on-shutdown, where the whole queue is written then."""


def handle_prefix(config: Config) -> bytes:
    """What all handles of a server begin with, as gearmand makes it: ``H:<nodename>:``."""
    return (config.job_handle_prefix or f"H:{os.uname().nodename}").encode() + b":"


class JobServer:
    """A Gearman job server in the running event loop.

    Args:
        config: the settings.
        store: the durable queue; None opens the one that the settings name.
    """

    def __init__(self, config: Config, store: Store | None = None) -> None:
        self.config = config
        self._store = store
        self._listeners: list[Listener] = []
        self._committer: Committer | None = None
        self._replay: asyncio.Task[int] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._stopping = False
        self._hurried = False
        self.http: HttpServer | None = None
        self.started = monotonic()

    # ---- start

    async def start(self) -> None:
        """Opens the queue and the ports, and begins to load stored jobs.

        Raises:
            ConfigError: an address or a queue cannot be used as the settings say.
            StoreError: the queue cannot be opened.
        """
        config = self.config
        loop = asyncio.get_running_loop()
        self._loop = loop
        prefix = handle_prefix(config)
        store = self._store
        if store is None and config.queue_type != "builtin":
            store = self._store = find(config.queue_type).from_options(config.queue_options, prefix)
        first_number = 1 if store is None else await self._open(store)
        options = EngineOptions(
            handle_prefix=prefix,
            attempts=config.job_retries,
            exceptions=config.exceptions,
            by_priority=config.compat != "1.1",
            rotate=config.round_robin or config.compat != "1.1",
        )
        about = About(
            f"{config.compat}.0+geartrain-{geartrain.__version__}".encode(),
            config.verbose.encode(),
            config.allow_shutdown,
            self._shutdown_asked,
        )
        self.engine = Engine(
            options, None if store is None else Journal(lazy=store.write_on_stop), time.time, about, first_number
        )
        self._reactor = reactor_of(loop)
        self._hub = Hub(self.engine, self._reactor, config, server_context(config))
        self._turn = Turn(self.engine)
        self._reactor.at_turn(self._turn.end)
        try:
            self._listen()
            if config.http:
                self.http = self._start_http()
        except BaseException:
            self._close_ports()
            self._reactor.at_turn(None)
            if store is not None:
                store.close()
            raise
        if store is not None:
            self._committer = Committer(self.engine, store, loop, self._reactor, config.store_wait, self.changed)
            self._turn.committer = None if store.write_on_stop else self._committer
            self._replay = asyncio.create_task(replay(self.engine, store, self.changed))
        self._sweeper = loop.call_later(_SWEEP_EVERY, self._sweep)

    async def _open(self, store: Store) -> int:
        """Opens the store; one that cannot be reached yet gets some time, since services start in any order."""
        until = monotonic() + self.config.store_wait
        told = ""
        while True:
            try:
                return await self._loop.run_in_executor(None, store.open)
            except StoreLocked:
                raise
            except StoreUnavailable as error:
                if monotonic() >= until:
                    raise
                if str(error) != told:
                    told = str(error)
                    logger.error("the queue cannot be opened yet, trying for %g s: %s", self.config.store_wait, error)
                await asyncio.sleep(0.5)

    def _listen(self) -> None:
        config = self.config
        addresses = [parse_address(text, config.port) for text in config.listen]
        try:
            for address in addresses or [parse_address("*", config.port)]:
                for sock in open_sockets(address, config):
                    self._listeners.append(Listener(self._hub, sock, self._loop.call_later))
        except BaseException:
            self._close_ports()
            raise

    def _start_http(self) -> "HttpServer":
        """HTTP is an extra, and this ring knows nothing of it but its name."""
        try:
            module = importlib.import_module("geartrain.http.serve")
        except ImportError as error:
            if (error.name or "").partition(".")[0] in {"geartrain", *sys.stdlib_module_names}:
                raise ConfigError(  # after --user
                    f"HTTP needs the module {error.name}, and this user cannot read it. Install Python and geartrain "
                    f"where everybody may read them; they are in {sys.base_prefix} and {sys.prefix}."
                ) from error
            raise ConfigError(
                f"HTTP needs the package {error.name}. Install it with: pip install 'geartrain[http]'"
            ) from error
        http: HttpServer = module.start(self)
        return http

    @property
    def reactor(self) -> "Reactor":
        """What watches the server's sockets on this loop."""
        return self._reactor

    @property
    def http_addresses(self) -> list[str]:
        """The URLs of HTTP, empty without it."""
        return [] if self.http is None else self.http.addresses

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""
        return [listener.address for listener in self._listeners]

    @property
    def port(self) -> int:
        """The first TCP port, 0 for none."""
        return next((listener.port for listener in self._listeners if listener.port), 0)

    @property
    def ready(self) -> bool:
        """Whether it listens and all stored jobs are loaded."""
        return bool(self._listeners) and (self._replay is None or self._replay.done()) and not self._stopping

    @property
    def store_down(self) -> str:
        """Why the durable queue takes nothing at the moment; empty while all is well."""
        return "" if self._committer is None else self._committer.down

    # ---- turns

    def changed(self) -> None:
        """The engine was changed outside of a watched socket: has the turn's end come."""
        if isinstance(self._reactor, LoopReactor):
            self._reactor.wake()

    def _sweep(self) -> None:
        self._hub.sweep()
        if isinstance(self._reactor, LoopReactor):
            self._reactor.check()
        self._sweeper = self._loop.call_later(_SWEEP_EVERY, self._sweep)

    # ---- stop

    def reload(self) -> None:
        """Reads the certificates again, for new connections. Broken files leave the old ones in use, and are logged."""
        try:
            self._hub.tls = server_context(self.config)
        except ConfigError as error:
            logger.error("the old certificate stays in use: %s", error)
        if self.http is not None:
            self.http.reload()

    def _shutdown_asked(self, graceful: bool) -> None:
        """`shutdown` of the text protocol."""
        logger.log(NOTICE, "shutdown%s was asked for", " graceful" if graceful else "")
        self._drain = asyncio.ensure_future(self.drain(None if graceful else 0.0))

    async def drain(self, deadline: float | None) -> None:
        """Takes no new connections, lets jobs finish, and stops.

        Args:
            deadline: seconds to wait for running jobs, while no more are given out; None serves the connections
                that are open until they are closed, or nothing is queued or running for them.
        """
        self._close_ports()
        engine = self.engine
        until = None if deadline is None else monotonic() + deadline
        engine.draining = until is not None
        while self._hub.connections if until is None else monotonic() < until:
            if not self._unfinished(graceful=until is None):
                break
            await asyncio.sleep(0.02)
        await self.stop()

    def _unfinished(self, graceful: bool) -> bool:
        """Whether jobs run, or (when everything shall be served) wait and would be lost with the server."""
        jobs = self.engine.jobs
        if self.engine.running:
            return True
        durable = self._committer is not None
        return graceful and any(not (durable and job.background) for job in jobs.values())

    async def stop(self, at_once: bool = False) -> None:
        """Stops: what is finished is written, connections are closed.

        Args:
            at_once: does not wait for a store that hangs or a client that does not read, nor does a stop that has
                begun before.
        """
        self._hurried = self._hurried or at_once
        if at_once and self._committer is not None:
            self._committer.hurry()
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        self._close_ports()
        self._sweeper.cancel()
        self.engine.draining = True
        self._hub.read_no_more()  # what came now could not be written any more
        if self._replay is not None:
            self._replay.cancel()
            await asyncio.wait([self._replay])
        if self._committer is not None:
            lazy = self._store is not None and self._store.write_on_stop
            begun = monotonic()
            if not await self._committer.close(_STOP_WAIT_LAZY if lazy else _STOP_WAIT):
                logger.error(
                    "the store did not take all changes in %.1f s: %s", monotonic() - begun,
                    "the queue is as it was at the start" if lazy else "finished jobs may run again",
                )  # fmt: skip
        self._turn.end()
        await self._send_the_rest()
        if self.http is not None:
            await self.http.close()
        self._reactor.at_turn(None)
        self._hub.close_all()
        self._hub.pipes.close()
        self._stopped.set()

    async def _send_the_rest(self) -> None:
        """Lets those who are reading their replies read on for a moment: a large result may be half sent."""
        until = monotonic() + _LAST_REPLIES
        while self._hub.sends and monotonic() < until and not self._hurried:  # noqa: ASYNC110 - nobody rings on each write
            await asyncio.sleep(_LOOK_AGAIN)

    async def wait_closed(self) -> None:
        """Waits until the server has stopped."""
        await self._stopped.wait()

    def _close_ports(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
