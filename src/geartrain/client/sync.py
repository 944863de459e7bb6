"""The client for ordinary code: what one calls, and the task that one gets.

Must not know how reading and writing is shared between threads (driver), nor the protocol (session).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Self

from geartrain.client.base import BaseClient
from geartrain.client.driver import Driver
from geartrain.client.request import Name, Payload, Priority, When, name_bytes, payload_bytes
from geartrain.client.task import BaseTask, JobStatus
from geartrain.errors import RequestTimeout
from geartrain.protocol.commands import Command

__all__ = ["Client", "Task"]


class Task(BaseTask):
    """A submitted job: a future, and an iterator over its data."""

    __slots__ = ()
    _client: "Client"

    def result(self, timeout: float | None = None) -> bytes:
        """Waits for the result.

        Args:
            timeout: in seconds; None means the client's.

        Returns:
            what the worker sent: the chunks that nobody took before, then the result. For a background job its
            handle, as soon as the server has it.

        Raises:
            JobFailed, JobException: the worker could not do it.
            ServerError: the server refused it.
            ConnectionLost: the connection ended; the text says what is known of the job.
            RequestTimeout: not yet. The job goes on, and `result` may be called again.
        """
        if not self.done:
            self._client._wait(self, timeout, self)
        return self._outcome()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the task is done, at most so many seconds. Returns whether it is."""
        with suppress(RequestTimeout):
            self._client._wait(self, timeout, self)
        return self.done

    def wait_created(self, timeout: float | None = None) -> bytes:
        """Waits until the server has the job. Returns its handle; raises as `result` does."""
        self._client._wait(_Created(self), timeout, self)
        if self.error is not None and not self.handle:
            raise self.error
        return self.handle

    def __iter__(self) -> Iterator[bytes]:
        """The data as it comes, and the result as the last piece. Raises as `result` does."""
        while not self.done:
            self._client._wait(_News(self), None, self)
            yield from self._take()
        yield from self._last()


class _Created:
    __slots__ = ("task",)

    def __init__(self, task: BaseTask) -> None:
        self.task = task

    @property
    def done(self) -> bool:
        return self.task.done or bool(self.task.handle)


class _News(_Created):
    __slots__ = ()

    @property
    def done(self) -> bool:
        return self.task._news


class _All:
    """Done when every one is. Each is looked at until it is done, and then never again."""

    __slots__ = ("_left",)

    def __init__(self, tasks: Iterable[BaseTask]) -> None:
        self._left = list(tasks)

    @property
    def done(self) -> bool:
        left = self._left
        while left and left[-1].done:
            left.pop()
        return not left


class _Any:
    __slots__ = ("_tasks",)

    def __init__(self, tasks: Iterable[BaseTask]) -> None:
        self._tasks = tasks

    @property
    def done(self) -> bool:
        return any(task.done for task in self._tasks)


class Client(BaseClient[Task]):
    """Submits jobs and waits for them. Any number of threads may share one client."""

    _task_type = Task

    def _set_up(self) -> None:
        self._driver = Driver(self.pool, self._tls, self.connect_timeout, self.exceptions)

    def _start(self, tasks: Sequence[Task]) -> None:
        self._driver.start(tasks, self.timeout)

    def _wait(self, awaited: "Task | _Created | _All | _Any", timeout: float | None, task: BaseTask | None) -> None:
        if not awaited.done:
            self._driver.wait(awaited, self.timeout if timeout is None else timeout, task)

    # One job, and its result.

    def do(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        unique: Name | None = None,
        priority: Priority | str = Priority.NORMAL,
        timeout: float | None = None,
    ) -> bytes:
        """Runs a job and returns its result. Arguments as in `submit`, errors as in `Task.result`."""
        task = self._make(function, payload_bytes(workload), unique, priority)
        self._driver.run(task, self.timeout if timeout is None else timeout)
        return task._outcome()

    def do_high(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do` before the jobs of normal priority."""
        return self.do(function, workload, unique=unique, priority=Priority.HIGH, timeout=timeout)

    def do_low(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do` after the jobs of normal priority."""
        return self.do(function, workload, unique=unique, priority=Priority.LOW, timeout=timeout)

    # One job, and its handle as soon as the server has it.

    def do_background(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        unique: Name | None = None,
        priority: Priority | str = Priority.NORMAL,
        timeout: float | None = None,
    ) -> bytes:
        """Leaves a job with the server. Returns its handle once the server has it, safely if its queue is durable."""
        return self.submit(function, workload, unique=unique, priority=priority, background=True).result(timeout)

    def do_high_background(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do_background` before the jobs of normal priority."""
        return self.do_background(function, workload, unique=unique, priority=Priority.HIGH, timeout=timeout)

    def do_low_background(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do_background` after the jobs of normal priority."""
        return self.do_background(function, workload, unique=unique, priority=Priority.LOW, timeout=timeout)

    do_background_high = do_high_background
    do_background_low = do_low_background

    def do_at(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        at: When,
        unique: Name | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Leaves a job that runs not before a time. Returns its handle."""
        return self.submit(function, workload, unique=unique, at=at).result(timeout)

    # Many.

    def wait(self, tasks: Iterable[Task], timeout: float | None = None) -> bool:
        """Waits until all are done, well or not. Returns whether they are, after at most so many seconds."""
        everything = _All(tasks)
        with suppress(RequestTimeout):
            self._wait(everything, timeout, None)
        return everything.done

    def as_completed(self, tasks: Iterable[Task], timeout: float | None = None) -> Iterator[Task]:
        """The tasks in the order in which they end.

        Raises:
            RequestTimeout: none ended within so many seconds.
        """
        left = list(tasks)
        while left:
            self._wait(_Any(left), timeout, None)
            over: list[Task] = []
            rest: list[Task] = []
            for task in left:  # looked at once: another thread may bring its end at any moment
                (over if task.done else rest).append(task)
            left = rest
            yield from over

    # Questions.

    def job_status(self, job: "Name | Task", timeout: float | None = None) -> JobStatus:
        """What the server knows of a job, by its handle or its task."""
        handle = job.wait_created(timeout) if isinstance(job, Task) else name_bytes(job, "handle")
        status: JobStatus = self._driver.ask(Command.GET_STATUS, handle, self._patience(timeout))
        return status

    def job_status_unique(self, unique: Name, timeout: float | None = None) -> JobStatus:
        """What the server knows of a job, by its unique."""
        key = name_bytes(unique, "unique")
        status: JobStatus = self._driver.ask(Command.GET_STATUS_UNIQUE, key, self._patience(timeout))
        return status

    def echo(self, data: Payload = b"geartrain", timeout: float | None = None) -> bytes:
        """Sends bytes there and back: shows that the server works."""
        echoed: bytes = self._driver.ask(Command.ECHO_REQ, payload_bytes(data), self._patience(timeout))
        return echoed

    def _patience(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout

    def close(self) -> None:
        """Ends the connection. Tasks that are not done fail; the client connects again when it is used again."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
