"""Coroutines that wait for one job each: they go on once, with what came, however the job or the waiting ends."""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from geartrain import AsyncClient, AsyncJob, AsyncWorker, ConnectionLost
from geartrain.testing import Server

from ..shells.worlds import SyncWorld, Working
from .test_plain import PATIENCE, in_loop

mine: ContextVar[int] = ContextVar("mine")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def echo(server: Server) -> Iterator[Working]:
    with SyncWorld().worker(server.address) as worker:
        worker.register("echo", lambda job: job.workload)
        yield worker


def test_each_coroutine_has_its_own_result_and_context(server: Server, echo: Working) -> None:
    @in_loop
    async def run() -> None:
        async def one(n: int) -> bool:
            mine.set(n)
            for _ in range(20):
                if await client.do("echo", b"%d" % n) != b"%d" % n:
                    return False
            return mine.get() == n

        async with asyncio.timeout(PATIENCE), AsyncClient(server.address) as client:
            assert all(await asyncio.gather(*(one(n) for n in range(30))))

    run()


def test_one_who_no_longer_waits_disturbs_nobody(server: Server, echo: Working) -> None:
    @in_loop
    async def run() -> None:
        async with asyncio.timeout(PATIENCE), AsyncClient(server.address) as client:
            assert await client.do("echo", b"first") == b"first"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.do("nobody", b"")
            waiting = asyncio.create_task(client.do("nobody", b""))
            await asyncio.sleep(0)
            waiting.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.do("echo", b"last") == b"last"

    run()


def test_a_coroutine_may_close_the_client_under_another(server: Server, echo: Working) -> None:
    @in_loop
    async def run() -> None:
        async with asyncio.timeout(PATIENCE):
            client = AsyncClient(server.address)
            assert await client.do("echo", b"first") == b"first"
            waiting = asyncio.create_task(client.do("nobody", b""))
            await asyncio.sleep(0)
            assert await client.do("echo", b"last") == b"last"
            await client.close()
            with pytest.raises(ConnectionLost):
                await waiting

    run()


def test_the_end_of_the_server_ends_the_waiting(server: Server, echo: Working) -> None:
    @in_loop
    async def run() -> None:
        async with asyncio.timeout(PATIENCE), AsyncClient(server.address) as client:
            assert await client.do("echo", b"first") == b"first"
            waiting = asyncio.create_task(client.do("nobody", b""))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(server.stop)
            with pytest.raises(ConnectionLost):
                await waiting

    run()


def test_a_workers_coroutine_waits_for_a_job_of_its_own(server: Server, echo: Working) -> None:
    @in_loop
    async def run() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            AsyncClient(server.address) as inner,
            AsyncClient(server.address) as client,
        ):
            worker = AsyncWorker(server.address, concurrency=3, handle_signals=False)

            @worker.task
            async def through(job: AsyncJob) -> bytes:
                return await inner.do("echo", job.workload)

            working = asyncio.create_task(worker.work())
            for n in range(20):
                assert await client.do("through", b"%d" % n) == b"%d" % n
            worker.stop()
            await working

    run()
