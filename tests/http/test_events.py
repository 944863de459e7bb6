"""The pushed stream: what a viewer must be told once a second, and nothing that it knows already."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from geartrain.engine.ending import drop
from geartrain.http import events
from geartrain.http.events import Events
from geartrain.http.snapshot import Look, Looks
from geartrain.protocol.commands import Command as C
from tests.engine.harness import World
from tests.http.test_snapshot import ServerOf


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_EVERY", 0.02)


async def _next(stream: AsyncIterator[bytes]) -> tuple[str, dict[str, Any]]:
    text = (await asyncio.wait_for(anext(stream), 10)).decode()
    assert text.endswith("\n\n")
    fields = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return fields["event"], json.loads(fields["data"])


def _view(state: dict[str, Any], name: str, data: dict[str, Any]) -> None:
    """What the page does with an event."""
    if name == "snapshot":
        state.clear()
    functions = state.setdefault("functions", {})
    workers = state.setdefault("workers", {})
    functions.update({row["name"]: row for row in data["functions"]})
    workers.update({row["fd"]: row for row in data["workers"]})
    for gone in data.get("dropped", []):
        functions.pop(gone, None)
    for gone in data.get("left", []):
        workers.pop(gone, None)


async def _settle(stream: AsyncIterator[bytes], state: dict[str, Any], events_: int = 3) -> None:
    for _ in range(events_):
        _view(state, *await _next(stream))


def test_everything_first_then_what_changed() -> None:
    async def main() -> None:
        world = World()
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"quiet", b"", b"")
        feed = Events(Looks(ServerOf(world)))
        stream = feed.stream()
        name, data = await _next(stream)
        assert name == "snapshot"
        assert [row["name"] for row in data["functions"]] == ["quiet"]
        client.say(C.SUBMIT_JOB_BG, b"busy", b"", b"")
        name, data = await _next(stream)
        assert (name, [row["name"] for row in data["functions"]]) == ("change", ["busy"])
        assert data["totals"]["waiting"] == 2
        world.engine.drop_function(world.engine.functions[b"quiet"])
        name, data = await _next(stream)
        assert (data["functions"], data["dropped"]) == ([], ["quiet"])
        await stream.aclose()
        assert feed.viewers == 0

    asyncio.run(main())


def test_growing_older_is_no_news() -> None:
    async def main() -> None:
        world = World()
        world.peer().say(C.SUBMIT_JOB_BG, b"f", b"", b"").say(C.SUBMIT_JOB_BG, b"f", b"", b"")
        world.worker(b"f", asleep=False).say(C.GRAB_JOB)
        stream = Events(Looks(ServerOf(world))).stream()
        await _next(stream)
        for _ in range(5):
            _, data = await _next(stream)
            assert (data["functions"], data["workers"]) == ([], [])
        await stream.aclose()

    asyncio.run(main())


def test_a_viewer_who_comes_between_two_events_misses_nothing() -> None:
    """It was shown a state that the others never heard of, and that was over before the next event."""

    async def main() -> None:
        world = World()
        client, worker = world.peer(), world.worker(b"f", asleep=False)
        feed = Events(Looks(ServerOf(world)))
        first, second = feed.stream(), feed.stream()
        one: dict[str, Any] = {}
        two: dict[str, Any] = {}
        _view(one, *await _next(first))
        client.say(C.SUBMIT_JOB, b"f", b"", b"")
        worker.say(C.GRAB_JOB)
        client.say(C.SUBMIT_JOB, b"short", b"", b"")
        _view(two, *await _next(second))
        assert len(two["workers"][7]["jobs"]) == 1
        worker.say(C.WORK_COMPLETE, b"H:test:1", b"")
        drop(world.engine, world.engine.jobs[b"H:test:2"])
        world.engine.drop_function(world.engine.functions[b"short"])
        await _settle(first, one)
        await _settle(second, two)
        assert two["workers"][7]["jobs"] == one["workers"][7]["jobs"] == []
        assert list(two["functions"]) == list(one["functions"]) == ["f"]
        await first.aclose()
        await second.aclose()

    asyncio.run(main())


def test_one_snapshot_for_all_viewers_and_none_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        taken = 0

        look = Looks.look

        async def count(looks: Looks) -> Look:
            nonlocal taken
            taken += 1
            return await look(looks)

        monkeypatch.setattr(Looks, "look", count)
        monkeypatch.setattr(events, "_EVERY", 1.0)  # as it is: time for all ten to come before the first change
        feed = Events(Looks(ServerOf(World())))
        streams = [feed.stream() for _ in range(10)]
        for stream in streams:
            await _next(stream)
        assert taken == 10
        seen = {json.dumps((await _next(stream))[1]) for stream in streams}
        assert len(seen) == 1
        assert taken == 11
        for stream in streams:
            await stream.aclose()
        await asyncio.sleep(1.5)  # the time of an event, in which none is to come
        assert taken == 11

    asyncio.run(main())


def test_who_reads_too_slowly_starts_anew() -> None:
    async def main() -> None:
        feed = Events(Looks(ServerOf(World())))
        slow, quick = feed.stream(), feed.stream()
        await _next(slow)
        await _next(quick)
        for _ in range(12):
            assert (await _next(quick))[0] == "change"
        names = [(await _next(slow))[0] for _ in range(2)]
        assert "snapshot" in names
        await slow.aclose()
        await quick.aclose()

    asyncio.run(main())


def test_a_server_that_stops_ends_the_streams() -> None:
    async def main() -> None:
        feed = Events(Looks(ServerOf(World())))
        stream = feed.stream()
        await _next(stream)
        feed.close()
        assert [event async for event in stream] == []
        assert [event async for event in feed.stream()] == []

    asyncio.run(main())
