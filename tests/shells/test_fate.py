"""What becomes of a job whose connection ends: nothing is sent twice in secret, nothing is lost without a word."""

import pytest

from geartrain import ConnectionLost, Job, JobException, TaskState
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import response
from geartrain.testing import Server

from .conftest import World
from .fakes import Peer, Scripted


def hang_up_after_the_job(peer: Peer) -> None:
    assert peer.packet()[0] in (C.SUBMIT_JOB, C.SUBMIT_JOB_BG)


@pytest.mark.parametrize("background", [False, True])
def test_a_job_of_unknown_fate_is_an_error_and_is_not_sent_again(world: World, function: str, background: bool) -> None:
    runs: list[bytes] = []
    with Scripted(hang_up_after_the_job) as first, Server() as second, world.worker(second.address) as worker:
        worker.register(function, lambda job: runs.append(job.workload))
        with world.client([first.address, second.address]) as client:
            task = client.submit(function, b"once", background=background)
            with pytest.raises(ConnectionLost, match=f"{first.address}.*may run or not, and was not sent again"):
                task.result()
            assert task.state is TaskState.LOST
            client.do(function, b"another")  # on the second server
    assert runs == [b"another"]


def test_a_job_that_did_not_wholly_leave_goes_to_the_next_server(world: World, function: str) -> None:
    def listen_a_little(peer: Peer) -> None:
        peer.sock.recv(1000)

    def length(job: Job) -> bytes:
        return b"%d" % len(job.workload)

    with Scripted(listen_a_little) as first, Server() as second, world.worker(second.address) as worker:
        worker.register(function, length)
        with world.client([first.address, second.address]) as client:
            workload = b"x" * (32 << 20)  # more than sockets hold
            assert client.do(function, workload) == b"%d" % len(workload)


def test_a_result_that_never_comes_is_an_error(world: World, function: str) -> None:
    def take_and_leave(peer: Peer) -> None:
        peer.packet()
        peer.send(response(C.JOB_CREATED, b"H:1") + response(C.WORK_DATA, b"H:1", b"half"))

    with Scripted(take_and_leave) as server, world.client(server.address) as client:
        task = client.submit(function)
        pieces = iter(task)
        assert next(pieces) == b"half"
        with pytest.raises(ConnectionLost, match="while the job H:1 was awaited"):
            next(pieces)
        assert task.handle == b"H:1"


def test_a_result_above_the_servers_limit_ends_the_job(world: World, function: str) -> None:
    """Every worker would send it again."""
    runs: list[bytes] = []

    def grow(job: Job) -> bytes:
        runs.append(job.workload)
        return bytes(int(job.workload))

    with Server(max_packet=500_000) as server, world.worker(server.address) as worker:
        worker.register(function, grow)
        with world.client(server.address) as client:
            with pytest.raises(JobException, match="the limit is 500000 bytes"):
                client.do(function, b"600000")
            assert client.do(function, b"400000") == bytes(400_000)
    assert runs == [b"600000", b"400000"]


def test_a_server_that_is_none_is_an_error(world: World, function: str) -> None:
    def speak_http(peer: Peer) -> None:
        peer.packet()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.sock.recv(1)

    with (
        Scripted(speak_http) as server,
        world.client(server.address) as client,
        pytest.raises(ConnectionLost, match="not a Gearman packet"),
    ):
        client.do(function)


def test_a_worker_leaves_a_server_that_is_none(world: World, function: str, caplog: pytest.LogCaptureFixture) -> None:
    def speak_http(peer: Peer) -> None:
        peer.packet()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.sock.recv(65536)

    with (
        Scripted(speak_http) as wrong,
        Server() as right,
        world.worker([wrong.address, right.address]) as worker,
        world.client(right.address) as client,
    ):
        worker.register(function, lambda job: b"here")
        assert client.do(function) == b"here"
        wrong.__exit__()
    assert "not a Gearman packet" in caplog.text


def test_a_server_that_cannot_bear_all_yours_is_met_without(world: World, function: str) -> None:
    def old(peer: Peer) -> None:
        command, _ = peer.packet()
        assert command is C.ALL_YOURS  # and hangs up

    def patient(peer: Peer) -> None:
        commands = [peer.packet()[0] for _ in range(2)]
        assert commands == [C.CAN_DO, C.GRAB_JOB_ALL]
        peer.send(response(C.JOB_ASSIGN, b"H:1", function.encode(), b"work"))
        assert peer.packet() == (C.WORK_COMPLETE, [b"H:1", b"krow"])

    with Scripted(old, patient) as server:
        working = world.worker(server.address)
        working.register(function, lambda job: job.workload[::-1])
        with working:
            server.__exit__()
        assert server.problems == []
