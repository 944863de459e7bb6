"""One connection of a client, without the connection.

Owns the request table: which reply belongs to which request, which packets to which task, and what became of each
when the connection ends. Bytes in by `receive`, bytes out as `outgoing` has it. Must not know sockets, threads,
asyncio or time.

How replies find their request: JOB_CREATED names no submission, so it belongs to the oldest one that waits, and
so do the other replies, each kind in a queue of its own. ERROR belongs to the kind that its code speaks of, else
to the oldest request of all.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from geartrain.client.outgoing import Outgoing
from geartrain.client.task import BaseTask, JobStatus, Pending
from geartrain.errors import ConnectionLost, JobException, JobFailed, RemoteProtocolError, ServerError
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import HEADER_SIZE, LARGEST, RESPONSE_MAGIC, request
from geartrain.protocol.parser import TOO_FEW, Parser

__all__ = ["ClientSession"]

logger = logging.getLogger("geartrain.client")

T = TypeVar("T", bound=BaseTask)


class ClientSession(Outgoing):
    """The state of one connection.

    Attributes:
        confirmation: the size of the last JOB_CREATED packet, in bytes; 0 before the first.
        calls: callbacks that are due, in order: the shell runs them by `run_calls`, outside its locks.
        name: the server's name, for messages.
    """

    __slots__ = (
        "_asked",
        "_asking",
        "_created",
        "_jobs",
        "_joined",
        "_order",
        "_parser",
        "_queued",
        "calls",
        "confirmation",
        "name",
    )

    def __init__(self, name: str, *, exceptions: bool = True) -> None:
        super().__init__()
        self.name = name
        self.confirmation = 0
        self.calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._parser = Parser(RESPONSE_MAGIC, LARGEST)  # the limit is the server's: it adds names to a body
        self._queued = 0  # bytes ever put into out
        self._order = 0
        self._created: deque[BaseTask] = deque()
        self._jobs: dict[bytes, BaseTask] = {}
        self._joined: dict[bytes, deque[BaseTask]] = {}  # all tasks of a job that has several
        self._asking = 0  # questions in _asked
        self._asked: dict[Command, deque[Pending]] = {command: deque() for command in _QUESTIONS}
        if exceptions:
            self.ask(Command.OPTION_REQ, Pending(b"exceptions"))

    # Requests.

    def submit(self, task: BaseTask) -> None:
        """Queues a task's packet."""
        self._order += 1
        task.order = self._order
        queued = self._queued
        for piece in task.packet:
            self.out.append(piece)
            queued += len(piece)
        task.end = self._queued = queued
        self._created.append(task)

    def ask(self, command: Command, pending: Pending) -> None:
        """Queues a question: GET_STATUS, GET_STATUS_UNIQUE or ECHO_REQ about `pending.key`.

        Raises:
            LocalProtocolError: the key cannot be sent.
        """
        packet = request(command, pending.key)
        self._order += 1
        pending.order = self._order
        self._asked[command].append(pending)
        self._asking += 1
        self.out.append(packet)
        self._queued += len(packet)

    # Bytes in.

    def receive(self, data: bytes) -> None:
        """Takes bytes from the server.

        Raises:
            RemoteProtocolError: they are not the protocol; the connection is of no more use.
        """
        parser = self._parser
        for command, parts in parser.feed(data):
            _HANDLERS[command](self, parts)
        if parser.fault is not None:
            raise RemoteProtocolError(f"{self.name}: {parser.fault.text}")

    def _on_strange(self, parts: list[bytes]) -> None:
        raise RemoteProtocolError(f"{self.name} sent what no client can use")

    @property
    def idle(self) -> bool:
        """Whether nothing is awaited."""
        return not (self._created or self._jobs or self._asking)

    @property
    def doubtful(self) -> bool:
        """Whether the server owes what it should say at once, and no result would be lost with the connection."""
        return bool(self._created or self._asking) and not self._jobs

    @property
    def due(self) -> int:
        """Bytes that are sure to come: of every task that is awaited one packet with its handle."""
        return self.confirmation * (len(self._created) + len(self._jobs))

    @property
    def single(self) -> bool:
        """Whether nothing is awaited but the confirmation and the result of one task."""
        return len(self._created) == 1 and not self._jobs

    def _on_created(self, parts: list[bytes]) -> None:
        if not self._created:
            raise RemoteProtocolError(f"{self.name} confirmed a job that was not submitted")
        task = self._created.popleft()
        handle = parts[0]
        self.confirmation = HEADER_SIZE + len(handle)
        if not task.background:
            first = self._jobs.setdefault(handle, task)
            if first is not task:  # coalesced: one job, several tasks
                if handle not in self._joined:
                    self._joined[handle] = deque((first,))
                self._joined[handle].append(task)
        callback = task.on_created(handle)
        if callback is not None:
            self._call(callback, task)

    def _next(self, handle: bytes) -> BaseTask | None:
        """The task that an update is for.

        The server sends an update once per submission that joined the job, and cannot say for which of them: so
        they take turns.
        """
        tasks = self._joined.get(handle)
        if tasks is not None:
            tasks.rotate(-1)
            return tasks[-1]
        return self._jobs.get(handle)  # None: of a task that has ended, or that gave up

    def _on_data(self, parts: list[bytes]) -> None:
        task = self._next(parts[0])
        if task is not None:
            callback = task.on_data(parts[1])
            if callback is not None:
                self._call(callback, task, parts[1])

    def _on_warning(self, parts: list[bytes]) -> None:
        task = self._next(parts[0])
        if task is not None:
            callback = task.on_warning(parts[1])
            if callback is not None:
                self._call(callback, task, parts[1])

    def _on_work_status(self, parts: list[bytes]) -> None:
        task = self._next(parts[0])
        if task is not None:
            callback = task.on_status(_number(parts[1]), _number(parts[2]))
            if callback is not None:
                self._call(callback, task, task.status)

    # The end of a job is the end for every task that joined it; further copies find nothing.

    def _ended(self, handle: bytes) -> Iterable[BaseTask]:
        task = self._jobs.pop(handle, None)
        if task is None:
            return ()
        return self._joined.pop(handle, None) or (task,)

    def _on_complete(self, parts: list[bytes]) -> None:
        if self._joined:
            ended = self._ended(parts[0])
        else:  # the one task, most often: without a row of one
            task = self._jobs.pop(parts[0], None)
            ended = () if task is None else (task,)
        for task in ended:
            callback = task.on_complete(parts[1])
            if callback is not None:
                self._call(callback, task)

    def _on_fail(self, parts: list[bytes]) -> None:
        # gearmand ends the handle with a NUL where WORK_FAIL stands in for an exception.
        handle = parts[0].removesuffix(b"\0")
        for task in self._ended(handle):
            name = task.function.decode("utf-8", "backslashreplace")
            self._fail(task, JobFailed(f"the job {handle.decode('latin-1')} of {name} failed", handle=handle))

    def _on_exception(self, parts: list[bytes]) -> None:
        for task in self._ended(parts[0]):
            self._fail(task, JobException(parts[1], handle=parts[0]))

    def _fail(self, task: BaseTask, error: Exception) -> None:
        callback = task.on_fail(error)
        if callback is not None:
            self._call(callback, task)

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        self.calls.append((callback, arguments))

    def run_calls(self) -> None:
        """Runs the callbacks that are due. What they raise is logged, as with concurrent.futures, and stops nothing."""
        while self.calls:
            callback, arguments = self.calls.popleft()
            try:
                callback(*arguments)
            except Exception:
                logger.exception("the callback %r of %r raised an exception", callback, arguments[0])

    def _on_status_res(self, parts: list[bytes]) -> None:
        self._reply(
            Command.GET_STATUS, JobStatus(parts[1] == b"1", parts[2] == b"1", _number(parts[3]), _number(parts[4]))
        )

    def _on_status_unique(self, parts: list[bytes]) -> None:
        _, known, running, numerator, denominator, clients = parts
        self._reply(
            Command.GET_STATUS_UNIQUE,
            JobStatus(known == b"1", running == b"1", _number(numerator), _number(denominator), _number(clients)),
        )

    def _on_echo(self, parts: list[bytes]) -> None:
        self._reply(Command.ECHO_REQ, parts[0])

    def _on_option(self, parts: list[bytes]) -> None:
        self._reply(Command.OPTION_REQ, parts[0])

    def _reply(self, command: Command, value: object) -> None:
        queue = self._asked[command]
        if not queue:
            raise RemoteProtocolError(f"{self.name} answered a question that was not asked")
        self._asking -= 1
        queue.popleft().finish(value)

    def _on_error(self, parts: list[bytes]) -> None:
        code = parts[0].decode("utf-8", "backslashreplace")
        error = ServerError(code, parts[1].rstrip(b"\0").decode("utf-8", "backslashreplace"))
        queues: list[deque[BaseTask] | deque[Pending]] = [self._created, *self._asked.values()]
        if code == "UNKNOWN_OPTION" and self._asked[Command.OPTION_REQ]:
            queues = [self._asked[Command.OPTION_REQ]]
        elif code in _SUBMISSION_ERRORS and self._created:
            queues = [self._created]
        waiting = [queue for queue in queues if queue]
        if not waiting:
            logger.warning("%s reported an error that belongs to no request: %s", self.name, error)
            return
        oldest = min(waiting, key=lambda queue: queue[0].order).popleft()
        if isinstance(oldest, BaseTask):
            self._fail(oldest, error)
        else:
            self._asking -= 1
            oldest.finish(None, error)
            if code == "UNKNOWN_OPTION":
                logger.info("%s cannot report exceptions: %s", self.name, error)

    # The end.

    def lost(self, cause: str) -> list[BaseTask]:
        """The connection ended.

        Tasks that were on their way fail: one that the server may have is never sent a second time.

        Returns:
            the tasks whose packets did not wholly leave, so that no server can have them: these may go elsewhere.
        """
        unsent: list[BaseTask] = []
        for task in self._created:
            if task.end > self.written:
                unsent.append(task)
            else:
                self._fail(
                    task,
                    ConnectionLost(
                        f"the connection to {self.name} was lost ({cause}) after a job for "
                        f"{task.function.decode('utf-8', 'backslashreplace')} was sent and before the server confirmed "
                        "it: it may run or not, and was not sent again"
                    ),
                )
        for handle, first in self._jobs.items():
            for task in self._joined.get(handle) or (first,):
                self._fail(
                    task,
                    ConnectionLost(
                        f"the connection to {self.name} was lost ({cause}) while the job {handle.decode('latin-1')} "
                        "was awaited: its result, if there is one, went with it"
                    ),
                )
        for queue in self._asked.values():
            for pending in queue:
                pending.finish(None, ConnectionLost(f"the connection to {self.name} was lost ({cause})"))
            queue.clear()
        self._asking = 0
        self._created.clear()
        self._jobs.clear()
        self._joined.clear()
        self.out.clear()
        return unsent


_QUESTIONS: Final = (Command.GET_STATUS, Command.GET_STATUS_UNIQUE, Command.ECHO_REQ, Command.OPTION_REQ)

_SUBMISSION_ERRORS: Final = frozenset({"QUEUE_ERROR", "ARGUMENT_TOO_LARGE", "JOB_QUEUE_FULL", "INVALID_FUNCTION_NAME"})

_TABLE: Final[dict[int, Callable[[ClientSession, list[bytes]], None]]] = {
    int(Command.JOB_CREATED): ClientSession._on_created,
    int(Command.WORK_COMPLETE): ClientSession._on_complete,
    int(Command.WORK_DATA): ClientSession._on_data,
    int(Command.WORK_WARNING): ClientSession._on_warning,
    int(Command.WORK_STATUS): ClientSession._on_work_status,
    int(Command.WORK_FAIL): ClientSession._on_fail,
    int(Command.WORK_EXCEPTION): ClientSession._on_exception,
    int(Command.STATUS_RES): ClientSession._on_status_res,
    int(Command.STATUS_RES_UNIQUE): ClientSession._on_status_unique,
    int(Command.ECHO_RES): ClientSession._on_echo,
    int(Command.OPTION_RES): ClientSession._on_option,
    int(Command.ERROR): ClientSession._on_error,
}
_HANDLERS: Final = [_TABLE.get(number, ClientSession._on_strange) for number in range(TOO_FEW + 1)]


def _number(text: bytes) -> int:
    """A number as gearmand reads it: what is none counts as 0."""
    return int(text) if text.isdigit() else 0
