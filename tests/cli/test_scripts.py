"""`scripts/run`, the first thing that a newcomer types."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.programs import PATIENCE, argv_of, environment, free_port, missing, run, wait_until

ROOT = Path(__file__).parents[2]


class Script:
    """`scripts/run` on a port and a state folder of its own, in a session of its own as in a terminal."""

    def __init__(self, state: Path) -> None:
        self.port = free_port()
        self.output = state / "output"
        env = environment({"XDG_STATE_HOME": str(state), "GEARMAND_PORT": str(self.port)})
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [ROOT / "scripts" / "run", "-r", "none"], env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=_take_signals,
            )  # fmt: skip
        wait_until(lambda: self.workers("reverse") or self.process.poll() is not None, "the sample worker", 60)
        assert self.process.poll() is None, self.output.read_text()

    def status(self) -> dict[str, list[str]]:
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as link, link.makefile() as lines:
                link.sendall(b"status\n")
                rows = iter(lines.readline, ".\n")
                return {name: counts for name, *counts in (row.rstrip("\n").split("\t") for row in rows)}
        except OSError:
            return {}

    def workers(self, function: str) -> bool:
        return self.status().get(function, ["0"])[-1] != "0"

    def processes(self) -> list[str]:
        """The command lines of all that it started."""
        listed = subprocess.run(
            ["ps", "-s", str(self.process.pid), "-o", "args="], capture_output=True, text=True, check=False
        )
        return listed.stdout.splitlines()

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def _take_signals() -> None:
    # A shell that is started with the signal ignored cannot take it, and whoever runs the tests may ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[[], Script]]:
    ready = ROOT / ".venv" / ".geartrain-run"
    if not ready.exists() or ready.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        missing("this .venv is not what pyproject.toml asks for: run scripts/setup")
    if shutil.which("ps") is None:
        missing("ps is not installed (Debian: apt-get install procps)")
    started: list[Script] = []

    def start() -> Script:
        started.append(Script(tmp_path))
        return started[-1]

    yield start
    for item in started:
        listed = subprocess.run(
            ["ps", "-s", str(item.process.pid), "-o", "pid="], capture_output=True, text=True, check=False
        )
        for pid in listed.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        item.process.wait(PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_stops_cleanly_and_finds_its_jobs_again(number: int, script: Callable[[], Script]) -> None:
    first = script()
    gearman = [*argv_of("geartrain", "gearman"), "-h", "127.0.0.1"]
    assert run([*gearman, "-p", str(first.port), "-f", "reverse", "Hello"]).out == b"olleH"
    assert run([*gearman, "-p", str(first.port), "-b", "-f", "later", "work"]).status == 0
    assert len(first.processes()) == 3
    assert first.stop(number) == 0
    assert first.processes() == []
    assert "Traceback" not in first.output.read_text()
    second = script()
    wait_until(lambda: second.status().get("later") == ["1", "0", "0"], "the job of the first run")
    assert second.stop(number) == 0


def test_a_port_that_is_taken_ends_it(script: Callable[[], Script], tmp_path: Path) -> None:
    port = script().port
    env = {"XDG_STATE_HOME": str(tmp_path / "other"), "GEARMAND_PORT": str(port)}
    done = run([str(ROOT / "scripts" / "run"), "-r", "none"], env=env)
    assert done.status == 1
    assert f"127.0.0.1:{port}: Address already in use" in done.said
