"""A timer of a loop's: rings once, when it is due, and only then."""

import asyncio
from time import monotonic

import pytest

from geartrain.client import aio_alarm
from geartrain.client.aio_alarm import Alarm

from .test_plain import PATIENCE, in_loop


def no_such_file() -> int:
    raise OSError("no more files")


@pytest.fixture(params=["a file", "asyncio's"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "a file":
        monkeypatch.setattr(aio_alarm, "_create", no_such_file)


def test_it_rings_once_for_the_last_time_that_was_set() -> None:
    @in_loop
    async def run() -> None:
        rang = asyncio.Event()
        times: list[float] = []

        def ring() -> None:
            times.append(monotonic())
            rang.set()

        alarm = Alarm(asyncio.get_running_loop(), ring)
        began = monotonic()
        alarm.set(3600.0)
        alarm.set(0.05)
        async with asyncio.timeout(PATIENCE):
            await rang.wait()
        assert times[0] - began >= 0.045
        rang.clear()
        alarm.set(0.02)
        async with asyncio.timeout(PATIENCE):
            await rang.wait()
        alarm.close()
        assert len(times) == 2

    run()


def test_it_does_not_ring_once_it_is_closed() -> None:
    @in_loop
    async def run() -> None:
        rang: list[bool] = []
        alarm = Alarm(asyncio.get_running_loop(), lambda: rang.append(True))
        alarm.set(0.01)
        alarm.close()
        alarm.close()
        await asyncio.sleep(0.05)
        assert not rang

    run()
