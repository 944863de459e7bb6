"""The servers and tools that the tests of the command line run with."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .programs import GEARTRAIN, Outcome, Running, Server, argv_of, run, start_server
from .terminal import Terminal


@pytest.fixture(scope="session", params=["debian", "geartrain"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Debian's gearmand, then ours. Shared by the tests: each uses functions of its own."""
    yield from _served(request.param)


@pytest.fixture(scope="session")
def gearmand() -> Iterator[Server]:
    """Debian's gearmand alone."""
    yield from _served("debian")


def _served(kind: str) -> Iterator[Server]:
    server = start_server(kind)
    yield server
    server.program.kill()


@pytest.fixture
def function() -> str:
    """A function's name that no other test uses."""
    return f"f-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["debian", "geartrain"])
def tool(request: pytest.FixtureRequest) -> str:
    """The C tools, then ours: what a test with this fixture says is true of both."""
    kind: str = request.param
    return kind


@pytest.fixture
def gearman(server: Server) -> Callable[..., Outcome]:
    """Runs our `gearman` on the server."""

    def call(*words: str, stdin: bytes = b"", kind: str = "geartrain", **more: object) -> Outcome:
        return run([*argv_of(kind, "gearman"), *server.flags, *words], stdin, **more)  # type: ignore[arg-type]

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts programs that are ended with the test."""
    started: list[Running] = []

    def call(argv: list[str], **more: object) -> Running:
        started.append(Running(argv, **more))  # type: ignore[arg-type]
        return started[-1]

    yield call
    for program in started:
        program.kill()


@pytest.fixture
def worker(server: Server, start: Callable[..., Running], function: str) -> Callable[..., Running]:
    """Starts a `gearman -w` for the test's function, the C one by default, and returns when it is registered."""

    def call(*words: str, kind: str = "debian", **more: object) -> Running:
        running = start([*argv_of(kind, "gearman"), *server.flags, "-w", "-f", function, *words], **more)
        server.wait_for_workers(function)
        return running

    return call


@pytest.fixture
def geartrain(server: Server) -> Callable[..., Outcome]:
    """Runs a command of `geartrain` on the server."""

    def call(command: str, *words: str, stdin: bytes = b"", **more: object) -> Outcome:
        return run([*GEARTRAIN, command, "-s", server.address, *words], stdin, **more)  # type: ignore[arg-type]

    return call


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts programs on terminals of their own, ended with the test."""
    started: list[Terminal] = []

    def call(argv: list[str], **more: object) -> Terminal:
        started.append(Terminal(argv, **more))  # type: ignore[arg-type]
        return started[-1]

    yield call
    for program in started:
        program.kill()


@pytest.fixture
def progressing(server: Server, start: Callable[..., Running], function: str, tmp_path: Path) -> Path:
    """A worker that reports progress, warns and sends data, and what it waits for before it ends a job: a file."""
    go = tmp_path / "go"
    (tmp_path / "slow.py").write_text(
        f"""
import pathlib, time
from geartrain import JobFailed, Worker

worker = Worker({server.address!r})

@worker.task({function!r})
def slow(job):
    job.send_status(1, 4)
    job.send_warning(b"careful")
    job.send_data(b"partly ")
    while not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.02)
    if job.workload == b"raise":
        raise ValueError("no such colour")
    if job.workload == b"fail":
        raise JobFailed
    job.send_status(4, 4)
    return b"done"
"""
    )
    start([*GEARTRAIN, "work", "slow:worker", "-q"], cwd=tmp_path)
    server.wait_for_workers(function)
    return go
