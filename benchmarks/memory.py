"""What a server takes in memory: per idle connection, per function, per worker's ability, per queued job.

``python -m benchmarks.memory``. Figures are resident bytes (RSS), after minus before, divided by the count.
"""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import request

CONNECTIONS = 10_000
FUNCTIONS = 20_000
JOBS = 1_000_000


@contextmanager
def server(name: str) -> Iterator[tuple[int, int]]:
    """A server on a free port: port and process id."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        probe.close()
        start = [shutil.which("gearmand", path="/usr/sbin") or "gearmand", "-P", f"{folder}/pid"]
        if name == "geartrain":
            start = [sys.executable, "-m", "geartrain.cli.gearmand"]
        command = [*start, "-p", str(port), "-L", "127.0.0.1", "-l", "none", "--backlog", "1024"]
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": os.getcwd() + "/src"})
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.01)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def settle(peer: socket.socket) -> None:
    """Waits until the server has done what it was sent before."""
    peer.sendall(request(Command.ECHO_REQ, b"done?"))
    tail = b""
    while not tail.endswith(b"done?"):
        tail = (tail + peer.recv(1 << 20))[-5:]


def connections(port: int) -> list[socket.socket]:
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for peer in peers:
        settle(peer)
    return peers


def functions(port: int) -> list[socket.socket]:
    peer = socket.create_connection(("127.0.0.1", port))
    for first in range(0, FUNCTIONS, 1000):
        names = range(first, first + 1000)
        peer.sendall(b"".join(request(Command.CAN_DO, b"function-%06d" % n) for n in names))
    settle(peer)
    return [peer]


def jobs(command: Command, unique: bool) -> Callable[[int], list[socket.socket]]:
    def submit(port: int) -> list[socket.socket]:
        peer = socket.create_connection(("127.0.0.1", port))
        for first in range(0, JOBS, 1000):
            numbers = range(first, first + 1000)
            peer.sendall(b"".join(request(command, b"f", b"%020d" % n if unique else b"", b"w" * 100) for n in numbers))
            settle(peer)
        return [peer]

    return submit


ROWS: list[tuple[str, int, Callable[[int], list[socket.socket]]]] = [
    ("idle connection", CONNECTIONS, connections),
    ("function, registered by one worker", FUNCTIONS, functions),
    ("queued background job, 100 bytes, no unique", JOBS, jobs(Command.SUBMIT_JOB_BG, False)),
    ("queued background job, 100 bytes, unique of 20", JOBS, jobs(Command.SUBMIT_JOB_BG, True)),
    ("queued foreground job, 100 bytes, unique of 20", JOBS, jobs(Command.SUBMIT_JOB, True)),
]


def main() -> None:
    """Prints the table."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print("| bytes per | geartrain | gearmand |\n|---|---|---|")
    for title, count, fill in ROWS:
        cells = []
        for name in ("geartrain", "gearmand"):
            with server(name) as (port, pid):
                time.sleep(0.3)
                before = resident(pid)
                peers = fill(port)
                cells.append(f"{(resident(pid) - before) / count:,.0f}")
                for peer in peers:
                    peer.close()
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
