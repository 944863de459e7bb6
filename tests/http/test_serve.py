"""HTTP comes and goes with the server."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geartrain.errors import ConfigError
from geartrain.testing import Server
from tests.http.tools import Site, Wire, Worker, get, post
from tests.services import free_port, wait_until

Start = Callable[..., Site]


def test_a_port_in_use_is_named_and_nothing_stays_open(site: Site) -> None:
    port = free_port()
    with (
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{site.port}: Address already in use"),
        Server(listen=(f"127.0.0.1:{port}",), http=True, http_port=site.port),
    ):
        pass
    with Server(listen=(f"127.0.0.1:{port}",)):
        pass


def test_a_missing_package_is_named_with_its_command() -> None:
    program = (
        "import sys; sys.modules['httptools'] = None\n"
        "from geartrain.testing import Server\n"
        "from geartrain.errors import ConfigError\n"
        "try:\n    Server(http=True, http_port=0).start()\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "httptools" in run.stdout
    assert "pip install 'geartrain[http]'" in run.stdout


def test_several_addresses(start: Start) -> None:
    site = start(http_host="127.0.0.1, 127.0.0.2")
    addresses = site.server.job_server.http_addresses
    assert [address.rpartition(":")[0] for address in addresses] == ["http://127.0.0.1", "http://127.0.0.2"]
    for address in addresses:
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(get("/_gearman/api/health/live"))
            assert b"200 OK" in sock.recv(1000)


def test_a_stop_ends_streams_and_waiting_calls(start: Start) -> None:
    site = start()
    stream = site.wire().send(get("/_gearman/api/events", "Accept: text/event-stream"))
    stream.head()
    call = site.wire().send(post("/f", b"x"))
    api = site.client()
    wait_until(lambda: api.get("/functions/f").json().get("total") == 1, "the call waits")
    site.server.stop()
    stream.rest()
    assert call.rest() == b""


def test_a_drain_lets_the_running_call_end_and_takes_no_more(start: Start) -> None:
    site = start()
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x"))
    job = worker.take()
    loop = site.server._loop
    assert loop is not None
    server = site.server.job_server

    drained = asyncio.run_coroutine_threadsafe(server.drain(20), loop)
    health = site.client()
    wait_until(lambda: health.get("/health/ready").status_code == 503, "the server says that it is about to stop")
    other = site.wire().send(post("/f", b"y"))
    assert other.reply().status == 503
    worker.complete(job, b"result")
    assert wire.reply().body == b"result"
    drained.result(20)


def test_gearmand_opens_it_with_r_http(tmp_path: Path) -> None:
    port, http_port = free_port(), free_port()
    argv = [sys.executable, "-m", "geartrain.cli.gearmand", "-L", "127.0.0.1", "-p", str(port), "-r", "http",
            "--http-port", str(http_port), "-l", "stderr", "--verbose", "NOTICE"]  # fmt: skip
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(argv, stderr=log, cwd=tmp_path) as process:
        try:
            wait_until(lambda: f"http://127.0.0.1:{http_port}/" in (tmp_path / "log").read_text(), "it listens")
            with Worker(port, b"reverse") as worker, Wire(http_port) as wire:
                wire.send(post("/reverse", b"Hello"))
                job = worker.take()
                worker.complete(job, job.workload[::-1])
                assert wire.reply().body == b"olleH"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    log_text = (tmp_path / "log").read_text()
    assert "Traceback" not in log_text
    assert "WARNING" not in log_text


def test_a_unix_socket_belongs_to_this_machine(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    site = start(http_host=f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(get("/_gearman/api/jobs"))
        assert b"200 OK" in sock.recv(1000)
    site.server.stop()
    assert not path.exists()
