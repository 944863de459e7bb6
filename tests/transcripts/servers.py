"""The two servers that the transcripts are played on, each a real process on a free port.

Owns their start and end. Must not know the transcripts.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_DEADLINE = 20.0
GEARMAND = shutil.which("gearmand", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
"""The C server, which is the oracle. Looked up outside the virtual environment, where the name is ours."""


class Process:
    """A server's process, ready to be connected to."""

    def __init__(self, name: str, command: Sequence[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.pid = self._process.pid

    def answers(self) -> bool:
        """Waits until the port is open. False: the process ended before that."""
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            if listens(self.port):
                return True
            time.sleep(0.005)
        raise TimeoutError(f"{self.name} does not listen on {self.port} after {START_DEADLINE} s:\n{self.log()}")

    def log(self) -> str:
        """What the server wrote to its standard output and error."""
        return self._log.read_text("utf-8", "replace")

    def wait(self, seconds: float) -> bool:
        """Waits for the process to end; whether it did."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """Ends it, by force if need be."""
        if self._process.poll() is None:
            self._process.terminate()
            if not self.wait(5):
                self._process.kill()
                self._process.wait()


def command(name: str, port: int, options: Sequence[str], folder: Path) -> list[str]:
    """The command line that starts a server."""
    common = ["-p", str(port), "--listen", "127.0.0.1", *options]
    if name == "gearmand":
        assert GEARMAND is not None
        return [GEARMAND, "-t", "1", "-l", "none", "-P", str(folder / "gearmand.pid"), *common]
    flavour = [] if "--compat" in options else ["--compat", "1.1"]
    return [sys.executable, "-m", "geartrain.cli.gearmand", "-l", "stderr", *flavour, *common]


def listens(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1. No connection is made: a dialogue would see its traces."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(name: str, options: Sequence[str], folder: Path) -> Iterator[Process]:
    """A server that is ready, and ended on leaving."""
    for _ in range(5):  # Somebody else may take the port between our look and the server's bind.
        port = free_port()
        server = Process(name, command(name, port, options, folder), port, folder / f"{name}.log")
        try:
            if server.answers():
                yield server
                return
        finally:
            server.end()
    raise RuntimeError(f"{name} does not start:\n{server.log()}")
