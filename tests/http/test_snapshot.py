"""The snapshot: what dashboard, API and top are told of a moment."""

import asyncio
import json
from time import monotonic
from typing import Any

import pytest

from geartrain.engine.stats import BOUNDS, Histogram
from geartrain.http.percentile import percentile
from geartrain.http.rows import text
from geartrain.http.snapshot import Looks, snapshot
from geartrain.protocol.commands import Command as C
from geartrain.server.config import Config
from tests.engine.harness import World


class ServerOf:
    """What a snapshot needs of a server, over an engine without sockets."""

    def __init__(self, world: World) -> None:
        world.now = monotonic()
        self.engine = world.engine
        self.config = Config()
        self.addresses = ["127.0.0.1:4730"]
        self.started = monotonic() - 60
        self.ready = True
        self.store_down = ""


def look(server: ServerOf, looks: Looks | None = None) -> dict[str, Any]:
    """What one sees who looks: for the first time, or with what was kept from the looks before."""

    async def main() -> dict[str, Any]:
        state: dict[str, Any] = json.loads(await snapshot(looks or Looks(server)))  # type: ignore[arg-type]
        return state

    return asyncio.run(main())


def test_functions_workers_and_totals() -> None:
    world = World()
    server = ServerOf(world)
    client, worker = world.peer(), world.worker(b"f", asleep=False)
    worker.say(C.SET_CLIENT_ID, b"w\xff1")
    client.say(C.SUBMIT_JOB_HIGH_BG, b"f", b"u", b"").say(C.SUBMIT_JOB_LOW_BG, b"f", b"", b"")
    client.say(C.SUBMIT_JOB_BG, b"alone", b"", b"")
    worker.say(C.GRAB_JOB).say(C.WORK_STATUS, b"H:test:1", b"3", b"4")
    state = look(server)
    f, alone = state["functions"]
    assert (f["name"], f["waiting"], f["running"], f["workers"], f["unattended"]) == ("f", [0, 0, 1], 1, 1, False)
    assert (alone["unattended"], alone["waiting"], alone["oldest"] >= 0) == (True, [0, 1, 0], True)
    (job,) = state["running"]
    assert (job["handle"], job["numerator"], job["denominator"], job["unique"]) == ("H:test:1", 3, 4, "u")
    assert job["worker"] == "w\\xff1"
    totals = state["totals"]
    assert (totals["waiting"], totals["running"], totals["workers"], totals["unattended"]) == (2, 1, 1, 1)
    assert state["server"]["uptime"] == pytest.approx(60, abs=5)


def test_a_worker_that_gave_its_functions_back_still_shows_its_job() -> None:
    world = World()
    world.peer().say(C.SUBMIT_JOB_BG, b"f", b"", b"")
    worker = world.worker(b"f", asleep=False).say(C.GRAB_JOB).say(C.RESET_ABILITIES)
    assert worker.peer.running
    assert [job["function"] for job in look(ServerOf(world))["running"]] == ["f"]


def test_percentiles_are_as_fine_as_the_buckets() -> None:
    assert percentile(None, 0.5) is None
    histogram = Histogram()
    assert percentile(histogram, 0.5) is None
    for _ in range(100):
        histogram.add(0.004)
    assert 0.0025 < (percentile(histogram, 0.5) or 0) <= 0.005
    histogram.add(7200)
    assert (percentile(histogram, 1.0) or 0) > BOUNDS[-1]


def test_no_percentile_is_far_above_the_longest_duration() -> None:
    histogram = Histogram()
    for seconds in (60.5, 64.0, 66.0, 68.0, 71.0):  # of a bucket that ends at 300
        histogram.add(seconds)
    assert 65 < (percentile(histogram, 0.5) or 0) < 67
    assert 68 < (percentile(histogram, 0.99) or 0) < 73
    histogram.add(0.0001)
    assert 68 < (percentile(histogram, 0.99) or 0) < 73


def test_bytes_are_shown_as_text() -> None:
    assert text("Grüße".encode()) == "Grüße"
    assert text(b"\xff") == "\\xff"


def test_what_is_kept_is_right() -> None:
    """Whatever happens between two looks, one who has looked before sees what one sees who looks for the first time."""
    world = World()
    server = ServerOf(world)
    looks = Looks(server)  # type: ignore[arg-type]

    def agree() -> dict[str, Any]:
        fresh, kept = look(server), look(server, looks)
        assert kept["totals"] == fresh["totals"]
        for rows in ("functions", "workers", "running"):
            for ours, theirs in zip(kept[rows], fresh[rows], strict=True):
                for age in {"oldest", "connected", "since"} & set(theirs):
                    assert ours.pop(age) == (theirs[age] and pytest.approx(theirs[age], abs=0.5))
                    del theirs[age]
                ours.pop("jobs", None), theirs.pop("jobs", None)  # they stand in running, too
                assert ours == theirs
        return {row["name"]: row for row in kept["functions"]}

    client, worker = world.peer(), world.worker(b"f", asleep=False)
    agree()
    for number in range(5):
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"").say(C.SUBMIT_JOB_BG, b"g%d" % number, b"", b"")
        agree()
        world.now += 3.0**number
        worker.say(C.GRAB_JOB)
        agree()
        worker.say(C.WORK_STATUS, b"H:test:%d" % (2 * number + 1), b"1", b"2")
        agree()
        world.now += 2.0**number
        worker.say(C.WORK_COMPLETE, b"H:test:%d" % (2 * number + 1), b"")
        agree()
    f = agree()["f"]
    assert f["completed"] == 5
    assert 2.5 < f["ran_p50"] < 5 < f["ran_p99"]  # of 1, 2, 4, 8 and 16 seconds
    engine = world.engine
    engine.functions[b"f"].limits = (1, 2, 3)
    assert agree()["f"]["maxqueue"] == [1, 2, 3]
    engine.change_priority(engine.jobs[b"H:test:2"], 0)
    assert agree()["g0"]["waiting"] == [1, 0, 0]
    assert agree()["g0"]["unattended"]
    second = world.worker(b"g0", asleep=False)
    assert not agree()["g0"]["unattended"]
    second.say(C.GRAB_JOB)
    engine.leave(second.peer, world.now)
    assert agree()["g0"]["unattended"]
    assert agree()["g0"]["requeued"] == 1
    client.say(C.SUBMIT_JOB_EPOCH, b"g1", b"", b"%d" % (world.wall + 60), b"")
    assert (agree()["g1"]["delayed"], agree()["g1"]["total"]) == (1, 2)
    world.wait(61)
    assert (agree()["g1"]["delayed"], agree()["g1"]["waiting"]) == (0, [0, 2, 0])


def test_the_age_of_the_oldest_job_grows_from_look_to_look() -> None:
    world = World()
    server = ServerOf(world)
    looks = Looks(server)  # type: ignore[arg-type]
    world.now -= 100
    world.peer().say(C.SUBMIT_JOB_BG, b"f", b"", b"")
    ages = [look(server, looks)["functions"][0]["oldest"] for _ in range(3)]
    assert ages == sorted(ages)
    assert ages[2] > ages[0] >= 100


def test_a_function_that_was_dropped_and_made_again_has_nothing_of_the_one_before() -> None:
    world = World()
    server = ServerOf(world)
    looks = Looks(server)  # type: ignore[arg-type]
    client, worker = world.peer(), world.worker(asleep=False)
    for number, wait in enumerate((100.0, 0.01), 1):
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
        world.now += wait
        worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:%d" % number, b"").say(C.CANT_DO, b"f")
        (row,) = look(server, looks)["functions"]
        assert (row["completed"], row["workers"]) == (1, 0)
        assert row["waited_p50"] == pytest.approx(wait, rel=1.5)
        world.engine.drop_function(world.engine.functions[b"f"])
    assert look(server, looks)["functions"] == []


def test_others_have_their_turn_during_a_look() -> None:
    """One that stops the server for as long as there are functions is felt by every client."""
    world = World()
    for number in range(5000):
        world.engine.function(b"f%d" % number)
    looks = Looks(ServerOf(world))  # type: ignore[arg-type]

    async def main() -> tuple[int, dict[str, Any]]:
        taking = asyncio.ensure_future(snapshot(looks))
        turns = 0
        while not taking.done():
            await asyncio.sleep(0)
            turns += 1
            world.engine.drop_function(world.engine.functions[b"f%d" % (5000 - turns)])
        return turns, json.loads(taking.result())

    turns, state = asyncio.run(main())
    assert turns > 20
    assert {row["name"] for row in state["functions"]} >= {f"f{number}" for number in range(4900)}
    assert len(look(looks._server, looks)["functions"]) == 5000 - turns
