"""What clients and workers see of the policy."""

import pytest

from geartrain.engine.options import EngineOptions
from geartrain.protocol.commands import Command as C
from tests.engine.harness import World

CREATED = (C.JOB_CREATED, b"H:test:1")


@pytest.fixture
def world() -> World:
    return World()


class TestOneJob:
    def test_goes_to_a_worker_and_back(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"reverse")
        client.say(C.SUBMIT_JOB, b"reverse", b"", b"abc").hears(CREATED)
        worker.hears((C.NOOP,))
        worker.say(C.GRAB_JOB).hears((C.JOB_ASSIGN, b"H:test:1", b"reverse", b"abc"))
        worker.say(C.WORK_STATUS, b"H:test:1", b"1", b"2")
        worker.say(C.WORK_DATA, b"H:test:1", b"c").say(C.WORK_WARNING, b"H:test:1", b"!")
        client.hears(
            (C.WORK_STATUS, b"H:test:1", b"1", b"2"),
            (C.WORK_DATA, b"H:test:1", b"c"),
            (C.WORK_WARNING, b"H:test:1", b"!"),
        )
        client.say(C.GET_STATUS, b"H:test:1").hears((C.STATUS_RES, b"H:test:1", b"1", b"1", b"1", b"2"))
        worker.say(C.WORK_COMPLETE, b"H:test:1", b"cba")
        client.hears((C.WORK_COMPLETE, b"H:test:1", b"cba"))
        client.say(C.GET_STATUS, b"H:test:1").hears((C.STATUS_RES, b"H:test:1", b"0", b"0", b"0", b"0"))
        worker.say(C.GRAB_JOB).hears((C.NO_JOB,))
        world.check()

    def test_large_workload_is_passed_in_pieces(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f")
        data = bytes(range(256)) * 400
        client.say(C.SUBMIT_JOB, b"f", b"", data).hears(CREATED)
        worker.say(C.GRAB_JOB)
        assert worker.hear()[1] == (C.JOB_ASSIGN, b"H:test:1", b"f", data)
        worker.say(C.WORK_COMPLETE, b"H:test:1", data)
        client.hears((C.WORK_COMPLETE, b"H:test:1", data))

    @pytest.mark.parametrize(
        ("grab", "assign", "unique"),
        [
            (C.GRAB_JOB, C.JOB_ASSIGN, []),
            (C.GRAB_JOB_UNIQ, C.JOB_ASSIGN_UNIQ, [b"u"]),
            (C.GRAB_JOB_ALL, C.JOB_ASSIGN_UNIQ, [b"u"]),
        ],
    )
    def test_workload_that_came_in_pieces(self, world: World, grab: C, assign: C, unique: list[bytes]) -> None:
        client, worker, other = world.peer(), world.worker(b"f"), world.worker(b"f")
        data = bytes(range(256)) * 2000
        client.say_slowly(C.SUBMIT_JOB, b"f", b"u", data).hears(CREATED)
        worker.say(grab)
        assert (assign, b"H:test:1", b"f", *unique, data) in worker.hear()
        worker.leave()
        other.say(grab)
        assert other.hear()[-1] == (assign, b"H:test:1", b"f", *unique, data)

    def test_workload_that_came_in_pieces_is_the_key(self, world: World) -> None:
        first, second = world.peer(), world.peer()
        data = bytes(range(256)) * 2000
        first.say_slowly(C.SUBMIT_JOB, b"f", b"-", data).hears(CREATED)
        second.say_slowly(C.SUBMIT_JOB, b"f", b"-", data).hears(CREATED)
        second.say_slowly(C.SUBMIT_JOB, b"f", b"-", data + b"!").hears((C.JOB_CREATED, b"H:test:2"))

    def test_workload_that_came_in_pieces_is_stored_whole(self) -> None:
        world = World(durable=True)
        data = bytes(range(256)) * 2000
        world.peer().say_slowly(C.SUBMIT_JOB_BG, b"f", b"u", data)
        assert world.engine.journal is not None
        write = world.engine.journal.take()
        assert write is not None
        assert [row.workload for row in write.batch.adds] == [data]

    def test_all_yours_gets_the_job_instead_of_noop(self, world: World) -> None:
        client = world.peer()
        worker = world.worker(b"f", asleep=False)
        worker.say(C.ALL_YOURS).say(C.GRAB_JOB_UNIQ).say(C.PRE_SLEEP).hears((C.NO_JOB,))
        client.say(C.SUBMIT_JOB, b"f", b"u", b"1").say(C.SUBMIT_JOB, b"f", b"", b"2")
        worker.hears((C.JOB_ASSIGN_UNIQ, b"H:test:1", b"f", b"u", b"1"))
        worker.say(C.WORK_COMPLETE, b"H:test:1", b"").say(C.PRE_SLEEP)
        worker.hears((C.JOB_ASSIGN_UNIQ, b"H:test:2", b"f", b"", b"2"))

    def test_reducer_is_carried(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f")
        client.say(C.SUBMIT_REDUCE_JOB, b"f", b"u", b"sum", b"", b"1").hears(CREATED)
        worker.say(C.GRAB_JOB_ALL)
        worker.hears((C.NOOP,), (C.JOB_ASSIGN_ALL, b"H:test:1", b"f", b"u", b"sum", b"1"))
        client.say(C.SUBMIT_JOB, b"f", b"v", b"2")
        worker.say(C.GRAB_JOB_ALL).hears((C.JOB_ASSIGN_UNIQ, b"H:test:2", b"f", b"v", b"2"))


class TestExceptions:
    def test_reach_those_who_asked(self, world: World) -> None:
        asked, other, worker = world.peer(), world.peer(), world.worker(b"f")
        asked.say(C.OPTION_REQ, b"Exceptions").hears((C.OPTION_RES, b"Exceptions"))
        asked.say(C.SUBMIT_JOB, b"f", b"u", b"").hears(CREATED)
        other.say(C.SUBMIT_JOB, b"f", b"u", b"").hears(CREATED)
        worker.say(C.GRAB_JOB).say(C.WORK_EXCEPTION, b"H:test:1", b"boom")
        asked.hears((C.WORK_EXCEPTION, b"H:test:1", b"boom"))
        other.hears((C.WORK_FAIL, b"H:test:1"))
        worker.hear()
        worker.say(C.WORK_FAIL, b"H:test:1")
        assert worker.hear()[0][:2] == (C.ERROR, b"JOB_NOT_FOUND")


class TestCoalescing:
    def test_joins_by_function_and_unique(self, world: World) -> None:
        a, b, worker = world.peer(), world.peer(), world.worker(b"f")
        a.say(C.SUBMIT_JOB, b"f", b"u", b"1").hears(CREATED)
        b.say(C.SUBMIT_JOB_HIGH, b"f", b"u", b"2").hears(CREATED)
        a.say(C.SUBMIT_JOB, b"g", b"u", b"3").hears((C.JOB_CREATED, b"H:test:2"))
        worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"r")
        a.hears((C.WORK_COMPLETE, b"H:test:1", b"r"))
        b.hears((C.WORK_COMPLETE, b"H:test:1", b"r"))
        world.check()

    def test_dash_takes_the_workload_as_key(self, world: World) -> None:
        client = world.peer()
        for unique, workload in ((b"-", b"x"), (b"-", b"x"), (b"-", b"y"), (b"-", b""), (b"-", b"")):
            client.say(C.SUBMIT_JOB_BG, b"f", unique, workload)
        assert [handle for _, handle in client.hear()] == [b"H:test:%d" % n for n in (1, 1, 2, 3, 4)]
        client.say(C.GET_STATUS_UNIQUE, b"-").hears((C.STATUS_RES_UNIQUE, b"-", b"0", b"0", b"0", b"0", b"0"))

    def test_empty_unique_never_joins(self, world: World) -> None:
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"x").say(C.SUBMIT_JOB_BG, b"f", b"", b"x")
        client.hears(CREATED, (C.JOB_CREATED, b"H:test:2"))

    def test_64_bytes_join_too_and_65_are_refused(self, world: World) -> None:
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"f", b"u" * 64, b"").say(C.SUBMIT_JOB_BG, b"f", b"u" * 64, b"")
        client.hears(CREATED, CREATED)
        client.say(C.SUBMIT_JOB_BG, b"f", b"u" * 65, b"")
        client.hears((C.ERROR, b"ARGUMENT_TOO_LARGE", b"Unique value too large"))

    def test_background_is_sticky(self, world: World) -> None:
        background, client, worker = world.peer(), world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB, b"f", b"u", b"1")
        background.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        client.leave()
        background.leave()
        worker.say(C.GRAB_JOB).hears((C.JOB_ASSIGN, b"H:test:1", b"f", b"1"))
        world.check()

    def test_a_cancelled_job_is_not_joined(self, world: World) -> None:
        client = world.peer()
        client.say(C.SUBMIT_JOB, b"f", b"u", b"1").hears(CREATED)
        assert world.peer().line("cancel job H:test:1") == "OK\r\n"
        client.hears((C.WORK_FAIL, b"H:test:1"))
        client.say(C.SUBMIT_JOB, b"f", b"u", b"1").hears((C.JOB_CREATED, b"H:test:2"))
        assert world.peer().line("show jobs") == "H:test:2\t0\t0\t0\n.\n"
        world.check()


class TestDepartures:
    def test_a_client_takes_its_queued_jobs_along(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB, b"f", b"", b"1")
        client.leave()
        assert world.peer().line("status") == "f\t0\t0\t1\n.\n"
        worker.say(C.GRAB_JOB).hears((C.NO_JOB,))
        world.check()

    def test_a_running_job_goes_on_without_its_client(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB, b"f", b"", b"1")
        worker.say(C.GRAB_JOB).hear()
        client.leave()
        worker.say(C.WORK_COMPLETE, b"H:test:1", b"").hears()
        world.check()

    def test_a_workers_job_goes_to_the_next(self, world: World) -> None:
        client, first = world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB, b"f", b"", b"1").hear()
        first.say(C.GRAB_JOB).say(C.WORK_STATUS, b"H:test:1", b"1", b"2")
        second = world.worker(b"f")
        first.leave()
        second.hears((C.NOOP,))
        second.say(C.GRAB_JOB).hears((C.JOB_ASSIGN, b"H:test:1", b"f", b"1"))
        client.hear()
        client.say(C.GET_STATUS, b"H:test:1").hears((C.STATUS_RES, b"H:test:1", b"1", b"1", b"0", b"0"))
        world.check()

    def test_a_woken_worker_that_leaves_passes_the_wake_up_on(self, world: World) -> None:
        client, first, second = world.peer(), world.worker(b"f"), world.worker(b"f")
        client.say(C.SUBMIT_JOB, b"f", b"", b"1")
        second.hears((C.NOOP,))
        first.hears()
        second.leave()
        first.hears((C.NOOP,))

    def test_a_woken_worker_that_hangs_does_not_hold_the_job(self, world: World) -> None:
        client, first, second = world.peer(), world.worker(b"f"), world.worker(b"f")
        client.say(C.SUBMIT_JOB, b"f", b"", b"1")
        second.hears((C.NOOP,))
        assert world.engine.deadline() == world.now + 0.5
        world.wait(0.5)
        first.hears((C.NOOP,))


class TestRetries:
    @pytest.mark.parametrize("attempts", [1, 3])
    def test_a_job_is_given_up_after_its_attempts(self, attempts: int) -> None:
        world = World(EngineOptions(handle_prefix=b"H:test:", attempts=attempts))
        client = world.peer()
        client.say(C.SUBMIT_JOB, b"f", b"", b"1").hears(CREATED)
        for _ in range(attempts):
            client.hears()
            worker = world.worker(b"f", asleep=False)
            worker.say(C.GRAB_JOB).hears((C.JOB_ASSIGN, b"H:test:1", b"f", b"1"))
            worker.leave()
        client.hears((C.WORK_FAIL, b"H:test:1"))
        world.check()

    def test_a_slow_worker_loses_its_job(self, world: World) -> None:
        client, slow = world.peer(), world.peer()
        slow.say(C.CAN_DO_TIMEOUT, b"f", b"1500")
        client.say(C.SUBMIT_JOB, b"f", b"", b"1").hear()
        slow.say(C.GRAB_JOB).hear()
        world.wait(1.4)
        assert world.peer().line("status") == "f\t1\t1\t1\n.\n"
        world.wait(0.2)
        assert world.peer().line("status") == "f\t1\t0\t1\n.\n"
        slow.say(C.WORK_COMPLETE, b"H:test:1", b"")
        assert slow.hear()[0][:2] == (C.ERROR, b"JOB_NOT_FOUND")
        world.check()

    def test_finished_jobs_leave_no_timers(self, world: World) -> None:
        client, worker = world.peer(), world.peer()
        worker.say(C.CAN_DO_TIMEOUT, b"f", b"3600000")
        for number in range(1, 5001):
            client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
            worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:%d" % number, b"")
        assert len(world.engine.timers) < 3000
        assert world.engine.deadline() is None


class TestOrder:
    def test_priority_counts_over_all_functions(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"a", b"b", asleep=False)
        client.say(C.SUBMIT_JOB_LOW_BG, b"a", b"", b"1").say(C.SUBMIT_JOB_BG, b"b", b"", b"2")
        client.say(C.SUBMIT_JOB_HIGH_BG, b"a", b"", b"3").say(C.SUBMIT_JOB_HIGH_BG, b"b", b"", b"4")
        assert [worker.say(C.GRAB_JOB).hear()[0][3] for _ in range(4)] == [b"3", b"4", b"2", b"1"]

    def test_functions_take_turns(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"a", b"b", asleep=False)
        for function in (b"a", b"b"):
            for number in range(3):
                client.say(C.SUBMIT_JOB_BG, function, b"", b"%d" % number)
        order = [worker.say(C.GRAB_JOB).hear()[0] for _ in range(6)]
        assert [(part[2], part[3]) for part in order] == [
            (function, b"%d" % number) for number in range(3) for function in (b"a", b"b")
        ]

    @pytest.mark.parametrize(("rotate", "expected"), [(False, b"bbaa"), (True, b"baba")])
    def test_compat_1_1_serves_the_last_registered_first(self, rotate: bool, expected: bytes) -> None:
        world = World(EngineOptions(handle_prefix=b"H:test:", by_priority=False, rotate=rotate))
        client, worker = world.peer(), world.worker(b"a", b"b", asleep=False)
        client.say(C.SUBMIT_JOB_HIGH_BG, b"a", b"", b"").say(C.SUBMIT_JOB_LOW_BG, b"b", b"", b"")
        client.say(C.SUBMIT_JOB_HIGH_BG, b"a", b"", b"").say(C.SUBMIT_JOB_LOW_BG, b"b", b"", b"")
        assert b"".join(worker.say(C.GRAB_JOB).hear()[0][2] for _ in range(4)) == expected  # type: ignore[misc]

    def test_changed_priority(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"a", asleep=False)
        client.say(C.SUBMIT_JOB_BG, b"a", b"", b"1").say(C.SUBMIT_JOB_BG, b"a", b"", b"2")
        world.engine.change_priority(world.engine.jobs[b"H:test:2"], 0)
        world.check()
        world.engine.change_priority(world.engine.jobs[b"H:test:2"], 1)
        world.engine.change_priority(world.engine.jobs[b"H:test:2"], 0)
        world.check()
        assert [worker.say(C.GRAB_JOB).hear()[0][3] for _ in range(2)] == [b"2", b"1"]
        world.check()


class TestWakeUps:
    def test_as_many_as_there_are_jobs(self, world: World) -> None:
        workers = [world.worker(b"f") for _ in range(5)]
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"").say(C.SUBMIT_JOB_BG, b"f", b"", b"")
        assert sum(len(worker.hear()) for worker in workers) == 2

    def test_sleeping_with_work_ready_wakes_at_once(self, world: World) -> None:
        world.peer().say(C.SUBMIT_JOB_BG, b"f", b"", b"")
        world.worker(b"f").hears((C.NOOP,))

    def test_a_new_ability_wakes_a_sleeper(self, world: World) -> None:
        worker = world.worker(b"f")
        world.peer().say(C.SUBMIT_JOB_BG, b"g", b"", b"")
        worker.say(C.CAN_DO, b"g")
        world.turn()
        worker.hears((C.NOOP,))

    def test_a_worker_without_functions_may_sleep(self, world: World) -> None:
        worker = world.peer().say(C.PRE_SLEEP)
        worker.say(C.CAN_DO, b"g")
        world.turn()
        world.peer().say(C.SUBMIT_JOB_BG, b"g", b"", b"")
        worker.hears((C.NOOP,))

    def test_one_woken_for_another_function_is_replaced(self, world: World) -> None:
        """f's job must not wait for its woken worker when that took a better one."""
        spare = world.worker(b"f")
        both = world.worker(b"f", b"g")
        other = world.worker(b"g")
        client = world.peer()
        client.say(C.SUBMIT_JOB_LOW_BG, b"g", b"", b"low")
        woken = [talker for talker in (spare, both, other) if talker.hear()]
        client.say(C.SUBMIT_JOB_HIGH_BG, b"f", b"", b"high")
        woken += [talker for talker in (spare, both, other) if talker.hear()]
        taken = [talker.say(C.GRAB_JOB).hear()[0] for talker in woken]
        late = [talker for talker in (spare, both, other) if talker.hear() and talker not in woken]
        taken += [talker.say(C.GRAB_JOB).hear()[0] for talker in late]
        assert sorted(part[3] for part in taken if part[0] is C.JOB_ASSIGN) == [b"high", b"low"]  # type: ignore[type-var]


class TestDelays:
    def test_epoch_waits_and_then_wakes(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f")
        client.say(C.SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 60), b"1").hears(CREATED)
        worker.hears()
        worker.say(C.GRAB_JOB).say(C.PRE_SLEEP).hears((C.NO_JOB,))
        assert world.peer().line("status") == "f\t1\t0\t1\n.\n"
        assert world.peer().line("prioritystatus") == "f\t0\t0\t0\t1\n.\n"
        world.wait(59.9)
        worker.hears()
        world.wait(0.2)
        worker.hears((C.NOOP,))
        world.check()

    def test_the_wall_clock_may_step(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f")
        client.say(C.SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 60), b"1")
        world.wall -= 100_000
        world.wait(60)
        worker.hears((C.NOOP,))

    @pytest.mark.parametrize("epoch", [b"0", b"soon", b"-5", b"1000"])
    def test_a_past_or_unreadable_time_is_now(self, world: World, epoch: bytes) -> None:
        worker = world.worker(b"f")
        world.peer().say(C.SUBMIT_JOB_EPOCH, b"f", b"u", epoch, b"1").hears(CREATED)
        worker.hears((C.NOOP,))

    def test_schedule_is_kept_as_a_time(self, world: World) -> None:
        client = world.peer()
        client.say(C.SUBMIT_JOB_SCHED, b"f", b"u", b"*", b"*", b"", b"", b"", b"1").hears(CREATED)
        when = world.engine.jobs[b"H:test:1"].when
        assert world.wall < when <= world.wall + 60
        assert when % 60 == 0
        client.say(C.SUBMIT_JOB_SCHED, b"f", b"v", b"75", b"", b"", b"", b"", b"1")
        assert client.hear()[0][:2] == (C.ERROR, b"INVALID_ARGUMENT")

    def test_a_cancelled_delayed_job_never_runs(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f")
        client.say(C.SUBMIT_JOB_EPOCH, b"f", b"u", b"%d" % (world.wall + 60), b"1")
        client.line("cancel job H:test:1")
        world.wait(100)
        worker.hears()
        assert world.engine.deadline() is None
        world.check()


class TestLimits:
    def test_one_limit_for_all_and_three_by_priority(self, world: World) -> None:
        client, admin = world.peer(), world.peer()
        admin.line("create function f")
        assert admin.line("maxqueue f 1") == "OK\r\n"
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"").hears(CREATED)
        client.say(C.SUBMIT_JOB_BG, b"f", b"v", b"").hears((C.ERROR, b"QUEUE_ERROR", b"Job queue is full"))
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"").hears(CREATED)
        admin.line("maxqueue f 3 2 1")
        client.say(C.SUBMIT_JOB_LOW_BG, b"f", b"", b"")
        assert client.hear()[0][0] is C.ERROR
        client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
        assert client.hear()[0][0] is C.JOB_CREATED
        admin.line("maxqueue f")
        client.say(C.SUBMIT_JOB_LOW_BG, b"f", b"", b"")
        assert client.hear()[0][0] is C.JOB_CREATED


class TestMisuse:
    @pytest.mark.parametrize("command", [C.UNUSED, C.NOOP, C.JOB_CREATED, C.NO_JOB, C.ECHO_RES])
    def test_what_is_no_request(self, world: World, command: C) -> None:
        peer = world.peer().feed(b"\0REQ" + int(command).to_bytes(4, "big") + b"\0\0\0\0")
        peer.hears((C.ERROR, b"INVALID_COMMAND", b"Command not expected"))

    def test_too_few_arguments(self, world: World) -> None:
        peer = world.peer().feed(b"\0REQ\0\0\0\x07\0\0\0\x03f\0u")
        assert peer.hear()[0][:2] == (C.ERROR, b"INVALID_PACKET")

    def test_a_job_of_somebody_else(self, world: World) -> None:
        client, worker, thief = world.peer(), world.worker(b"f", asleep=False), world.peer()
        client.say(C.SUBMIT_JOB, b"f", b"", b"").hear()
        worker.say(C.GRAB_JOB)
        for command in (C.WORK_COMPLETE, C.WORK_DATA, C.WORK_WARNING, C.WORK_EXCEPTION):
            thief.say(command, b"H:test:1", b"")
            assert thief.hear()[0][:2] == (C.ERROR, b"JOB_NOT_FOUND")
        client.hears()

    def test_losing_an_ability_keeps_the_running_job(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB, b"f", b"", b"").hear()
        worker.say(C.GRAB_JOB).hear()
        worker.say(C.CANT_DO, b"f").say(C.RESET_ABILITIES).say(C.WORK_COMPLETE, b"H:test:1", b"r").hears()
        client.hears((C.WORK_COMPLETE, b"H:test:1", b"r"))
        world.check()

    def test_registering_twice_counts_once(self, world: World) -> None:
        worker = world.worker(b"f", b"f", b"f")
        assert worker.line("status") == "f\t0\t0\t1\n.\n"
