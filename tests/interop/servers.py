"""The two servers under test, as real processes.

Owns how each is started, asked over its text port, and ended. Must not know which program is tested on it.
"""

import contextlib
import dataclasses
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.services import free_port, wait_until

from .programs import Program, clean_environment, find

PATIENCE = 10.0
"""Seconds after which a server that should have answered is called dead."""


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionStatus:
    """One line of the text command ``status``."""

    total: int
    running: int
    workers: int


class Server:
    """A running job server on a free port of the loopback."""

    def __init__(self, kind: str, process: Program, port: int, tls: ssl.SSLContext | None) -> None:
        self.kind = kind
        self.process = process
        self.port = port
        self._tls = tls

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A connection to the server: plain, or TLS where the server was started with it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as raw:
            if self._tls is None:
                yield raw
            else:
                with self._tls.wrap_socket(raw, server_hostname="localhost") as wrapped:
                    yield wrapped

    def ask(self, command: str) -> list[str]:
        """Sends a text command whose answer ends with a dot, and returns the lines before the dot."""
        with self.connection() as connection, connection.makefile("rb") as lines:
            connection.sendall(command.encode() + b"\n")
            answer = []
            for line in lines:
                if line == b".\n":
                    return answer
                answer.append(line.decode().rstrip("\n"))
        raise AssertionError(f"{command!r} was not answered to the end: {answer!r}")

    def tell(self, command: str) -> str:
        """Sends a text command whose answer is one line."""
        with self.connection() as connection, connection.makefile("rb") as lines:
            connection.sendall(command.encode() + b"\n")
            return lines.readline().decode().rstrip("\r\n")

    def status(self) -> dict[str, FunctionStatus]:
        rows = (line.rsplit("\t", 3) for line in self.ask("status"))
        return {name: FunctionStatus(*map(int, counts)) for name, *counts in rows}

    def function(self, name: str) -> FunctionStatus:
        return self.status().get(name, FunctionStatus(0, 0, 0))

    def wait_for_workers(self, function: str, count: int = 1, program: Program | None = None) -> None:
        """Returns when so many workers are registered, or fails as soon as the program ends."""

        def registered() -> bool:
            assert program is None or program.is_alive(), f"the worker has left: {program!r}"
            return self.function(function).workers == count

        wait_until(registered, f"{count} workers for {function} ({program!r})")

    def wait_for_running(self, function: str, count: int = 1) -> None:
        """Returns when so many jobs of the function run."""
        wait_until(lambda: self.function(function).running == count, f"{count} running jobs of {function}")

    def wait_for_total(self, function: str, count: int) -> None:
        """Returns when so many jobs of the function wait or run."""
        wait_until(lambda: self.function(function).total == count, f"{count} jobs of {function}")

    def clients_of(self, unique: bytes) -> int:
        """How many clients wait for a job: GET_STATUS_UNIQUE (41) tells, no library does."""
        with self.connection() as connection, connection.makefile("rb") as stream:
            connection.sendall(b"\0REQ" + (41).to_bytes(4, "big") + len(unique).to_bytes(4, "big") + unique)
            header = stream.read(12)
            return int(stream.read(int.from_bytes(header[8:], "big")).split(b"\0")[5])

    def stop(self) -> None:
        self.process.stop()


def command_line(kind: str) -> list[str]:
    """How a server of this kind is started, but for its options."""
    if kind == "gearmand":
        return [find("gearmand"), "--log-file=stderr", "--verbose=ERROR"]
    return [sys.executable, "-m", "geartrain.cli.gearmand", "--log-file=stderr", "--verbose=ERROR"]


def start(
    kind: str,
    options: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    port: int | None = None,
) -> Server:
    """Starts a server and returns when it answers.

    Args:
        kind: "gearmand" for Debian's, "geartrain" for ours.
        options: more options for its command line.
        tls: how to reach it, where the options make it speak TLS.
        port: a port that has to be taken again; a free one by default.

    Raises:
        AssertionError: it did not come up; the text has its log.
    """
    for _ in range(3):  # another process may take the free port first
        chosen = port or free_port()
        argv = [*command_line(kind), f"--port={chosen}", "--listen=127.0.0.1", *options]
        process = Program(argv, clean_environment(environment or {}))
        server = Server(kind, process, chosen, tls)
        if _comes_up(server):
            return server
        process.stop()
    raise AssertionError(f"{kind} did not come up: {argv}\n{process.errors()}")


def _comes_up(server: Server) -> bool:
    deadline = time.monotonic() + PATIENCE
    while server.process.is_alive() and time.monotonic() < deadline:
        try:
            answer = server.tell("getpid")
        except OSError:
            time.sleep(0.01)
        else:
            return answer == f"OK {server.process.pid}"
    return False


def resident_kib(server: Server) -> int:
    """The memory that the server's process holds, in KiB."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not tell VmRSS")
