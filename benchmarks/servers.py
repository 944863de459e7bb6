"""The servers that stand beside each other, and how each is started.

Owns the command lines. Nothing is pinned to a core, as users run it. Knows no row.
"""

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.build import COMPILED_PYTHON, PLAIN_PYTHON, BenchError, is_compiled, program

__all__ = ["GEARMANDS", "OURS", "VARIANTS", "Server", "Variant", "free_port", "start", "wait_for"]


@dataclass(frozen=True)
class Variant:
    """One server as it is compared.

    Attributes:
        name: as in the results.
        label: for people.
        threads: gearmand's -t, or None for ours and the floor.
        compiled: ours, from .venv-compiled; else from .venv-plain.
        loop: ours: asyncio or uvloop. Empty for the others.
    """

    name: str
    label: str
    threads: int | None = None
    compiled: bool = False
    loop: str = ""

    @property
    def ours(self) -> bool:
        return bool(self.loop)

    def missing(self) -> str:
        """Why it cannot run on this machine; empty when it can."""
        if self.threads is not None and not shutil.which("gearmand"):
            return "gearmand is not installed (Debian: gearman-job-server)"
        if self.compiled and not COMPILED_PYTHON.exists():
            return "there is no compiled build: run scripts/compile"
        return ""

    def command(self, port: int, folder: Path) -> list[str]:
        if self.threads is not None:
            start = ["gearmand", "-t", str(self.threads)]
        elif self.loop:
            python = COMPILED_PYTHON if self.compiled else PLAIN_PYTHON
            if is_compiled(python) != self.compiled:
                raise BenchError(f"{python} holds the wrong build of geartrain for {self.name!r}.")
            start = [str(python), "-m", "geartrain.cli.gearmand", "--loop", self.loop]
        else:
            return [str(program("floor")), str(port)]
        return [*start, "-p", str(port), "-L", "127.0.0.1", "-l", "none", "-P", str(folder / "pid")]


GEARMANDS: Final = (
    Variant("gearmand-t4", "gearmand as shipped (-t 4)", threads=4),
    Variant("gearmand-t0", "gearmand -t 0", threads=0),
    Variant("gearmand-t1", "gearmand -t 1", threads=1),
)
"""The first is D; the best of all three is B."""
OURS: Final = (
    Variant("pure", "geartrain", loop="asyncio"),
    Variant("pure-uvloop", "geartrain, uvloop", loop="uvloop"),
    Variant("compiled", "geartrain compiled", compiled=True, loop="asyncio"),
    Variant("compiled-uvloop", "geartrain compiled, uvloop", compiled=True, loop="uvloop"),
)
FLOOR: Final = Variant("floor", "the least a C server can cost")
VARIANTS: Final = {variant.name: variant for variant in (*GEARMANDS, *OURS, FLOOR)}


@dataclass
class Server:
    """A running server."""

    variant: Variant
    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        """CPU of the whole process so far, all threads. Linux: a process' clock is named by its inverted pid."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory_kib(self, name: str = "VmRSS") -> int:
        """A line of /proc/PID/status: VmRSS, or VmHWM for the peak."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise BenchError(f"the server {self.variant.name} has ended")

    def ask(self, line: str) -> str:
        """A command of the text protocol, and the answer up to its dot."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as connection:
            connection.sendall(line.encode() + b"\n")
            answer = b""
            while not answer.endswith(b".\n"):
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
        return answer.decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], deadline: float = 30.0) -> None:
    """Returns once the port is open.

    Raises:
        BenchError: the process ended, or the deadline (seconds) passed.
    """
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchError(f"the server ended with status {process.returncode} instead of opening port {port}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise BenchError(f"port {port} did not open in {deadline} s")


@contextmanager
def start(variant: Variant, folder: Path, extra: Sequence[str] = (), deadline: float = 30.0) -> Iterator[Server]:
    """Starts a server in a folder of its own, waits for its port, and ends it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GEARMAN", "PYTHON"))}
    command = [*variant.command(port, folder), *extra]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_for(port, process, deadline)
        yield Server(variant, process, port, folder)
    except BenchError as error:
        said = (folder / "server.log").read_text(errors="replace")[-2000:]
        raise BenchError(f"{error}\n{' '.join(command)}\n{said}") from error
    finally:
        process.kill()  # its memory may be full of a million jobs: nothing is gained by a gentle end
        process.wait()
