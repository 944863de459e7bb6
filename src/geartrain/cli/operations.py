"""What `gearadmin` can ask for: option, method of the client, form of the answer.

Owns this one table. Knows no sockets and no command line.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from geartrain.client.admin import AdminClient, FunctionStatus, JobRecord, PriorityStatus, WorkerRecord
from geartrain.errors import ConfigError

__all__ = ["OPERATIONS", "Operation"]


def _function(line: FunctionStatus) -> str:
    return f"{line.function}\t{line.total}\t{line.running}\t{line.workers}"


def _priorities(line: PriorityStatus) -> str:
    return f"{line.function}\t{line.high}\t{line.normal}\t{line.low}\t{line.workers}"


def _worker(line: WorkerRecord) -> str:
    return " ".join([f"{line.fd} {line.address} {line.id} :", *line.functions])


def _job(line: JobRecord) -> str:
    return f"{line.handle}\t{line.retries}\t{line.ignored:d}\t{line.persisted:d}"


def _maxqueue(client: AdminClient, words: Sequence[str]) -> None:
    function, *limits = words
    try:
        numbers = [int(word) for word in limits]
    except ValueError:
        numbers = [0, 0]
    if len(numbers) not in (0, 1, 3):
        raise ConfigError(
            "--maxqueue takes a function and no limit, one, or three (high, normal, low), as in: --maxqueue wc 100"
        )
    client.maxqueue(function, *numbers)


class Operation(NamedTuple):
    """One thing that can be asked of a server.

    Attributes:
        option: its long option, without dashes.
        help: for the help text.
        ask: asks, with the words behind the option. Nothing back means ``OK``.
        line: writes one record of a list as the server does; None where the answer is no list.
        arguments: argparse's settings for the words behind the option; empty where there are none.
    """

    option: str
    help: str
    ask: Callable[[AdminClient, Sequence[str]], Any]
    line: Callable[[Any], str] | None = None
    arguments: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it

    def text(self, answer: Any) -> str:
        """The answer as the C tool prints it."""
        if self.line is not None:
            return "".join(f"{self.line(record)}\n" for record in answer) + ".\n"
        return "OK\n" if answer is None else f"{answer}\n"

    def data(self, answer: Any) -> Any:
        """The answer for --json."""
        if self.line is not None:
            return [record if isinstance(record, str) else record._asdict() for record in answer]
        return "OK" if answer is None else answer


OPERATIONS: Final = (
    Operation("getpid", "process id of the server", lambda client, _: client.getpid()),
    Operation(
        "create-function",
        "create a function",
        lambda client, words: client.create_function(words[0]),
        arguments={"metavar": "FUNCTION"},
    ),
    Operation(
        "drop-function",
        "drop a function",
        lambda client, words: client.drop_function(words[0]),
        arguments={"metavar": "FUNCTION"},
    ),
    Operation(
        "maxqueue",
        "limit a function's queue: one limit, or three for high, normal and low; without a limit, lift it",
        _maxqueue,
        arguments={"nargs": "+", "metavar": ("FUNCTION", "LIMIT")},
    ),
    Operation("show-jobs", "all jobs: handle, retries, ignored, persisted", lambda client, _: client.show_jobs(), _job),
    Operation("show-unique-jobs", "unique keys of all jobs", lambda client, _: client.show_unique_jobs(), str),
    Operation(
        "cancel-job",
        "take a waiting job out of the queue",
        lambda client, words: client.cancel_job(words[0]),
        arguments={"metavar": "HANDLE"},
    ),
    Operation("server-verbose", "how much the server logs", lambda client, _: client.verbose()),
    Operation("server-version", "the server's version", lambda client, _: client.version()),
    Operation(
        "workers", "connections, and the functions that they can do", lambda client, _: client.workers(), _worker
    ),
    Operation(
        "priority-status",
        "waiting jobs of each function by priority",
        lambda client, _: client.prioritystatus(),
        _priorities,
    ),
    Operation(
        "status", "jobs, running jobs and workers of each function", lambda client, _: client.status(), _function
    ),
    Operation(
        "shutdown",
        "end the server; with =graceful it finishes its jobs first",
        lambda client, words: client.shutdown(graceful=words[0] == "graceful"),
        arguments={"nargs": "?", "const": "now", "choices": ("now", "graceful"), "metavar": "graceful"},
    ),
)
"""In the order in which the C tool does them, whatever the order on its command line."""
