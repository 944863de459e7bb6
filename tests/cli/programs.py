"""The programs under test, run as a user runs them.

Owns where each is found, a clean environment, and that nothing outlives its test.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pytest

PATIENCE = 20.0
"""Seconds after which something that should have come is called missing."""


GEARTRAIN = [sys.executable, "-m", "geartrain.cli.geartrain"]
"""How our own command is started."""


class Outcome(NamedTuple):
    """How a program ended."""

    status: int
    out: bytes
    err: bytes

    @property
    def said(self) -> str:
        """What it wrote to standard error."""
        return self.err.decode()


def missing(reason: str) -> None:
    """Skips the test, or fails it in CI, where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and this is CI")
    pytest.skip(reason)


def find(name: str, package: str) -> str:
    """The path of one of the C programs."""
    path = shutil.which(name, path="/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin")
    if path is None:
        missing(f"{name} is not installed (Debian: apt-get install {package})")
        raise AssertionError
    return path


def argv_of(kind: str, name: str) -> list[str]:
    """How a tool is started: Debian's C tool, or ours."""
    if kind == "debian":
        return [find(name, "gearman-tools")]
    return [sys.executable, "-m", f"geartrain.cli.{name}"]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without anything that the tools or servers would read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEARMAN", "GEARTRAIN"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "POSIXLY_CORRECT", "TERM"):
        kept.pop(name, None)
    return kept | {"LC_ALL": "C.UTF-8"} | dict(more or {})


def run(
    argv: Sequence[str],
    stdin: bytes = b"",
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float = PATIENCE,
) -> Outcome:
    """Runs a program to its end."""
    done = subprocess.run(
        argv, input=stdin, capture_output=True, env=environment(env), cwd=cwd, timeout=timeout, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Returns as soon as the condition holds; fails with what was missing when it does not come."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain: {what}"
        time.sleep(0.02)


class Running:
    """A program that goes on while the test does other things."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            cwd=cwd,
            start_new_session=True,
        )
        self.out = bytearray()
        self.err = bytearray()
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: object, into: bytearray) -> None:
        while chunk := os.read(stream.fileno(), 65536):  # type: ignore[attr-defined]
            into += chunk

    def wait(self, timeout: float = PATIENCE) -> Outcome:
        """Waits for the program's own end."""
        status = self.process.wait(timeout)
        self._finish()
        return Outcome(status, bytes(self.out), bytes(self.err))

    def stop(self, number: int = signal.SIGTERM) -> Outcome:
        """Ends the program with a signal and waits for that."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """Ends the program and its children, whatever they do."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._finish()

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A job server on a port of its own."""

    def __init__(self, kind: str, program: Running, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.kind = kind
        self.program = program
        self.port = port
        self._tls = tls

    @property
    def flags(self) -> list[str]:
        """How `gearman` and `gearadmin` are told of it."""
        return ["-h", "127.0.0.1", "-p", str(self.port)]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, command: str) -> list[str]:
        """The lines of an answer that ends with a dot, without the dot."""
        with self._connect() as link, link.makefile("rb") as lines:
            link.sendall(command.encode() + b"\r\n")
            answer: list[str] = []
            for line in lines:
                if line == b".\n":
                    return answer
                answer.append(line.decode().rstrip("\r\n"))
        raise AssertionError(f"{command!r} was not answered to its end: {answer!r}")

    def _connect(self) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return link if self._tls is None else self._tls.wrap_socket(link, server_hostname="localhost")

    def function(self, name: str) -> tuple[int, int, int]:
        """Total, running and workers of a function, from ``status``."""
        for line in self.ask("status"):
            function, *counts = line.split("\t")
            if function == name:
                total, running, workers = map(int, counts)
                return total, running, workers
        return 0, 0, 0

    def wait_for_workers(self, name: str, count: int = 1) -> None:
        wait_until(lambda: self.function(name)[2] == count, f"{count} workers for {name}")


def start_server(kind: str, *options: str, tls: ssl.SSLContext | None = None) -> Server:
    """Starts Debian's gearmand or ours on a free port and returns when it answers."""
    if kind == "debian":
        program = [find("gearmand", "gearman-job-server"), "--log-file=stderr"]
    else:
        program = [sys.executable, "-m", "geartrain.cli.gearmand", "--log-file=stderr"]
    for _ in range(3):  # another process may take the free port first
        port = free_port()
        running = Running([*program, f"--port={port}", "--listen=127.0.0.1", *options])
        server = Server(kind, running, port, tls)
        if _answers(server):
            return server
        running.kill()
    raise AssertionError(f"{kind} did not come up: {bytes(running.err).decode(errors='replace')}")


def _answers(server: Server) -> bool:
    deadline = time.monotonic() + PATIENCE
    while server.program.process.poll() is None and time.monotonic() < deadline:
        try:
            server.ask("status")
        except (OSError, AssertionError):
            time.sleep(0.02)
        else:
            return True
    return False
