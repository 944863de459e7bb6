"""Fixtures: the server under test, and guests that end with their test."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .programs import TIME_LIMIT, Finished, Program, clean_environment
from .servers import Server, start

KINDS = ("gearmand", "geartrain")

Launch = Callable[..., Server]
Run = Callable[..., Finished]
Spawn = Callable[..., Program]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which server is under test: Debian's gearmand, then ours."""
    return str(request.param)


@pytest.fixture
def launch(kind: str) -> Iterator[Launch]:
    """Starts servers of this kind with options; they end with the test."""
    with contextlib.ExitStack() as started:

        def launch(*options: str, **more: object) -> Server:
            server = start(kind, options, **more)  # type: ignore[arg-type]
            started.callback(server.process.close)
            return server

        yield launch


@pytest.fixture
def server(launch: Launch) -> Server:
    """A server with its default options."""
    return launch()


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts programs in the background; they end with the test, and what they started with them."""
    with contextlib.ExitStack() as started:

        def spawn(argv: Sequence[str], *, stdin: bytes = b"", **environment: str) -> Program:
            program = Program(argv, clean_environment(environment), stdin)
            started.callback(program.close)
            return program

        yield spawn


@pytest.fixture
def run(spawn: Spawn) -> Run:
    """Runs a program to its end, within its time limit."""

    def run(argv: Sequence[str], *, timeout: float = TIME_LIMIT, **more: object) -> Finished:
        return spawn(argv, **more).finish(timeout)

    return run


class Gate:
    """Holds a worker in the middle of a job until the test opens it: a named pipe that the worker reads."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)

    def open(self, text: str) -> None:
        """Lets the job go on; `text` is what it will answer. Waits until the job stands at the gate."""
        Path(self.path).write_text(text)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def worker(spawn: Spawn, script, server: Server):
    """Starts a guest's worker and waits until the server knows it. The language's own `script` says how it is run."""

    def worker(*functions: str, options: tuple[str, ...] = (), count: int = 1) -> Program:
        program = spawn([*script("worker", *options), *functions])
        for function in functions:
            server.wait_for_workers(function.split(":")[0], count, program)
        return program

    return worker


@pytest.fixture
def lines(run: Run, script):
    """Runs a guest and returns what it printed; it must not have complained."""

    def lines(name: str, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        done = run([*script(name, *options), *words])
        assert (done.code, done.errors) == (0, b""), done
        return done.lines

    return lines
