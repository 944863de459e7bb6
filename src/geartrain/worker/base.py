"""What the sync and the asyncio worker have in common: settings, the functions they can do, and how a task ends.

Owns the table of functions and the rule what a task's outcome means on the wire. Must not know sockets or how
tasks are run.
"""

import inspect
import logging
import os
import ssl as ssl_module
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from geartrain.client.address import Server, Servers, parse_servers
from geartrain.client.pool import Pool
from geartrain.client.request import Name, function_bytes, name_bytes, payload_bytes
from geartrain.client.tls import Tls
from geartrain.errors import ConfigError, JobFailed, LocalProtocolError
from geartrain.protocol.commands import Command
from geartrain.worker.job import Job, JobEnd
from geartrain.worker.mapping import Aggregate
from geartrain.worker.session import Slots, WorkerSession

__all__ = ["BaseWorker", "Registered"]

logger = logging.getLogger("geartrain.worker")

F = TypeVar("F", bound=Callable[..., Any])
File = str | os.PathLike[str]
_COMPLETED: Final = JobEnd.COMPLETE
_COMPLETE: Final = int(Command.WORK_COMPLETE)
_FAIL: Final = int(Command.WORK_FAIL)
_EXCEPTION: Final = int(Command.WORK_EXCEPTION)


class Registered:
    """One function that a worker can do.

    Attributes:
        call: the user's function.
        timeout: what the server is told, in milliseconds; 0 for no limit.
        aggregate: puts reducers' results together, for a job that names a reducer; or None.
        asynchronous: whether `call` is a coroutine function.
        waits: whether a job of it once did not end in its first step, as far as an `AsyncWorker` has seen.
    """

    __slots__ = ("aggregate", "asynchronous", "call", "timeout", "waits")

    def __init__(self, call: Callable[[Job], Any], timeout: int, aggregate: Aggregate | None) -> None:
        self.call = call
        self.aggregate = aggregate
        self.timeout = timeout
        self.waits = False
        self.asynchronous = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
            getattr(call, "__call__", None)  # noqa: B004 - an object with an async __call__
        )


class BaseWorker(ABC):
    """Settings of a worker.

    Args:
        servers: ``"host1,host2:4730"`` or a list; without it GEARMAN_SERVERS, then localhost:4730. All are served.
        concurrency: how many jobs may run at once.
        client_id: what the server shows for this worker.
        namespace: put before every function name.
        connect_timeout: seconds to try one server, name look-up and TLS included.
        stop_timeout: seconds that running jobs get to end once the worker is to stop; None for no limit. What is
            not done then goes back to the server.
        handle_signals: whether `work` stops on SIGTERM and SIGINT (only where it runs in the main thread).
        ssl, ssl_ca_file, ssl_certificate, ssl_key, ssl_check_hostname: see `geartrain.client.tls.Tls`. With any of
            the first four, nothing is ever sent in plain text.

    Raises:
        ConfigError: a setting cannot be used.
    """

    _job_type: type[Job] = Job

    def __init__(
        self,
        servers: Servers = None,
        *,
        concurrency: int = 1,
        client_id: Name = b"",
        namespace: Name = b"",
        connect_timeout: float = 5.0,
        stop_timeout: float | None = 30.0,
        handle_signals: bool = True,
        ssl: bool | ssl_module.SSLContext = False,
        ssl_ca_file: File | None = None,
        ssl_certificate: File | None = None,
        ssl_key: File | None = None,
        ssl_check_hostname: bool = True,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"a worker runs at least one job at a time, not {concurrency}")
        self.pool = Pool(parse_servers(servers))
        self.concurrency = concurrency
        self.client_id = name_bytes(client_id, "client id")
        self.namespace = name_bytes(namespace, "namespace")
        self.connect_timeout = connect_timeout
        self.stop_timeout = stop_timeout
        self.handle_signals = handle_signals
        self._tls = Tls(ssl, ssl_ca_file, ssl_certificate, ssl_key, ssl_check_hostname).context()
        self._functions: dict[bytes, Registered] = {}
        self._calls: dict[bytes, Registered] = {}  # these, and those taken back: a job may be on its way
        self._slots = Slots(concurrency)
        self._without_all_yours: set[Server] = set()
        self._set_up()

    @abstractmethod
    def _set_up(self) -> None:
        """What the shell adds."""

    # Functions.

    def register(
        self,
        function: Name,
        call: Callable[[Any], Any],
        *,
        timeout: float | None = None,
        aggregate: Aggregate | None = None,
    ) -> None:
        """Offers a function; also while the worker runs.

        Args:
            function: its name.
            call: is given the `Job` (by an `AsyncWorker` the `AsyncJob`) and returns bytes, text or None.
            timeout: seconds that a job may take; the server gives it to another worker then. Servers round what is
                below one second up to one.
            aggregate: for jobs that name a reducer: what the function sends with `Job.send_data` becomes jobs of
                the reducer, this makes one result of the list of theirs, and that is the job's. The reducer needs
                another worker, or a free place in this one.

        Raises:
            LocalProtocolError: the name or the timeout cannot be sent.
            ConfigError: this kind of worker cannot run this kind of function.
        """
        name = function_bytes(function, self.namespace)
        if timeout is not None and not 0 < timeout < 4_000_000:
            raise LocalProtocolError(f"a timeout is a positive number of seconds, not {timeout}")
        milliseconds = 0 if timeout is None else max(1, round(timeout * 1000))
        registered = Registered(call, milliseconds, aggregate)
        self._accept(registered, function)
        self._functions[name] = self._calls[name] = registered
        self._each_session(lambda session: session.can_do(name, registered.timeout))

    def unregister(self, function: Name) -> None:
        """Takes a function back. Jobs of it that run go on; the server is told when they have ended.

        Raises:
            KeyError: it is not registered.
        """
        name = function_bytes(function, self.namespace)
        del self._functions[name]
        self._each_session(lambda session: session.cant_do(name))

    @overload
    def task(self, function: F, /) -> F: ...

    @overload
    def task(
        self, function: Name | None = None, *, timeout: float | None = None, aggregate: Aggregate | None = None
    ) -> Callable[[F], F]: ...

    def task(
        self,
        function: Name | F | None = None,
        *,
        timeout: float | None = None,
        aggregate: Aggregate | None = None,
    ) -> F | Callable[[F], F]:
        """`register` as a decorator: ``@worker.task("reverse")``, or ``@worker.task`` to take the function's name."""
        if callable(function):
            self.register(function.__name__, function, timeout=timeout, aggregate=aggregate)
            return function

        def decorate(call: F) -> F:
            self.register(call.__name__ if function is None else function, call, timeout=timeout, aggregate=aggregate)
            return call

        return decorate

    @property
    def functions(self) -> tuple[bytes, ...]:
        """The names of what the worker can do, without the namespace."""
        return tuple(name[len(self.namespace) :] for name in self._functions)

    def set_id(self, client_id: Name) -> None:
        """Changes what the servers show for this worker."""
        self.client_id = name_bytes(client_id, "client id")
        self._each_session(lambda session: session.set_id(self.client_id))

    @abstractmethod
    def _accept(self, registered: Registered, function: Name) -> None:
        """Refuses what this kind of worker cannot run."""

    @abstractmethod
    def _each_session(self, act: Callable[[WorkerSession], None]) -> None:
        """Does something to every connection, and writes what comes of it."""

    # Sessions.

    def _new_session(self, server: Server, all_yours: bool) -> WorkerSession:
        # A copy: this may be the thread of a connection, while another registers a function.
        # Two servers that both give without being asked could fill one slot twice.
        return WorkerSession(
            str(server),
            self._slots,
            {name: registered.timeout for name, registered in self._functions.copy().items()},
            client_id=self.client_id,
            job_type=self._job_type,
            all_yours=all_yours and len(self.pool.servers) == 1 and server not in self._without_all_yours,
        )

    def _note_loss(self, server: Server, session: WorkerSession) -> None:
        """Learns from a connection's end: only one that answered counts as a success, so that the waits grow.

        A server that hangs up before it answers anything may be one that cannot bear ALL_YOURS.
        """
        if session.answered:
            self.pool.succeeded(server)
        else:
            self._without_all_yours ^= {server}

    # How a task ends.

    def _prepare(self, job: Job) -> Registered | None:
        if self.namespace:
            job.function = job.wire[len(self.namespace) :]
            job.reducer = job.reducer.removeprefix(self.namespace)
        return self._calls.get(job.wire)

    def _completed(self, job: Job, result: object) -> bytes | None:
        """The packet for what a task returned; None where it has ended its job itself."""
        if job.end is not None:
            return None
        try:
            if type(result) is bytes:
                data = result
            else:
                data = b"" if result is None else payload_bytes(result)  # type: ignore[arg-type]
        except TypeError as error:
            return self._raised(job, error)
        job.end = _COMPLETED
        return job.packet(_COMPLETE, data)

    def _raised(self, job: Job, error: BaseException) -> bytes | None:
        """The packet for what a task raised, and the log's line.

        `JobFailed` is a task's way to say WORK_FAIL. Everything else goes out as WORK_EXCEPTION, which ends the job
        too; the server makes a failure of it for clients that did not ask for exceptions.
        """
        if isinstance(error, JobFailed):
            logger.info("%r failed: %s", job, error)
            if job.end is not None:
                return None
            job.end = JobEnd.FAIL
            return job.packet(_FAIL, None)
        logger.error("%r raised an exception", job, exc_info=error)
        if job.end is not None:
            return None
        job.end = JobEnd.EXCEPTION
        text = f"{type(error).__name__}: {error}"
        return job.packet(_EXCEPTION, text.encode("utf-8", "backslashreplace"))

    def _unknown(self, job: Job) -> bytes:
        """The packet for a job that this worker never offered to do."""
        logger.error("%r came, but this worker has no such function; it is reported as failed", job)
        job.end = JobEnd.FAIL
        return job.packet(_FAIL, None)


def names(functions: Iterable[bytes]) -> str:
    """Function names for a message."""
    return ", ".join(name.decode("utf-8", "backslashreplace") for name in functions)
