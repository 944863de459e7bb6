"""Durable queues, ours beside Debian's gearmand, on the same database server in one run.

    .venv/bin/python -m benchmarks.stores [--jobs N] [--replay N] [QUEUE TYPE ...]

For each queue type: jobs that are durable per second with one client that waits for each, and with 4 clients of 1,000
in flight; then a start on a queue of N jobs: seconds until all of them are there, and the memory that it took. Medians
are for the eye: run it several times. Needs the services of tests/services.py.
"""

import argparse
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import services
from tests.stores.backends import BACKENDS, Backend, Queue, running

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import HEADER_SIZE, request
from geartrain.stores import find
from geartrain.stores.base import Batch, StoredJob

OURS = shutil.which("gearmand", path=os.path.dirname(sys.executable)) or "gearmand"
THEIRS = "/usr/sbin/gearmand"


@contextmanager
def server(program: str, kind: str, options: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """A job server on a queue: its port and process number."""
    port = services.free_port()
    arguments = [f"--{name}={value}" for name, value in options.items()]
    argv = [program, "-q", kind, "-L", "127.0.0.1", "-p", str(port), "-l", "none", *arguments]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        services.wait_until(lambda: services._answers(port), f"{program} is there", 600)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def submit(port: int, clients: int, in_flight: int, jobs: int, seconds: float) -> float:
    """Background jobs per second, acknowledged."""
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
    sent, acknowledged = 0, 0
    waiting = dict.fromkeys(peers, 0)
    rest = dict.fromkeys(peers, b"")
    started = time.perf_counter()
    while acknowledged < sent or (sent < jobs and time.perf_counter() - started < seconds):
        for peer in peers:
            room = min(in_flight - waiting[peer], jobs - sent)
            if time.perf_counter() - started >= seconds:
                room = 0
            if room > 0:
                names = range(sent, sent + room)
                peer.sendall(b"".join(request(Command.SUBMIT_JOB_BG, b"f", b"u%d" % n, b"x" * 100) for n in names))
                sent += room
                waiting[peer] += room
        for peer in select.select([peer for peer in peers if waiting[peer]], [], [], 10)[0]:
            data = rest[peer] + peer.recv(1 << 18)
            at = 0
            while len(data) - at >= HEADER_SIZE:
                size = int.from_bytes(data[at + 8 : at + 12])
                if len(data) - at < HEADER_SIZE + size:
                    break
                if data[at + 7] != Command.JOB_CREATED:
                    raise SystemExit(f"refused: {data[at : at + 100]!r}")
                at += HEADER_SIZE + size
                acknowledged += 1
                waiting[peer] -= 1
            rest[peer] = data[at:]
    took = time.perf_counter() - started
    for peer in peers:
        peer.close()
    return acknowledged / took


def count(port: int) -> int:
    """Jobs of the function f."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"status\n")
        data = b""
        while not data.endswith(b".\n"):
            data += peer.recv(65536)
    return next((int(line.split(b"\t")[1]) for line in data.splitlines() if line.startswith(b"f\t")), 0)


def replay(program: str, kind: str, options: Mapping[str, str], jobs: int) -> tuple[float, float]:
    """Seconds from the start until all jobs are there, and megabytes of memory then."""
    started = time.perf_counter()
    with server(program, kind, options) as (port, pid):
        services.wait_until(lambda: count(port) >= jobs, "all jobs are there", 900)
        took = time.perf_counter() - started
        status = Path(f"/proc/{pid}/status").read_text()
        return took, int(status.split("VmHWM:")[1].split()[0]) / 1024


def fill(queue: Queue, jobs: int) -> None:
    """Writes jobs straight into a store, as gearmand can read them."""
    store = queue.make(b"H:bench:")
    first = store.open()
    for start in range(first, first + jobs, 1000):
        numbers = range(start, min(start + 1000, first + jobs))
        store.apply(Batch(adds=[StoredJob(n, b"H:bench:%d" % n, b"f", b"u%d" % n, b"x" * 100) for n in numbers]))
    store.close()


def measure(backend: Backend, jobs: int, stored: int, folder: Path) -> None:
    with running(backend) as service:
        programs = {"geartrain": OURS} | ({"gearmand": THEIRS} if backend.gearmand else {})
        one, many = {}, {}
        for name, program in programs.items():
            kind = backend.name if program == OURS else backend.gearmand
            with server(program, kind, Queue(backend, service, folder).options) as (port, _):
                one[name] = submit(port, 1, 1, jobs, 5)
            with server(program, kind, Queue(backend, service, folder).options) as (port, _):
                many[name] = submit(port, 4, 1000, jobs, 10)
        print(f"{backend.name:16} one at a time  {_pair(one)} jobs/s")
        print(f"{'':16} 4 x 1000       {_pair(many)} jobs/s")
        if stored:
            queue = Queue(backend, service, folder)
            fill(queue, stored)
            took, memory = {}, {}
            for name, program in programs.items():
                kind = backend.name if program == OURS else backend.gearmand
                try:
                    took[name], memory[name] = replay(program, kind, queue.options, stored)
                except (AssertionError, OSError) as exc:
                    print(f"{'':16} {name} did not start on {stored} jobs: {exc}")
            print(f"{'':16} {stored} stored {_pair(took, 2)} s to start;  {_pair(memory)} MB")


def _pair(values: Mapping[str, float], digits: int = 0) -> str:
    text = "  ".join(f"{name} {value:>10,.{digits}f}" for name, value in values.items())
    if len(values) == 2:
        text += f"  (x {values['geartrain'] / values['gearmand']:.2f})"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200_000, help="jobs at most for each figure")
    parser.add_argument("--replay", type=int, default=1_000_000, help="jobs in the queue at the start; 0 for none")
    parser.add_argument("kinds", nargs="*", metavar="QUEUE TYPE")
    arguments = parser.parse_args()
    wanted = {find(kind) for kind in arguments.kinds}
    for backend in BACKENDS.values():
        if not backend.keeps_object and not backend.kind and (not wanted or find(backend.name) in wanted):
            with tempfile.TemporaryDirectory() as folder:
                measure(backend, arguments.jobs, arguments.replay, Path(folder))


if __name__ == "__main__":
    main()
