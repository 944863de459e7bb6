"""The text protocol, from the asker's side: typed answers to status, workers, show jobs and the rest.

Owns the answers' forms. Must not know what a terminal shows.
"""

import ssl as ssl_module
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple, Self

from geartrain.client.address import Servers, parse_servers
from geartrain.client.base import File
from geartrain.client.sockets import Transport, connect
from geartrain.client.tls import Tls
from geartrain.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, RequestTimeout, ServerError

__all__ = ["AdminClient", "FunctionStatus", "JobRecord", "PriorityStatus", "WorkerRecord"]


class FunctionStatus(NamedTuple):
    """A line of ``status``. total counts the waiting and the running jobs; workers those that can do them."""

    function: str
    total: int
    running: int
    workers: int

    @property
    def waiting(self) -> int:
        """Jobs that no worker has yet."""
        return max(0, self.total - self.running)


class PriorityStatus(NamedTuple):
    """A line of ``prioritystatus``: waiting jobs by priority."""

    function: str
    high: int
    normal: int
    low: int
    workers: int


class WorkerRecord(NamedTuple):
    """A line of ``workers``: one connection, a worker's or not. functions is empty where it can do none."""

    fd: int
    address: str
    id: str
    functions: tuple[str, ...]


class JobRecord(NamedTuple):
    """A line of ``show jobs``. ignored: nobody wants it any more. persisted: it is in the durable queue."""

    handle: str
    retries: int
    ignored: bool
    persisted: bool


class AdminClient:
    """Asks one job server in the text protocol.

    Names that are not UTF-8 come as str with surrogate escapes, so that they can be sent back unchanged.

    Args:
        server: ``host[:port]``; without it GEARMAN_SERVERS, then localhost:4730. Of several, the first.
        timeout: seconds for each command, connecting included; None waits for ever for the answer.
        ssl, ssl_ca_file, ssl_certificate, ssl_key, ssl_check_hostname: as for `Client`.

    Raises (every command):
        ConnectionLost: the server cannot be reached, or went away.
        RequestTimeout: no whole answer in time.
        ServerError: the server answered ERR.
        RemoteProtocolError: the answer cannot be read.
    """

    def __init__(
        self,
        server: Servers = None,
        *,
        timeout: float | None = 10.0,
        ssl: bool | ssl_module.SSLContext = False,
        ssl_ca_file: File | None = None,
        ssl_certificate: File | None = None,
        ssl_key: File | None = None,
        ssl_check_hostname: bool = True,
    ) -> None:
        self.server = parse_servers(server)[0]
        self.timeout = timeout
        self._context = Tls(ssl, ssl_ca_file, ssl_certificate, ssl_key, ssl_check_hostname).context()
        self._transport: Transport | None = None
        self._lines: deque[bytes] = deque()
        self._partial = b""

    # Lists.

    def status(self) -> list[FunctionStatus]:
        """Every function that the server knows."""
        return [FunctionStatus(f[0], _int(f[1]), _int(f[2]), _int(f[3])) for f in self._table("status", 4)]

    def prioritystatus(self) -> list[PriorityStatus]:
        """Waiting jobs of every function, by priority."""
        return [PriorityStatus(f[0], *map(_int, f[1:5])) for f in self._table("prioritystatus", 5)]

    def workers(self) -> list[WorkerRecord]:
        """Every connection of the server, this one included."""
        return [_worker(line) for line in self._list("workers")]

    def show_jobs(self) -> list[JobRecord]:
        """Every job that the server holds."""
        return [JobRecord(f[0], _int(f[1]), f[2] != "0", f[3] != "0") for f in self._table("show jobs", 4)]

    def show_unique_jobs(self) -> list[str]:
        """The uniques of every job that the server holds; empty where a job has none."""
        return list(self._list("show unique jobs"))

    # One line back.

    def cancel_job(self, handle: str | bytes) -> None:
        """Takes a job out of the queue. A running one is not stopped."""
        self._command("cancel job", _word(handle))

    def create_function(self, function: str | bytes) -> None:
        """Makes a function known."""
        self._command("create function", _word(function))

    def drop_function(self, function: str | bytes) -> None:
        """Forgets a function that has no workers and no clients."""
        self._command("drop function", _word(function))

    def maxqueue(self, function: str | bytes, *limits: int) -> None:
        """Bounds a function's jobs: one limit for all, three for high, normal and low, none for no bound."""
        if len(limits) not in (0, 1, 3):
            raise LocalProtocolError(f"maxqueue takes no limit, one, or three (high, normal, low), not {len(limits)}")
        self._command("maxqueue", _word(function), *map(str, limits))

    def getpid(self) -> int:
        """The server's process id."""
        return _int(self._command("getpid"))

    def verbose(self) -> str:
        """The server's log level."""
        return self._command("verbose")

    def version(self) -> str:
        """The server's version. (Perl's server sends it without an OK before it.)"""
        return self._command("version")

    def shutdown(self, graceful: bool = False) -> None:
        """Ends the server; graceful lets it finish first. gearmand has no such command any more."""
        deadline = self._send(b"shutdown graceful" if graceful else b"shutdown")
        try:
            line = self._line(deadline)
        except ConnectionLost:
            return  # that is what was asked for
        if line.startswith("ERR"):
            raise _error(line)

    def raw(self, line: str | bytes) -> Iterator[str]:
        """Sends one line and gives the answer's lines as they come, for ever: the caller knows where it ends."""
        deadline = self._send(line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line)
        while True:
            yield self._line(deadline)

    # The wire.

    def _table(self, command: str, columns: int) -> Iterator[list[str]]:
        for line in self._list(command):
            fields = line.rsplit("\t", columns - 1)  # a function's name may hold a tab
            if len(fields) < columns:
                self.close()
                raise RemoteProtocolError(f"{self.server} answered {command!r} with {line!r}: {columns} fields are due")
            yield fields

    def _list(self, command: str) -> Iterator[str]:
        deadline = self._send(command.encode())
        lines: list[str] = []
        while (line := self._line(deadline)) != ".":
            if line.startswith("ERR ") and not lines:
                raise _error(line)
            lines.append(line)
        return iter(lines)

    def _command(self, *words: str) -> str:
        line = self._line(self._send(" ".join(words).encode("utf-8", "surrogateescape")))
        if line.startswith("ERR"):
            raise _error(line)
        return line.removeprefix("OK").strip()

    def _send(self, line: bytes) -> float | None:
        deadline = None if self.timeout is None else monotonic() + self.timeout
        transport = self._transport
        if transport is not None and (self._lines or self._partial or transport.recv(0.0) is not None):
            self.close()  # it ended, or an old answer came late
        if self._transport is None:
            self._transport = connect(self.server, self._context, self.timeout or 60.0)
        data = line + b"\r\n"  # gearmand's `create function` cuts two bytes off the line's end
        while data:
            try:
                count = self._transport.send(data)
            except ConnectionLost as error:
                self.close()
                raise ConnectionLost(f"{self.server}: {error}") from error
            data = data[count:]
            if not count and not self._transport.wait(_left(deadline), read=False, write=True):
                self.close()
                raise RequestTimeout(f"{self.server} took no command within {self.timeout:g} s")
        return deadline

    def _line(self, deadline: float | None) -> str:
        assert self._transport is not None
        while not self._lines:
            try:
                data = self._transport.recv(_left(deadline))
            except ConnectionLost as error:
                self.close()
                raise ConnectionLost(f"{self.server}: {error}") from error
            if data is None:
                self.close()
                raise RequestTimeout(f"{self.server} gave no whole answer within {self.timeout:g} s")
            if not data:
                self.close()
                raise ConnectionLost(f"{self.server} closed the connection in the middle of an answer")
            *lines, self._partial = (self._partial + data).split(b"\n")
            self._lines.extend(lines)
        return self._lines.popleft().removesuffix(b"\r").decode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Ends the connection; the next command opens one."""
        self._lines.clear()
        self._partial = b""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - monotonic())


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RemoteProtocolError(f"the server sent {text!r} where a number is due") from None


def _word(name: str | bytes) -> str:
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    if not text or any(c in text for c in " \t\r\n\0"):
        raise LocalProtocolError(f"the text protocol divides words at spaces, so it cannot carry the name {text!r}")
    return text


def _worker(line: str) -> WorkerRecord:
    head, colon, functions = line.rpartition(" :")
    fields = head.split(" ", 2)  # the id may hold spaces
    if not colon or len(fields) < 2:
        raise RemoteProtocolError(f"the server sent {line!r} where a worker is due")
    return WorkerRecord(_int(fields[0]), fields[1], fields[2] if len(fields) > 2 else "", tuple(functions.split()))


def _error(line: str) -> ServerError:
    words = line.removeprefix("ERR").strip()
    code, _, text = words.partition(" ")
    if not code.isupper():
        return ServerError("ERR", words)  # `drop function` gives a sentence, and no code
    return ServerError(code, text.replace("+", " ") or code)
