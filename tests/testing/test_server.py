"""The server for other people's tests, and its pytest fixture."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from geartrain import AsyncClient, Client, ConfigError, GeartrainError, Worker
from geartrain.testing import Server


def test_a_server_in_this_process() -> None:
    with Server() as server:
        assert server.address == f"127.0.0.1:{server.port}"
        worker = Worker(server.address)
        worker.register("reverse", lambda job: job.workload[::-1])
        thread = threading.Thread(target=worker.work)
        thread.start()
        with Client(server.address, timeout=20) as client:
            assert client.do("reverse", b"abc") == b"cba"
        worker.stop()
        thread.join(20)
    with pytest.raises(GeartrainError), Client(server.address, connect_timeout=1) as client:
        client.echo()


async def in_asyncio() -> bytes:
    async with Server() as server, AsyncClient(server.address, timeout=20) as client:
        return await client.echo(b"x")


def test_a_server_beside_asyncio() -> None:
    assert asyncio.run(in_asyncio()) == b"x"


def test_a_durable_queue_survives_a_restart(tmp_path: Path) -> None:
    with Server(sqlite=tmp_path / "queue.db") as server, Client(server.address, timeout=20) as client:
        handle = client.do_background("later", b"work")
        server.restart()
        assert client.job_status(handle).known


def test_settings_reach_the_server() -> None:
    with Server(job_handle_prefix="T", exceptions=True) as server, Client(server.address, timeout=20) as client:
        assert client.do_background("f").startswith(b"T:")


def test_two_starts_are_a_mistake() -> None:
    with Server() as server, pytest.raises(GeartrainError, match="runs already"):
        server.start()


def test_what_keeps_it_from_starting_is_raised() -> None:
    with Server() as server, pytest.raises(ConfigError, match="in use"):
        Server(listen=(server.address,)).start()


def test_the_fixture(gearman_server: Server) -> None:
    with Client(gearman_server.address, timeout=20) as client:
        assert client.echo(b"x") == b"x"


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    program = "import sys, geartrain.testing.pytest_plugin; print([m for m in sys.modules if 'geartrain' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['geartrain', 'geartrain.testing', 'geartrain.testing.pytest_plugin']"


def test_the_log_names_its_levels() -> None:
    """Elsewhere than in pytest, whose own run has imported everything by now."""
    code = """
import logging
logging.basicConfig(level=logging.INFO)
from geartrain import AdminClient
from geartrain.testing import Server
with Server() as server, AdminClient(server.address) as admin:
    admin.shutdown()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "NOTICE:geartrain.server:shutdown was asked for" in done.stderr
