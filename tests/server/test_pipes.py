"""Large workloads and results that wait in the kernel: nobody may notice, but for the server's memory."""

import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request
from geartrain.testing.server import Server
from tests.server.daemon import daemon, memory
from tests.server.wire import Wire
from tests.services import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="splice and tee are Linux's")

MIB = 1 << 20
FEW = 8
"""Ends of the pipes of one packet, or two: a slow reader gets smaller segments, and needs more room for them."""


def data(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def pipes() -> int:
    """How many ends of pipes this process has, and the servers in it."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            count += os.readlink(fd).startswith("pipe:")
        except FileNotFoundError:  # the one that lists them
            continue
    return count


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def submit(client: Wire, workload: bytes, unique: bytes = b"", command: C = C.SUBMIT_JOB) -> bytes:
    answer = client.say(command, b"f", unique, workload).hear()
    assert answer[0] is C.JOB_CREATED
    assert isinstance(answer[1], bytes)
    return answer[1]


@pytest.mark.parametrize("command", [C.SUBMIT_JOB, C.SUBMIT_JOB_HIGH, C.SUBMIT_JOB_LOW])
@pytest.mark.parametrize("size", [500_000, MIB, 5 * MIB, 40 * MIB])
def test_there_and_back(server: Server, size: int, command: C) -> None:
    before = pipes()
    workload, part, result = data(size, 1), data(size, 2), data(size, 3)
    with Wire(server.port) as client, Wire(server.port) as worker:
        handle = submit(client, workload, command=command)
        assert pipes() > before, "the workload was copied"
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
        worker.say(C.WORK_DATA, handle, part).say(C.WORK_WARNING, handle, workload).say(C.WORK_COMPLETE, handle, result)
        assert client.hear() == (C.WORK_DATA, handle, part)
        assert client.hear() == (C.WORK_WARNING, handle, workload)
        assert client.hear() == (C.WORK_COMPLETE, handle, result)
        handle = submit(client, part)  # in pipes that were used before
        assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", part)


def test_other_grabs(server: Server) -> None:
    workload = data(MIB)
    for grab, assign in ((C.GRAB_JOB_UNIQ, C.JOB_ASSIGN_UNIQ), (C.GRAB_JOB_ALL, C.JOB_ASSIGN_UNIQ)):
        with Wire(server.port) as client, Wire(server.port) as worker:
            handle = submit(client, workload, b"u")
            assert worker.say(C.CAN_DO, b"f").say(grab).hear() == (assign, handle, b"f", b"u", workload)


def test_other_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "gear.sock")
    workload, result = data(3 * MIB, 1), data(3 * MIB, 2)
    with Server(listen=("127.0.0.1:0", f"unix:{path}")) as server:
        for client_at, worker_at in ((path, path), (path, server.port), (server.port, path)):
            with Wire(client_at) as client, Wire(worker_at) as worker:
                handle = submit(client, workload)
                assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
                assert worker.say(C.WORK_COMPLETE, handle, result)
                assert client.hear() == (C.WORK_COMPLETE, handle, result)


def test_the_worker_vanishes(server: Server) -> None:
    """The job is whole again for the next one, wherever the first had got to."""
    workload = data(4 * MIB)
    with Wire(server.port) as client:
        handle = submit(client, workload)
        for read in (0, 1000, MIB, 4 * MIB):
            with Wire(server.port) as worker:
                worker.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
                assert worker.hear() == (C.NOOP,)
                worker.say(C.GRAB_JOB)
                while read > 0:
                    read -= len(worker.socket.recv(read))
        with Wire(server.port) as worker:
            worker.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
            assert worker.hear() == (C.NOOP,)
            assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)


def test_several_clients_of_one_job(server: Server) -> None:
    workload, result = data(2 * MIB, 1), data(2 * MIB, 2)
    with Wire(server.port) as first, Wire(server.port) as second, Wire(server.port) as worker:
        handle = submit(first, workload, b"same")
        assert submit(second, data(MIB, 3), b"same") == handle
        assert submit(second, workload, b"same") == handle
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
        worker.say(C.WORK_COMPLETE, handle, result)
        for client in (first, second, second):
            assert client.hear() == (C.WORK_COMPLETE, handle, result)


def test_the_workload_as_the_unique(server: Server) -> None:
    workload = data(MIB)
    with Wire(server.port) as first, Wire(server.port) as second, Wire(server.port) as worker:
        handle = submit(first, workload, b"-")
        assert submit(second, workload, b"-") == handle
        assert submit(second, data(MIB, 1), b"-") != handle
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)


def test_a_foreground_job_becomes_durable(tmp_path: Path) -> None:
    """Somebody submits the same job in the background: it outlives a kill."""
    workload = data(2 * MIB)
    with daemon("-q", "libsqlite3", f"--libsqlite3-db={tmp_path / 'q.db'}") as server:
        with Wire(server.port) as client, Wire(server.port) as other:
            handle = submit(client, workload, b"u")
            assert submit(other, b"", b"u", C.SUBMIT_JOB_BG) == handle
        server.kill()
        server.start()
        with Wire(server.port) as worker:
            worker.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
            assert worker.hear() == (C.NOOP,)
            assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)


def test_who_reads_slowly_gets_it_in_order(server: Server) -> None:
    """Small replies stand between the large ones."""
    workloads = [data(MIB, seed) for seed in range(12)]
    with Wire(server.port) as client, Wire(server.port) as worker:
        worker.say(C.CAN_DO, b"f")
        handles = [submit(client, workload) for workload in workloads]
        for handle, workload in zip(handles, workloads, strict=True):
            assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
            worker.say(C.WORK_STATUS, handle, b"1", b"2").say(C.WORK_COMPLETE, handle, workload)
            client.say(C.ECHO_REQ, b"x")
        heard = [client.hear() for _ in range(3 * len(workloads))]
        assert [packet for packet in heard if packet[0] is C.WORK_COMPLETE] == [
            (C.WORK_COMPLETE, *pair) for pair in zip(handles, workloads, strict=True)
        ]


def test_what_is_refused_does_not_disturb_the_rest(server: Server) -> None:
    before = pipes()
    with Wire(server.port) as client, Wire(server.port) as worker:
        for command in (C.WORK_COMPLETE, C.WORK_DATA) * 5:
            answer = worker.say(command, b"H:no:1", data(MIB)).hear()
            assert answer[:2] == (C.ERROR, b"JOB_NOT_FOUND")
        answer = client.say(C.SUBMIT_JOB, b"f", b"u" * 65, data(MIB)).hear()
        assert answer[:2] == (C.ERROR, b"ARGUMENT_TOO_LARGE")
        for peer in (client, worker):
            assert peer.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
        assert pipes() <= before + FEW, "pipes are not used again"


def test_a_worker_that_submits_durable_jobs_gets_a_large_one(tmp_path: Path) -> None:
    """The workload waits behind an acknowledgement that waits for the store, and before that something was sent."""
    workload = data(MIB)
    with (
        daemon("-q", "libsqlite3", f"--libsqlite3-db={tmp_path / 'q.db'}") as server,
        Wire(server.port) as client,
        Wire(server.port) as worker,
    ):
        handle = submit(client, workload)
        worker.say(C.CAN_DO, b"f").say(C.ECHO_REQ, b"x")
        assert worker.hear() == (C.ECHO_RES, b"x")
        worker.send(request(C.ECHO_REQ, b"y") + request(C.SUBMIT_JOB_BG, b"g", b"", b"") + request(C.GRAB_JOB))
        assert worker.hear() == (C.ECHO_RES, b"y")
        assert worker.hear()[0] is C.JOB_CREATED
        assert worker.hear() == (C.JOB_ASSIGN, handle, b"f", workload)


def test_who_sends_no_more_gets_what_it_has_not_read(server: Server) -> None:
    result = data(8 * MIB)
    with Wire(server.port) as client, Wire(server.port) as worker:
        handle = submit(client, b"")
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"")
        assert worker.say(C.WORK_COMPLETE, handle, result).say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
        client.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: len(server.job_server.engine.peers) == 1, "the server has seen the end")
        assert client.hear() == (C.WORK_COMPLETE, handle, result)
        assert client.read_to_end() == b""


def test_a_timer_keeps_no_workload(server: Server) -> None:
    """A job that runs for long has the first timer, and those of later jobs stay behind it."""
    before = pipes()
    with Wire(server.port) as client, Wire(server.port) as slow, Wire(server.port) as worker:
        for peer in (slow, worker):
            peer.say(C.CAN_DO_TIMEOUT, b"f", b"3600000")
        submit(client, data(MIB))
        assert slow.say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN
        for seed in range(10):
            handle = submit(client, data(MIB, seed))
            assert worker.say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN
            worker.say(C.WORK_COMPLETE, handle, b"")
            assert client.hear() == (C.WORK_COMPLETE, handle, b"")
        assert pipes() - before <= 2 * FEW, "ended jobs keep their pipes"


def test_a_byte_out_of_band_does_not_stop_it(server: Server) -> None:
    """splice does not get past it, and recv does."""
    workload = data(MIB)
    packet = request(C.SUBMIT_JOB, b"f", b"", workload)
    with Wire(server.port) as client, Wire(server.port) as worker:
        client.send(packet[:400_000])
        client.socket.send(b"!", socket.MSG_OOB)
        handle = client.send(packet[400_000:]).hear()[1]
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)


@pytest.mark.parametrize("without", ["pipes._tee = None", "sys.modules['ctypes'] = None"])
def test_systems_without_it(without: str) -> None:
    """There everything is copied."""
    imports = "from geartrain.server import pipes; " if "pipes" in without else ""
    code = f"import sys; {imports}{without}; from geartrain.cli.gearmand import main; sys.exit(main())"
    workload = data(2 * MIB)
    with daemon() as server:
        server.kill()
        server.argv[1:3] = ["-c", code]
        server.start()
        with Wire(server.port) as client, Wire(server.port) as worker:
            handle = submit(client, workload)
            assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
            worker.say(C.WORK_COMPLETE, handle, workload)
            assert client.hear() == (C.WORK_COMPLETE, handle, workload)


def test_nobody_waits_for_the_result(server: Server) -> None:
    workload = data(MIB)
    with Wire(server.port) as worker:
        with Wire(server.port) as client:
            handle = submit(client, workload)
            assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
        wait_until(lambda: len(server.job_server.engine.peers) == 1, "the server has seen it leave")
        worker.say(C.WORK_COMPLETE, handle, workload)
        assert worker.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")


def test_what_comes_in_tiny_segments_is_copied(server: Server) -> None:
    """Pipes have room for so many segments, however small they are."""
    workload = data(400_000)
    with Wire(server.port) as client, Wire(server.port) as worker:
        packet = request(C.SUBMIT_JOB, b"f", b"", workload)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, 120_000, 600):
            client.send(packet[start : start + 600])
        client.send(packet[120_000:])
        handle = client.hear()[1]
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
        assert submit(client, workload)


def test_who_leaves_in_the_middle_leaves_nothing(server: Server) -> None:
    whole = request(C.SUBMIT_JOB, b"f", b"", data(MIB))
    with Wire(server.port) as client, Wire(server.port) as other:
        submit(client, data(MIB))
        assert other.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
        before = pipes()
        for size in (200_000, 700_000, len(whole) - 1) * 5:
            with Wire(server.port) as leaver:
                assert leaver.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x"), "the server has seen it come"
                leaver.send(whole[:size])
            wait_until(lambda: len(server.job_server.engine.peers) == 2, "the server has seen it leave")
        with Wire(server.port) as leaver:
            submit(leaver, data(MIB))
        wait_until(lambda: len(server.job_server.engine.jobs) == 1, "its job has ended with it")
        assert pipes() <= before + FEW, "pipes are not used again"


def test_it_is_not_in_the_servers_memory() -> None:
    with daemon() as server, Wire(server.port) as client:
        submit(client, data(MIB))
        before = memory(server)
        for seed in range(60):
            submit(client, data(MIB, seed))
        assert memory(server) - before < 25 * MIB


def test_more_than_there_are_pipes() -> None:
    """With few descriptors the rest is copied, and connections still come through."""
    workloads = [data(MIB, seed) for seed in range(30)]
    with daemon(prefix=("prlimit", "--nofile=200:200")) as server, Wire(server.port) as client:
        handles = [submit(client, workload) for workload in workloads]
        with Wire(server.port) as worker:
            worker.say(C.CAN_DO, b"f")
            for handle, workload in zip(handles, workloads, strict=True):
                assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", workload)
                worker.say(C.WORK_COMPLETE, handle, workload)
                assert client.hear() == (C.WORK_COMPLETE, handle, workload)


def test_pipes_that_are_not_needed_end(server: Server) -> None:
    """Other servers of the same user may have none left."""
    before = pipes()
    with Wire(server.port) as client:
        for seed in range(5):
            submit(client, data(MIB, seed))
        assert pipes() > before
    wait_until(lambda: pipes() == before, "the pipes to end")
    with Wire(server.port) as client:
        submit(client, data(MIB))
        assert pipes() > before, "there are none any more"


def test_pipes_end_with_the_server() -> None:
    before = pipes()
    with Server() as server, Wire(server.port) as client:
        for seed in range(5):
            submit(client, data(MIB, seed))
    assert pipes() == before
