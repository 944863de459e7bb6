"""The text protocol's commands as `gearadmin` has them: option, command, form of the answer.

Owns this one table and the records that --json makes of the answers. Knows no sockets and no command line.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from geartrain.errors import ConfigError, RemoteProtocolError

__all__ = ["OPERATIONS", "Operation"]


def _function(line: str) -> dict[str, Any]:
    name, total, running, workers = line.rsplit("\t", 3)
    return {"function": name, "total": int(total), "running": int(running), "workers": int(workers)}


def _priorities(line: str) -> dict[str, Any]:
    name, high, normal, low, workers = line.rsplit("\t", 4)
    return {"function": name, "high": int(high), "normal": int(normal), "low": int(low), "workers": int(workers)}


def _worker(line: str) -> dict[str, Any]:
    # An id may hold spaces; the functions come behind the last " :".
    head, _, functions = line.rpartition(" :")
    descriptor, address, name = head.split(" ", 2)
    return {"fd": int(descriptor), "address": address, "id": name, "functions": functions.split()}


def _job(line: str) -> dict[str, Any]:
    handle, retries, ignored, persisted = line.rsplit("\t", 3)
    return {"handle": handle, "retries": int(retries), "ignored": ignored != "0", "persisted": persisted != "0"}


def _maxqueue(words: Sequence[str]) -> Sequence[str]:
    if len(words) not in (1, 2, 4) or not all(word.lstrip("-").isdigit() for word in words[1:]):
        raise ConfigError(
            "--maxqueue takes a function and no limit, one, or three (high, normal, low), as in: --maxqueue wc 100"
        )
    return words


def _shutdown(words: Sequence[str]) -> Sequence[str]:
    return [] if words == ["now"] else words


class Operation(NamedTuple):
    """One thing that can be asked of a server.

    Attributes:
        option: its long option, without dashes.
        command: the server's text command.
        help: for the help text.
        arguments: argparse's settings for the option's arguments; empty where it has none.
        record: makes a record of each line of the answer; None where the answer is one line.
        check: gets the arguments as they were given and returns those to send.
    """

    option: str
    command: str
    help: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody changes
    record: Callable[[str], Any] | None = None
    check: Callable[[Sequence[str]], Sequence[str]] = list

    def line(self, words: Sequence[str]) -> bytes:
        """The command line to send.

        Raises:
            ConfigError: the arguments cannot be used.
        """
        words = self.check(words)
        for word in words:
            if not word or any(character.isspace() or character == "\0" for character in word):
                raise ConfigError(
                    f"--{self.option}: {word!r} cannot be sent: the text protocol divides its words at spaces"
                )
        return " ".join([self.command, *words]).encode("utf-8", "surrogateescape") + b"\r\n"

    def records(self, answer: bytes) -> Any:
        """The answer for --json: a list of records, or the text of a single line.

        Raises:
            RemoteProtocolError: a line does not have the form that Gearman's servers give it.
        """
        text = answer.decode("utf-8", "backslashreplace")
        if self.record is None:
            word = text.strip()
            return int(word) if self.option == "getpid" and word.isdigit() else word
        try:
            return [self.record(line.removesuffix("\r")) for line in text.split("\n")[:-1]]
        except ValueError as error:
            raise RemoteProtocolError(f"the answer to {self.command!r} has an unknown form: {text!r}") from error


def _one(name: str) -> dict[str, Any]:
    return {"metavar": name}


OPERATIONS: Final = (
    Operation("getpid", "getpid", "process id of the server"),
    Operation("create-function", "create function", "create a function", _one("FUNCTION")),
    Operation("drop-function", "drop function", "drop a function", _one("FUNCTION")),
    Operation(
        "maxqueue",
        "maxqueue",
        "limit a function's queue: one limit, or three for high, normal and low; without a limit, lift it",
        {"nargs": "+", "metavar": ("FUNCTION", "LIMIT")},
        check=_maxqueue,
    ),
    Operation("show-jobs", "show jobs", "all jobs: handle, retries, ignored, persisted", record=_job),
    Operation("show-unique-jobs", "show unique jobs", "unique keys of all jobs", record=str),
    Operation("cancel-job", "cancel job", "take a waiting job out of the queue", _one("HANDLE")),
    Operation("server-verbose", "verbose", "how much the server logs"),
    Operation("server-version", "version", "the server's version"),
    Operation("workers", "workers", "connections, and the functions that they can do", record=_worker),
    Operation("priority-status", "prioritystatus", "waiting jobs of each function by priority", record=_priorities),
    Operation("status", "status", "jobs, running jobs and workers of each function", record=_function),
    Operation(
        "shutdown",
        "shutdown",
        "end the server; with =graceful it finishes its jobs first",
        {"nargs": "?", "const": "now", "choices": ("now", "graceful"), "metavar": "graceful"},
        check=_shutdown,
    ),
)
"""In the order in which the C tool does them, whatever the order on its command line."""
