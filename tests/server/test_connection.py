"""What a program at the other end of a socket sees."""

import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request
from geartrain.testing.server import Server
from tests.server.wire import Wire


@pytest.fixture(params=["asyncio", "uvloop", "no epoll"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """All ways of watching sockets: our poller in asyncio's loop; add_reader on uvloop, and where epoll is missing."""
    loop = request.param
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed (geartrain[fast])")
    if loop == "no epoll":
        loop = "auto"
        monkeypatch.delattr(select, "epoll")
    with Server(loop=loop) as server:
        yield server


def test_a_job_there_and_back(server: Server) -> None:
    with Wire(server.port) as client, Wire(server.port) as worker:
        worker.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
        client.say(C.SUBMIT_JOB, b"f", b"", b"abc")
        created = client.hear()
        assert created[0] is C.JOB_CREATED
        assert worker.hear() == (C.NOOP,)
        assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, created[1], b"f", b"abc")
        worker.say(C.WORK_COMPLETE, created[1], b"cba")  # type: ignore[arg-type]
        assert client.hear() == (C.WORK_COMPLETE, created[1], b"cba")


def test_byte_by_byte(server: Server) -> None:
    with Wire(server.port) as peer:
        for byte in request(C.ECHO_REQ, b"hello") + b"version\n" + request(C.ECHO_REQ, b"you"):
            peer.send(bytes([byte]))
        data = b""
        while not data.endswith(b"you"):
            data += peer.socket.recv(1000)
        assert data.count(b"OK ") == 1
        assert b"hello" in data


def test_text_and_binary_on_one_connection(server: Server) -> None:
    with Wire(server.port) as peer:
        assert peer.text("status") == ".\n"
        assert peer.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
        assert peer.text("version").startswith("OK ")


def test_a_half_closed_connection_gets_its_answer(server: Server) -> None:
    """printf 'status\\nversion\\n' | nc -N"""
    with Wire(server.port) as peer:
        peer.send(b"status\nversion\n")
        peer.socket.shutdown(socket.SHUT_WR)
        answer = peer.read_to_end()
        assert answer.startswith(b".\nOK ")
        assert answer.endswith(b"\n")


def test_large_workload_and_slow_reader(server: Server) -> None:
    workload = bytes(range(256)) * (20 * 4096)  # 20 MiB: far more than the sockets hold
    with Wire(server.port) as client, Wire(server.port) as worker:
        worker.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
        client.say(C.SUBMIT_JOB, b"f", b"", workload)
        handle = client.hear()[1]
        assert worker.hear() == (C.NOOP,)
        worker.say(C.GRAB_JOB)
        with Wire(server.port) as other:  # nobody else waits for it
            assert other.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
        assert worker.hear() == (C.JOB_ASSIGN, handle, b"f", workload)
        worker.say(C.WORK_DATA, handle, workload).say(C.WORK_COMPLETE, handle, b"end")  # type: ignore[arg-type]
        assert client.hear() == (C.WORK_DATA, handle, workload)
        assert client.hear() == (C.WORK_COMPLETE, handle, b"end")


def test_a_worker_that_is_reset_while_it_sends_loses_its_job(server: Server) -> None:
    """uvloop does not tell of it; somebody else must get the job all the same."""
    with Wire(server.port) as client, Wire(server.port) as other:
        for _ in range(5):
            worker = Wire(server.port)
            worker.say(C.CAN_DO, b"f")
            client.say(C.SUBMIT_JOB, b"f", b"", b"abc")
            handle = client.hear()[1]
            assert worker.say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN
            worker.send(request(C.WORK_COMPLETE, handle, bytes(1 << 20))[:500_000])  # type: ignore[arg-type]
            worker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
            worker.close()
            other.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
            assert other.hear() == (C.NOOP,)
            assert other.say(C.GRAB_JOB).hear()[1] == handle
            other.say(C.CANT_DO, b"f").say(C.WORK_COMPLETE, handle, b"")  # type: ignore[arg-type]
            assert client.hear() == (C.WORK_COMPLETE, handle, b"")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with Wire(server.port) as peer:
        peer.send(b"".join(request(C.ECHO_REQ, b"%d" % number) for number in range(5000)))
        assert [peer.hear()[1] for _ in range(5000)] == [b"%d" % number for number in range(5000)]


def test_a_workers_timeout_is_kept_without_other_traffic(server: Server) -> None:
    with Wire(server.port) as client, Wire(server.port) as slow, Wire(server.port) as other:
        slow.say(C.CAN_DO_TIMEOUT, b"f", b"300")
        client.say(C.SUBMIT_JOB, b"f", b"", b"abc")
        handle = client.hear()[1]
        assert slow.say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN
        other.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
        assert other.hear() == (C.NOOP,)
        assert other.say(C.GRAB_JOB).hear()[1] == handle


def test_all_kinds_of_addresses(tmp_path: Path) -> None:
    path = str(tmp_path / "gear.sock")
    with Server(listen=("127.0.0.1:0", "[::1]:0", f"unix:{path}")) as server:
        addresses = server.job_server.addresses
        assert len(addresses) == 3
        with Wire(path) as unix, Wire(int(addresses[1].rpartition(":")[2]), "::1") as six, Wire(server.port) as four:
            for peer in (unix, six, four):
                assert peer.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
            assert len(four.text("workers").splitlines()) == 4
        server.restart()
        with Wire(path) as unix:
            assert unix.text("version").startswith("OK ")
    assert not Path(path).exists()


def test_an_address_in_use_is_named(server: Server) -> None:
    from geartrain.errors import ConfigError

    with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{server.port}: Address already in use"):
        Server(listen=(f"127.0.0.1:{server.port}",)).start()


def test_shutdown_by_text(server: Server) -> None:
    with Wire(server.port) as peer:
        assert peer.text("shutdown") == "OK\r\n"
        assert peer.read_to_end() == b""
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        Wire(server.port)
