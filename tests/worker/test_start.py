"""Coroutines that begin at once: what their code notices is what it would notice in a task of its own."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from geartrain.worker.aio_start import Starter

PATIENCE = 20.0


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs a test in an event loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def nothing() -> None:
    pass


async def in_callback(function: Callable[[], Any]) -> Any:
    """Calls a function as the loop calls who reads: outside of every task."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: called.set_result(function()))
    return await asyncio.wait_for(called, PATIENCE)


async def begin(starter: Starter, coroutine: Coroutine[Any, Any, None], waits: bool = False) -> bool:
    loop = asyncio.get_running_loop()
    result: bool = await in_callback(lambda: starter.start(loop, coroutine, waits))
    return result


async def rest(starter: Starter) -> None:
    """Waits for all that began and did not end."""
    while starter.unfinished:
        await asyncio.wait(starter.unfinished, timeout=PATIENCE)


async def ready() -> Starter:
    """A starter that has run something before: the first one prepares the reserve."""
    starter = Starter()
    await begin(starter, nothing())
    await rest(starter)
    await asyncio.sleep(0)
    return starter


async def ended(starter: Starter) -> None:
    tasks = starter.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_what_waits_for_nothing_has_ended_when_the_call_returns() -> None:
    starter = await ready()
    ran: list[int] = []

    async def quick(number: int) -> None:
        ran.append(number)

    def call() -> list[int]:
        starter.start(loop, quick(1), False)
        starter.start(loop, quick(2), False)
        return ran.copy()

    loop = asyncio.get_running_loop()
    assert await in_callback(call) == [1, 2]
    assert not starter.unfinished
    await ended(starter)


@in_loop
async def test_one_that_waits_keeps_its_task_and_its_context() -> None:
    starter = await ready()
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[Any] = []
    gate = asyncio.Event()

    async def slow() -> None:
        variable.set("slow")
        before = asyncio.current_task()
        await gate.wait()
        await asyncio.sleep(0)
        seen.append((before is not None and before is asyncio.current_task(), variable.get()))

    async def other() -> None:
        seen.append(variable.get())

    await begin(starter, slow())
    await begin(starter, other())
    gate.set()
    await rest(starter)
    assert seen == ["none", (True, "slow")]
    await ended(starter)


@in_loop
async def test_a_timeout_begun_in_the_first_step_ends_what_takes_too_long() -> None:
    starter = await ready()
    seen: list[str] = []

    async def slow() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timeout")
        await asyncio.sleep(0)
        seen.append("after")

    await begin(starter, slow())
    await rest(starter)
    assert seen == ["timeout", "after"]
    await ended(starter)


@in_loop
async def test_a_cancellation_in_the_same_turn_reaches_it_and_what_it_waits_for() -> None:
    starter = await ready()
    loop = asyncio.get_running_loop()
    awaited: asyncio.Future[None] = loop.create_future()
    seen: list[str] = []

    async def slow() -> None:
        try:
            await awaited
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    def call() -> set[asyncio.Task[None]]:
        starter.start(loop, slow(), False)
        return starter.cancel()

    tasks = await in_callback(call)
    await asyncio.wait(tasks, timeout=PATIENCE)
    assert seen == ["cancelled", "cleaned up"]
    assert awaited.cancelled()
    await ended(starter)


@in_loop
async def test_one_that_only_gives_way_is_cancelled_too() -> None:
    starter = await ready()
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(0)
            seen.append("not reached")
        finally:
            seen.append("cleaned up")

    def call() -> set[asyncio.Task[None]]:
        starter.start(loop, slow(), False)
        return starter.cancel()

    await asyncio.wait(await in_callback(call), timeout=PATIENCE)
    assert seen == ["cleaned up"]
    await ended(starter)


@in_loop
async def test_one_that_cancels_its_own_task_harms_no_other() -> None:
    starter = await ready()
    seen: list[str] = []

    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def other(name: str) -> None:
        await asyncio.sleep(0)
        seen.append(name)

    loop = asyncio.get_running_loop()

    def call() -> None:
        starter.start(loop, cancels(), False)
        starter.start(loop, other("first"), False)
        starter.start(loop, other("second"), False)

    await in_callback(call)
    await rest(starter)
    assert sorted(seen) == ["first", "second"]
    await ended(starter)
