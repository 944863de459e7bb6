"""A job server as a process: from settings to an exit status.

Owns the order in which limits, user, detaching, pid file, log, server and HTTP come and go, and the signals.
Knows nothing of what the server does in between, nor how the settings were read.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from geartrain import __version__
from geartrain.errors import ConfigError, GeartrainError
from geartrain.server import daemon
from geartrain.server.collector import Collector
from geartrain.server.config import Config
from geartrain.server.logs import NOTICE, Logs
from geartrain.server.loop import check_loop, run
from geartrain.server.notify import Notifier
from geartrain.server.server import JobServer
from geartrain.server.sources import Settings
from geartrain.server.tls import server_context
from geartrain.stores import find

__all__ = ["Announce", "answer_check", "check", "http_missing", "serve"]

logger = logging.getLogger("geartrain.server")

Announce = Callable[[JobServer, "list[str]"], None]
"""Called once the server is ready, with the URLs of HTTP (none without it)."""

_HTTP_NEEDS: Final = ("starlette", "uvicorn", "httptools", "prometheus_client")


def http_missing() -> str:
    """What HTTP lacks on this machine, as a sentence. Empty when it can run."""
    missing = [name for name in _HTTP_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return f"The HTTP gateway (-r http) needs {', '.join(missing)}. Install it with: pip install 'geartrain[http]'"
    return ""


def check(config: Config) -> None:
    """Looks at everything that can be known to be wrong without opening a port or a queue.

    Raises:
        ConfigError: with what is missing, and how to get it.
    """
    find(config.queue_type).from_options(config.queue_options, b"H:check:")
    server_context(config)
    check_loop(config.loop)
    if config.user:
        daemon.find_user(config.user)
    if config.http:
        if reason := http_missing():
            raise ConfigError(reason)
        from geartrain.http.access import read_token

        read_token(config, os.environ)


def answer_check(settings: Settings, program: str) -> int:
    """Does what ``--check-args`` asks for: `check`, and the warnings that the log would begin with.

    Returns:
        the exit status 0.

    Raises:
        ConfigError: from `check`.
    """
    check(settings.config)
    for note in settings.notes:
        if note.level >= logging.WARNING:
            print(f"{program}: warning: {note.text}", file=sys.stderr)
    return 0


def serve(settings: Settings, program: str, announce: Announce | None = None) -> int:
    """Runs a job server until a signal or the text command ``shutdown`` ends it.

    Args:
        settings: with the notes that the log shall begin with.
        program: the name before messages.
        announce: called once everything is open.

    Returns:
        the exit status: 0 after an orderly end, 1 when it could not start (the reason is printed and logged).
    """
    launcher: daemon.Launcher | None = None

    def complain(reason: str) -> None:
        if launcher is not None:
            launcher.failed(f"{program}: {reason}")
        else:
            print(f"{program}: {reason}", file=sys.stderr)

    try:
        check(settings.config)
        _prepare(settings.config)
        if settings.config.daemon:
            launcher = daemon.detach()
        with _pid_file(settings) as notes, _logging(settings.config, program) as logs:
            for level, text in (*settings.notes, *notes):
                logger.log(level, "%s", text)
            try:
                return _run(settings.config, logs, launcher, announce)
            except (GeartrainError, OSError) as error:
                if not logs.on_terminal:
                    logger.error("%s", error)
                raise
    except (GeartrainError, OSError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _prepare(config: Config) -> None:
    daemon.raise_descriptors(config.file_descriptors)
    if config.coredump:
        daemon.allow_core()
    if config.user:
        daemon.switch_user(config.user)


@contextlib.contextmanager
def _pid_file(settings: Settings) -> Iterator[list[tuple[int, str]]]:
    """gearmand: the default pid file is written where that can be done; one that was asked for must be."""
    notes: list[tuple[int, str]] = []
    if not settings.config.pid_file:
        yield notes
        return
    pid_file = daemon.PidFile(settings.config.pid_file)
    try:
        pid_file.acquire()
    except ConfigError as error:
        if settings.chosen("pid_file"):
            raise
        notes.append((logging.INFO, f"there is no pid file: {error}"))
    try:
        yield notes
    finally:
        pid_file.release()


@contextlib.contextmanager
def _logging(config: Config, program: str) -> Iterator[Logs]:
    logs = Logs(config, program)
    try:
        yield logs
    finally:
        logs.close()


def _run(config: Config, logs: Logs, launcher: daemon.Launcher | None, announce: Announce | None) -> int:
    async def main() -> int:
        server = JobServer(config)
        notifier = Notifier(os.environ)
        await server.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                _Signals(server, config, logs, notifier, tasks).install()
                urls = server.http_addresses
                logger.log(
                    NOTICE, "geartrain %s listens on %s with pid %d",
                    __version__, ", ".join([*server.addresses, *urls]), os.getpid(),
                )  # fmt: skip
                notifier.ready(f"listening on {', '.join(server.addresses)}")
                collector = Collector(server.engine.jobs)
                collector.calm()
                if launcher is not None:
                    launcher.ready()
                if announce is not None:
                    announce(server, urls)
                besides = [tasks.create_task(_pulse(notifier)), tasks.create_task(collector.run())]
                await server.wait_closed()
                for task in besides:
                    task.cancel()
        finally:
            await server.stop()
        logger.log(NOTICE, "stopped")
        return 0

    return run(main, config.loop)


async def _pulse(notifier: Notifier) -> None:
    """Tells systemd's watchdog that the event loop turns."""
    while notifier.watchdog_interval:
        notifier.alive()
        await asyncio.sleep(notifier.watchdog_interval)


class _Signals:
    """What each signal does, once the server runs."""

    def __init__(
        self, server: JobServer, config: Config, logs: Logs, notifier: Notifier, tasks: asyncio.TaskGroup
    ) -> None:
        self._server = server
        self._drain_timeout = config.drain_timeout
        self._logs = logs
        self._notifier = notifier
        self._tasks = tasks
        self._ending = False

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number, handler in (
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
            (signal.SIGUSR1, self._end_gracefully),
            (signal.SIGHUP, self._reload),
        ):
            loop.add_signal_handler(number, handler)

    def _end(self) -> None:
        """The first signal lets running jobs finish for a while, the second ends at once."""
        if self._ending:
            logger.log(NOTICE, "a second signal: stopping at once")
            self._start(self._server.stop(at_once=True))
        else:
            logger.log(NOTICE, "stopping; running jobs have %g s", self._drain_timeout)
            self._start(self._server.drain(self._drain_timeout))

    def _end_gracefully(self) -> None:
        """gearmand waits until the last connection is closed; we leave before, when no job is left for any of them."""
        logger.log(NOTICE, "stopping as soon as the running jobs are done")
        self._start(self._server.drain(None))

    def _start(self, end: Coroutine[Any, Any, None]) -> None:
        self._ending = True
        self._notifier.stopping()
        self._tasks.create_task(end)

    def _reload(self) -> None:
        self._notifier.reloading()
        self._logs.reopen()
        self._server.reload()
        logger.log(NOTICE, "reloaded: the log file is open anew; certificates and token, if any, were read again")
        self._notifier.ready(f"listening on {', '.join(self._server.addresses)}")
