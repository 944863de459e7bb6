"""The quickstart's programs, run as they stand there, but for the server's address."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geartrain import AdminClient
from geartrain.testing import Server

from ..services import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text()
WORKER, CLIENT, ASYNCIO, MANY, FIXTURE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def run(program: str, server: Server) -> str:
    program = program.replace('"localhost"', repr(server.address))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_worker_and_client(server: Server) -> None:
    program = WORKER.replace('"localhost"', repr(server.address))
    with subprocess.Popen([sys.executable, "-W", "error", "-c", program]) as worker:
        try:
            with AdminClient(server.address) as admin:
                wait_until(lambda: any(s.workers for s in admin.status()), "the worker")
            first, second = run(CLIENT, server).splitlines()
            assert first == "b'olleh'"
            assert second.startswith("b'H:")
            assert run(MANY, server) == "[b'eno', b'owt', b'eerht']\nb'olleh'\n"
        finally:
            worker.terminate()
        assert worker.wait(20) == 0


def test_asyncio(server: Server) -> None:
    assert run(ASYNCIO, server) == "b'olleh'\n"


def test_in_your_tests(gearman_server: Server) -> None:
    names: dict[str, object] = {}
    exec(FIXTURE, names)
    names["test_my_worker"](gearman_server)  # type: ignore[operator]
