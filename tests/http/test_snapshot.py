"""The snapshot: what dashboard, API and top are told of a moment."""

import json
from time import monotonic

import pytest

from geartrain.engine.stats import BOUNDS, Histogram
from geartrain.http.snapshot import Cache, percentile, snapshot, text
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


def test_functions_workers_and_totals() -> None:
    world = World()
    server = ServerOf(world)
    client, worker = world.peer(), world.worker(b"f", asleep=False)
    worker.say(C.SET_CLIENT_ID, b"w\xff1")
    client.say(C.SUBMIT_JOB_HIGH_BG, b"f", b"u", b"").say(C.SUBMIT_JOB_LOW_BG, b"f", b"", b"")
    client.say(C.SUBMIT_JOB_BG, b"alone", b"", b"")
    worker.say(C.GRAB_JOB).say(C.WORK_STATUS, b"H:test:1", b"3", b"4")
    state = snapshot(server)
    json.dumps(state)
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
    assert [job["function"] for job in snapshot(ServerOf(world))["running"]] == ["f"]


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


def test_a_cache_changes_no_value() -> None:
    """Whatever happens between two looks, one who has looked before sees what one sees who looks for the first time."""
    world = World()
    server = ServerOf(world)
    cache = Cache()

    def agree() -> None:
        fresh, cached = snapshot(server), snapshot(server, cache)
        assert cached["totals"] == fresh["totals"]
        for ours, theirs in zip(cached["functions"], fresh["functions"], strict=True):
            assert (ours.pop("oldest") is None) == (theirs.pop("oldest") is None)
            assert ours == theirs

    client, worker = world.peer(), world.worker(b"f", asleep=False)
    agree()
    for number in range(5):
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"").say(C.SUBMIT_JOB_BG, b"g%d" % number, b"", b"")
        agree()
        world.now += 3.0**number
        worker.say(C.GRAB_JOB)
        agree()
        world.now += 2.0**number
        worker.say(C.WORK_COMPLETE, b"H:test:%d" % (2 * number + 1), b"")
        agree()
    (f,) = [row for row in snapshot(server, cache)["functions"] if row["name"] == "f"]
    assert f["completed"] == 5
    assert 2.5 < f["ran_p50"] < 5 < f["ran_p99"]  # of 1, 2, 4, 8 and 16 seconds


def test_a_cache_forgets_functions_that_are_gone() -> None:
    """One that is made again under the name has percentiles of its own."""
    world = World()
    server = ServerOf(world)
    cache = Cache()
    for wait in (100.0, 0.01):
        function = world.engine.function(b"f")
        function.stats.waited = Histogram()
        function.stats.waited.add(wait)
        (row,) = snapshot(server, cache)["functions"]
        assert row["waited_p50"] == pytest.approx(wait, rel=1.5)
        world.engine.drop_function(function)
    assert len(cache) == 1
    assert snapshot(server, cache)["functions"] == []
    assert len(cache) == 0
