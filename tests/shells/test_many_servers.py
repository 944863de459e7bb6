"""A worker with several servers, one of which does not do its part: the others must not notice."""

import asyncio
import logging
import socket
import threading
from typing import Any

import pytest

from geartrain import Client, ConnectionLost, Job
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import response
from geartrain.testing import Server

from ..services import wait_until
from .conftest import World
from .fakes import Peer, Scripted
from .worlds import PATIENCE

BIG = 48 * 1024 * 1024
"""Bytes that no system takes at once."""


def until(peer: Peer, *commands: Command) -> list[bytes]:
    """Reads on to one of these."""
    while True:
        command, parts = peer.packet()
        if command in commands:
            return parts


def grabbed(peer: Peer) -> None:
    until(peer, Command.GRAB_JOB_ALL)


def test_a_server_that_never_answers_keeps_no_slot_and_no_worker_from_stopping(
    world: World, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It accepts connections as far as anybody can see: its system does, while it is stopped itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent, Server() as server, Client(server.address) as client:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            caplog.at_level(logging.INFO, "geartrain.worker"),
            world.worker([address, server.address], stop_timeout=None) as worker,
        ):
            worker.register(function, lambda job: job.workload)
            wait_until(lambda: f"connected to {address}" in caplog.text, "both connections")
            assert client.do(function, b"a", timeout=PATIENCE) == b"a"
            assert client.do(function, b"b", timeout=PATIENCE) == b"b"
        assert caplog.text.count("has not answered for 1 s") <= 1  # none, where the other one was there first


def test_stopping_does_not_wait_for_the_only_server_if_it_is_stopped_itself(world: World, function: str) -> None:
    left = threading.Event()

    def script(peer: Peer) -> None:
        until(peer, Command.GRAB_JOB_ALL)
        worker.stop()
        assert left.wait(PATIENCE)

    with Scripted(script) as server:
        worker = world.worker(server.address, stop_timeout=None)
        worker.register(function, lambda job: None)
        worker.start()
        in_time = worker.join()
        left.set()
        assert in_time
    assert not server.problems


def test_a_job_that_comes_late_waits_for_its_slot(world: World, function: str) -> None:
    running = 0
    most = 0
    ran: list[bytes] = []
    begun, go_on = threading.Event(), threading.Event()

    def begin(job: Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        ran.append(job.workload)
        begun.set()

    def end() -> None:
        nonlocal running
        running -= 1

    def work(job: Job) -> None:
        begin(job)
        go_on.wait(PATIENCE)
        end()

    async def awork(job: Any) -> None:
        begin(job)
        await asyncio.to_thread(go_on.wait, PATIENCE)
        end()

    def script(peer: Peer) -> None:
        grabbed(peer)
        client.do_background(function, b"first")
        assert begun.wait(PATIENCE)  # the other server's job has the slot
        peer.send(response(Command.JOB_ASSIGN, b"H:late:1", function.encode(), b"late"))
        if world.name == "asyncio":  # the other one reads when its task has ended
            wait_until(lambda: worker.worker._slots.free == -1, "the late job")
        go_on.set()
        until(peer, Command.WORK_COMPLETE)
        grabbed(peer)  # and all goes on as before

    with (
        Server() as server,
        Client(server.address) as client,
        Scripted(script) as late,
        world.worker([late.address, server.address]) as worker,
    ):
        worker.register(function, awork if world.name == "asyncio" else work)
        late._thread.join(PATIENCE)
        assert client.do(function, b"last", timeout=PATIENCE) == b""
    assert not late.problems
    assert most == 1
    assert ran == [b"first", b"late", b"last"]


def test_a_server_that_does_not_read_holds_up_no_other(world: World, function: str) -> None:
    read = threading.Event()
    results: list[int] = []

    def script(peer: Peer) -> None:
        grabbed(peer)
        peer.send(response(Command.JOB_ASSIGN, b"H:1", function.encode(), b"big"))
        assert read.wait(PATIENCE)
        results.append(len(until(peer, Command.WORK_COMPLETE)[1]))

    with (
        Server() as server,
        Client(server.address) as client,
        Scripted(script) as slow,
        world.worker([slow.address, server.address], concurrency=2) as worker,
    ):
        ran = threading.Event()

        def work(job: Job) -> bytes:
            if job.workload:
                ran.set()
            return bytes(BIG) if job.workload else b"small"

        worker.register(function, work)
        assert ran.wait(PATIENCE)
        try:
            assert [client.do(function, timeout=PATIENCE) for _ in range(3)] == [b"small"] * 3
        finally:
            read.set()
        slow._thread.join(PATIENCE)
    assert results == [BIG]
    assert not slow.problems


def test_a_worker_that_stops_leaves_when_its_last_result_has_left(world: World, function: str) -> None:
    results: list[int] = []

    def script(peer: Peer) -> None:
        grabbed(peer)
        peer.send(response(Command.JOB_ASSIGN, b"H:1", function.encode(), b""))
        assert returned.wait(PATIENCE)
        worker.join(0.5)  # what would leave too early leaves now
        results.append(len(until(peer, Command.WORK_COMPLETE)[1]))

    def work(job: Job) -> bytes:
        worker.stop()
        returned.set()
        return bytes(BIG)

    returned = threading.Event()
    with Scripted(script) as server:
        worker = world.worker(server.address)
        worker.register(function, work)
        worker.start()
        server._thread.join(PATIENCE)
        assert worker.join()
    assert results == [BIG], server.problems


def test_work_once_has_sent_its_result_when_it_returns(world: World, function: str) -> None:
    results: list[int] = []

    def script(peer: Peer) -> None:
        grabbed(peer)
        peer.send(response(Command.JOB_ASSIGN, b"H:1", function.encode(), b""))
        results.append(len(until(peer, Command.WORK_COMPLETE)[1]))

    with Scripted(script) as server:
        worker = world.worker(server.address)
        worker.register(function, lambda job: bytes(BIG))
        assert worker.work_once(PATIENCE)
        worker.close()
    assert results == [BIG], server.problems


def test_the_end_is_not_held_up_by_a_server_that_does_not_read(world: World, function: str) -> None:
    left = threading.Event()

    def script(peer: Peer) -> None:
        grabbed(peer)
        peer.send(response(Command.JOB_ASSIGN, b"H:1", function.encode(), b""))
        assert left.wait(PATIENCE)

    def work(job: Job) -> bytes:
        worker.stop()
        return bytes(BIG)

    with Scripted(script) as server:
        worker = world.worker(server.address, stop_timeout=0.5)
        worker.register(function, work)
        worker.start()
        in_time = worker.join()
        left.set()
        assert in_time


def test_a_job_and_then_rubbish_costs_no_slot(world: World, function: str) -> None:
    def script(peer: Peer) -> None:
        grabbed(peer)
        job = response(Command.JOB_ASSIGN, b"H:1", function.encode(), b"lost")
        peer.send(job + response(Command.JOB_CREATED, b"H:2"))  # in one piece: no worker gets a JOB_CREATED

    with (
        Scripted(script) as mad,
        Server() as server,
        Client(server.address) as client,
        world.worker([mad.address, server.address]) as worker,
    ):
        worker.register(function, lambda job: job.workload)
        mad._thread.join(PATIENCE)
        assert client.do(function, b"a", timeout=PATIENCE) == b"a"


def test_a_job_that_comes_again_to_the_same_worker_costs_no_slot(world: World, function: str) -> None:
    """Its time was up, and the server gave it to another place of the same worker, by the same name."""
    again = threading.Event()
    together = threading.Barrier(2)
    runs: list[bytes] = []

    def work(job: Job) -> None:
        if job.workload:
            together.wait(PATIENCE / 2)
            return
        runs.append(job.handle)
        if len(runs) == 2:
            again.set()
        again.wait(PATIENCE)

    with Server() as server, world.worker(server.address, concurrency=2) as worker:
        worker.register(function, work, timeout=1)
        with world.client(server.address) as client:
            client.do_background(function)
            assert again.wait(PATIENCE)
            wait_until(lambda: not any(link.session.jobs for link in worker.worker._links.links.values()), "their ends")
            worker.register(function, work)
            tasks = [client.submit(function, b"pair") for _ in range(2)]
            assert [task.result() for task in tasks] == [b"", b""]
    assert len(set(runs)) == 1


def test_a_client_can_be_closed_while_its_server_does_not_read(world: World, function: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = world.client(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        failed = []
        small = client.submit(function, on_fail=failed.append)
        task = client.submit(function, bytes(BIG), on_fail=failed.append)
        task.wait(0.2)
        client.close()
        assert task.done
        assert small.done
        assert len(failed) == 2


def test_a_client_leaves_a_server_that_does_not_answer(
    world: World, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Server() as server,
        world.worker(server.address) as worker,
        world.client(
            [f"127.0.0.1:{silent.getsockname()[1]}", server.address], timeout=0.3, connect_timeout=0.3
        ) as client,
    ):
        worker.register(function, lambda job: job.workload)
        failed = threading.Event()
        task = client.submit(function, b"lost", on_fail=lambda _: failed.set())
        task.wait()
        with pytest.raises(ConnectionLost, match=r"no answer for 0\.[34] s.* it may run or not"):
            task.result()
        assert failed.is_set()
        assert client.do(function, b"here", timeout=PATIENCE) == b"here"
        assert client.echo(b"and there", timeout=PATIENCE) == b"and there"
    assert caplog.text.count("but not answered for") == 1


def test_a_client_that_waits_for_a_long_job_is_patient(world: World, function: str) -> None:
    def script(peer: Peer) -> None:
        until(peer, Command.SUBMIT_JOB)
        peer.send(response(Command.JOB_CREATED, b"H:1"))
        until(peer, Command.SUBMIT_JOB)
        assert asked.wait(PATIENCE)
        peer.send(response(Command.JOB_CREATED, b"H:2"))
        for handle in (b"H:1", b"H:2"):
            peer.send(response(Command.WORK_COMPLETE, handle, b"result"))
        assert over.wait(PATIENCE)

    asked, over = threading.Event(), threading.Event()
    with Scripted(script) as server, world.client(server.address, connect_timeout=0.2) as client:
        first = client.submit(function)
        first.wait_created()
        second = client.submit(function)
        assert not second.wait(0.3)
        asked.set()
        assert [first.result(), second.result()] == [b"result", b"result"]
        over.set()
    assert not server.problems


def test_what_accepts_and_hangs_up_is_one_outage_in_the_log(
    world: World, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    def hang_up(peer: Peer) -> None:
        pass

    def answer(peer: Peer) -> None:
        grabbed(peer)
        peer.send(response(Command.NO_JOB))
        until(peer, Command.PRE_SLEEP)
        assert over.wait(PATIENCE)

    over = threading.Event()
    caplog.set_level(logging.INFO, "geartrain.worker")
    with (
        Server() as server,
        Scripted(*[hang_up] * 5, answer) as balancer,
        world.worker([balancer.address, server.address]) as worker,
    ):
        worker.register(function, lambda job: None)
        wait_until(lambda: caplog.text.count(f"connected to {balancer.address}") == 2, "the end of the outage")
        assert caplog.text.count(f"the connection to {balancer.address} was lost") == 1
        over.set()


def test_a_server_that_hangs_up_during_the_handshake_is_described(world: World, function: str) -> None:
    with (
        Scripted(lambda peer: peer.sock.recv(65536)) as server,
        world.client(server.address, ssl=True) as client,
        pytest.raises(ConnectionLost, match="the server closed it"),
    ):
        client.do(function)


def test_a_client_that_is_closed_at_once_leaves_no_task_behind_and_comes_back(world: World, function: str) -> None:
    def submit_and_close() -> bool:
        task = client.submit(function)
        client.close()
        return bool(task.done)

    async def in_one_turn() -> bool:
        task = client._inside.submit(function)
        await client._inside.close()
        return bool(task.done)

    async def in_doubt() -> bool:
        """The connection ends, and the loop has not looked at it yet."""
        restart.start()
        wait_until(client._inside._linker._link.stale, "the end of the connection")
        return await in_one_turn()

    with Server() as server, world.worker(server.address) as worker:
        worker.register(function, lambda job: job.workload)
        client = world.client(server.address)
        restart = threading.Thread(target=server.restart)
        if world.name == "asyncio":
            assert world.call(in_one_turn)
            assert client.do(function, b"again") == b"again"
            assert world.call(in_doubt)
            restart.join()
        else:
            assert submit_and_close()
        assert client.do(function, b"again") == b"again"
        client.close()
