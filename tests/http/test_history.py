"""Samples over time: right, and in bounded memory."""

from geartrain.http.history import FIELDS, MAX_FUNCTIONS, STEPS, History, Ring
from geartrain.protocol.commands import Command as C
from tests.engine.harness import World


class _Server:
    """What History needs of a server: its engine."""

    def __init__(self, world: World) -> None:
        self.engine = world.engine


def test_a_ring_keeps_the_newest() -> None:
    ring = Ring(2, 3)
    for number in range(5):
        ring.add((number, float("nan") if number == 3 else number * 10))
    assert ring.columns() == [[2, 3, 4], [20, None, 40]]


def test_samples_count_what_happened_in_between() -> None:
    world = World()
    history = History(_Server(world))  # type: ignore[arg-type]
    client, worker = world.peer(), world.worker(b"f", asleep=False)
    for second in range(1, 21):
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
        if second % 2:
            world.now += 0.004
            worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:%d" % (second // 2 + 1), b"")
        history.sample(1000.0 + second)
    seconds = history.series(1)
    assert seconds["time"][-1] == 1020
    assert seconds["submitted"] == [1] * 20
    assert seconds["completed"] == [1, 0] * 10
    assert seconds["waiting"][-1] == 10
    assert seconds["workers"] == [1] * 20
    assert seconds["waited_p50"][1] is None
    assert 0.0 < seconds["waited_p50"][0] <= 0.005
    tens = history.series(10)
    assert tens["submitted"] == [10, 10]
    assert history.function_series(b"f")["completed"] == [5, 5]  # type: ignore[index]
    assert history.function_series(b"nothing") is None


def test_memory_is_bounded() -> None:
    world = World()
    history = History(_Server(world))  # type: ignore[arg-type]
    client = world.peer()
    for number in range(MAX_FUNCTIONS + 50):
        client.say(C.SUBMIT_JOB_BG, b"f%d" % number, b"", b"")
    for second in range(max(STEPS.values()) // 2):
        history.sample(float(second))
    assert len(history.series(1)["time"]) == STEPS[1]
    assert set(history.series(1)) == {"step", *FIELDS}
    kept = [number for number in range(MAX_FUNCTIONS + 50) if history.function_series(b"f%d" % number)]
    assert len(kept) == MAX_FUNCTIONS


def test_who_was_busy_last_has_a_chart_among_very_many_functions() -> None:
    world = World()
    history = History(_Server(world))  # type: ignore[arg-type]
    client = world.peer()
    for number in range(3 * MAX_FUNCTIONS):
        client.say(C.SUBMIT_JOB_BG, b"f%d" % number, b"", b"")
    for second in range(1, 61):
        client.say(C.SUBMIT_JOB_BG, b"f%d" % (3 * MAX_FUNCTIONS - 1), b"", b"")
        history.sample(float(second))
    series = history.function_series(b"f%d" % (3 * MAX_FUNCTIONS - 1))
    assert series is not None
    assert series["submitted"][-5:] == [10] * 5
    quiet = history.function_series(b"f1")  # f0 made room
    assert quiet is not None
    assert quiet["submitted"] == [1, 0, 0, 0, 0, 0]


def test_a_function_that_is_dropped_takes_nothing_from_what_the_others_did() -> None:
    world = World()
    history = History(_Server(world))  # type: ignore[arg-type]
    client, worker = world.peer(), world.worker(b"f", asleep=False)
    client.say(C.SUBMIT_JOB_BG, b"large", b"", b"")
    world.engine.functions[b"large"].stats.submitted += 1_000_000
    history.sample(1.0)
    world.engine.drop_function(world.engine.functions[b"large"])
    client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
    world.now += 0.004
    worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:2", b"")
    history.sample(2.0)
    client.say(C.SUBMIT_JOB_BG, b"large", b"", b"").say(C.SUBMIT_JOB_BG, b"large", b"", b"")
    history.sample(3.0)
    seconds = history.series(1)
    assert seconds["submitted"] == [1_000_001, 1, 2]
    assert seconds["completed"] == [0, 1, 0]
    assert 0.0025 < seconds["waited_p50"][1] <= 0.005
