"""What is promised to the submitter of a background job, and when."""

import pytest

from geartrain.engine.journal import Journal
from geartrain.engine.options import EngineOptions
from geartrain.engine.recovery import expire, reject, restore
from geartrain.protocol.commands import Command as C
from geartrain.stores.base import StoredJob
from tests.engine.harness import Talker, World

CREATED = (C.JOB_CREATED, b"H:test:1")


@pytest.fixture
def world() -> World:
    return World(durable=True)


class TestAcknowledgement:
    def test_waits_for_the_commit(self, world: World) -> None:
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1").hears()
        world.commit()
        client.hears(CREATED)

    def test_holds_back_later_replies_only(self, world: World) -> None:
        client = world.peer()
        client.say(C.ECHO_REQ, b"before").say(C.SUBMIT_JOB_BG, b"f", b"", b"").say(C.ECHO_REQ, b"after")
        client.say(C.SUBMIT_JOB, b"f", b"", b"")
        client.hears((C.ECHO_RES, b"before"))
        world.commit()
        client.hears(CREATED, (C.ECHO_RES, b"after"), (C.JOB_CREATED, b"H:test:2"))
        client.say(C.ECHO_REQ, b"now").hears((C.ECHO_RES, b"now"))

    def test_of_two_batches_keeps_the_order(self, world: World) -> None:
        client = world.peer()
        journal = world.engine.journal
        assert journal is not None
        client.say(C.SUBMIT_JOB_BG, b"f", b"a", b"")
        first = journal.take()
        assert first is not None
        client.say(C.SUBMIT_JOB_BG, b"f", b"b", b"").say(C.SUBMIT_JOB_BG, b"f", b"a", b"")
        assert journal.take() is None
        journal.settle(first)
        client.hears(CREATED)
        world.commit()
        client.hears((C.JOB_CREATED, b"H:test:2"), CREATED)

    def test_of_a_joined_job_waits_for_the_jobs_own_batch(self, world: World) -> None:
        first, second = world.peer(), world.peer()
        journal = world.engine.journal
        assert journal is not None
        first.say(C.SUBMIT_JOB_BG, b"f", b"a", b"")
        write = journal.take()
        assert write is not None
        second.say(C.SUBMIT_JOB_BG, b"f", b"a", b"").hears()
        journal.settle(write)
        first.hears(CREATED)
        second.hears(CREATED)
        second.say(C.SUBMIT_JOB_BG, b"f", b"a", b"").hears(CREATED)

    def test_a_foreground_job_becomes_durable_when_joined(self, world: World) -> None:
        client, background = world.peer(), world.peer()
        client.say(C.SUBMIT_JOB, b"f", b"a", b"1").hears(CREATED)
        background.say(C.SUBMIT_JOB_BG, b"f", b"a", b"1").hears()
        world.commit()
        background.hears(CREATED)
        client.leave()
        assert background.line("status") == "f\t1\t0\t0\n.\n"
        world.check()


class TestRows:
    def test_a_job_done_before_its_commit_needs_no_disk(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"")
        journal = world.engine.journal
        assert journal is not None
        write = journal.take()
        assert write is not None
        assert (write.batch.adds, write.batch.dones) == ([], [])
        journal.settle(write)
        client.hears(CREATED)

    def test_a_stored_job_is_removed_when_it_ends(self, world: World) -> None:
        journal = world.engine.journal
        assert journal is not None
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        write = journal.take()
        assert write is not None
        assert write.batch.adds == [StoredJob(1, b"H:test:1", b"f", b"u", b"1")]
        client.line("cancel job H:test:1")  # while it is being written
        journal.settle(write)
        again = journal.take()
        assert again is not None
        assert [tuple(key) for key in again.batch.dones] == [(b"f", b"u", 1)]

    def test_attempts_are_kept(self, world: World) -> None:
        journal = world.engine.journal
        assert journal is not None
        world.peer().say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        world.commit()
        worker = world.worker(b"f", asleep=False)
        worker.say(C.GRAB_JOB).leave()
        write = journal.take()
        assert write is not None
        assert [(key.number, count) for key, count in write.batch.attempts.items()] == [(1, 1)]

    def test_a_job_that_came_during_the_load_keeps_its_row(self, world: World) -> None:
        """The load may bring it, too, once it is stored. With the unique ``-`` it looked like a second one."""
        world.engine.begin_replay()
        world.peer().say(C.SUBMIT_JOB_BG, b"f", b"-", b"1")
        world.commit()
        restore(world.engine, [StoredJob(1, b"H:test:1", b"f", b"-", b"1")], world.now)
        world.engine.end_replay()
        journal = world.engine.journal
        assert journal is not None
        assert journal.take() is None

    def test_what_was_stored_and_is_live_is_written_again_after_a_loss(self, world: World) -> None:
        peer, worker = world.peer(), world.worker(b"f", asleep=False)
        for unique in (b"a", b"b", b"c"):
            peer.say(C.SUBMIT_JOB_BG, b"f", unique, b"1")
        world.commit()
        journal = world.engine.journal
        assert journal is not None
        peer.say(C.SUBMIT_JOB, b"f", b"foreground", b"1").say(C.SUBMIT_JOB_BG, b"f", b"new", b"1")
        assert journal.lost(world.engine.jobs.values()) == 3
        worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"")
        write = journal.take()
        assert write is not None
        assert [job.unique for job in write.batch.adds] == [b"new", b"b", b"c"]
        assert len(write.jobs) == 1
        journal.settle(write)
        assert journal.take() is None


class TestStoreAway:
    def test_a_submission_is_refused_after_the_wait(self, world: World) -> None:
        client = world.peer()
        journal = world.engine.journal
        assert journal is not None
        client.say(C.SUBMIT_JOB_BG, b"f", b"a", b"")
        write = journal.take()
        assert write is not None
        world.wait(4)
        client.say(C.SUBMIT_JOB_BG, b"f", b"b", b"").say(C.ECHO_REQ, b"?")
        world.wait(6)
        expire(world.engine, world.now - 10, b"disk full")
        client.hears((C.ERROR, b"QUEUE_ERROR", b"disk full"))
        assert client.line("show jobs") == ""  # held behind the second submission
        world.wait(4)
        expire(world.engine, world.now - 10, b"disk full")
        assert client.peer.held is None
        journal.settle(write)
        again = journal.take()
        assert again is not None
        assert again.batch.adds == []
        assert [key.unique for key in again.batch.dones] == [b"a"]  # its row may have been written
        world.check()

    def test_a_batch_that_is_not_taken_is_put_together_anew(self, world: World) -> None:
        """What was refused or has run needs no room any more, and what has ended makes some."""
        client, worker = world.peer(), world.worker(b"g", asleep=False)
        journal = world.engine.journal
        assert journal is not None
        client.say(C.SUBMIT_JOB_BG, b"g", b"stored", b"")
        world.commit()
        client.say(C.SUBMIT_JOB_BG, b"f", b"refused", b"")
        world.wait(9)
        world.peer().say(C.SUBMIT_JOB_BG, b"f", b"waits", b"")
        write = journal.take()
        assert write is not None
        world.wait(2)
        expire(world.engine, world.now - 10, b"disk full")
        worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"")
        batch = journal.revise(write)
        assert [job.unique for job in batch.adds] == [b"waits"]
        assert [key.unique for key in batch.dones] == [b"refused", b"stored"]
        assert journal.revise(write) is batch
        journal.settle(write)
        assert journal.take() is None
        world.check()

    def test_a_job_that_ran_meanwhile_is_acknowledged(self, world: World) -> None:
        client, worker = world.peer(), world.worker(b"f", asleep=False)
        client.say(C.SUBMIT_JOB_BG, b"f", b"a", b"")
        worker.say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"")
        world.wait(20)
        expire(world.engine, world.now - 10, b"disk full")
        client.hears(CREATED)

    def test_a_row_that_cannot_be_stored(self, world: World) -> None:
        journal = world.engine.journal
        assert journal is not None
        client = world.peer()
        client.say(C.SUBMIT_JOB_BG, b"f", b"a", b"").say(C.SUBMIT_JOB_BG, b"f", b"b", b"")
        write = journal.take()
        assert write is not None
        reject(world.engine, write.jobs[0], b"too large")
        journal.settle(write)
        client.hears((C.ERROR, b"QUEUE_ERROR", b"too large"), (C.JOB_CREATED, b"H:test:2"))
        assert client.line("show unique jobs") == "b\n.\n"
        assert not journal.pending


class TestRestore:
    def test_keeps_handles_order_attempts_and_times(self) -> None:
        world = World(EngineOptions(handle_prefix=b"H:test:", attempts=2), durable=True)
        restore(
            world.engine,
            [
                StoredJob(7, b"H:old:7", b"f", b"u", b"7", 2),
                StoredJob(8, b"H:test:8", b"f", b"", b"8", 0, 0, b"sum", 1),
                StoredJob(9, b"H:test:9", b"f", b"", b"9", 1, int(world.wall) + 30),
            ],
            world.now,
        )
        worker = world.worker(b"f", asleep=False)
        worker.say(C.GRAB_JOB_ALL).hears((C.JOB_ASSIGN_ALL, b"H:test:8", b"f", b"", b"sum", b"8"))
        worker.leave()  # the second attempt
        assert b"H:test:8" not in world.engine.jobs
        worker = world.worker(b"f", asleep=False)
        worker.say(C.GRAB_JOB_UNIQ).hears((C.JOB_ASSIGN_UNIQ, b"H:old:7", b"f", b"u", b"7"))
        worker.say(C.GRAB_JOB).hears((C.NO_JOB,))
        world.wait(31)
        worker.say(C.GRAB_JOB).hears((C.JOB_ASSIGN, b"H:test:9", b"f", b"9"))
        world.check()

    def test_rows_of_gearmand_get_a_handle_that_is_stored(self, world: World) -> None:
        restore(world.engine, [StoredJob(0, b"", b"f", b"u", b"1")], world.now)
        journal = world.engine.journal
        assert journal is not None
        write = journal.take()
        assert write is not None
        assert write.batch.adds[0].handle == b"H:test:1"

    def test_what_ended_during_the_replay_does_not_come_back(self, world: World) -> None:
        world.engine.begin_replay()
        record = StoredJob(7, b"H:test:7", b"f", b"u", b"7")
        restore(world.engine, [record], world.now)
        assert world.peer().line("cancel job H:test:7") == "OK\r\n"
        assert restore(world.engine, [record], world.now) == 0
        world.engine.end_replay()
        assert restore(world.engine, [record], world.now) == 1

    def test_a_unique_that_was_submitted_again_meanwhile_is_one_job(self, world: World) -> None:
        client = world.peer()
        client.say(C.SUBMIT_JOB, b"f", b"u", b"1").hears(CREATED)
        restore(world.engine, [StoredJob(7, b"H:test:7", b"f", b"u", b"1")], world.now)
        client.leave()
        assert world.peer().line("show unique jobs") == "u\n.\n"
        world.check()


OLD = StoredJob(7, b"H:test:7", b"f", b"u", b"1")


class TestSubmittedAgainBeforeItWasLoaded:
    """A job of before the restart, acknowledged then; its unique is submitted once more while the queue is loaded."""

    def both(self, world: World, record: StoredJob = OLD) -> Talker:
        client = world.peer()
        world.engine.begin_replay()
        client.say(C.SUBMIT_JOB_BG, b"f", record.unique, b"1")
        restore(world.engine, [record], world.now)
        world.engine.end_replay()
        return client

    def test_the_old_one_is_not_given_up_because_the_store_hangs(self, world: World) -> None:
        client = self.both(world)
        world.wait(11)
        expire(world.engine, world.now - 10, b"the store does not answer")
        client.hears(CREATED)  # and this is true: that job is stored
        assert world.peer().line("show unique jobs") == "u\n.\n"
        world.check()

    def test_nor_where_it_was_not_loaded_by_then(self, world: World) -> None:
        """The hung commit may come through: then the new row has taken the old one's place, and must not be removed."""
        client = world.peer()
        world.engine.begin_replay()
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        journal = world.engine.journal
        assert journal is not None
        write = journal.take()
        assert write is not None
        world.wait(11)
        expire(world.engine, world.now - 10, b"the store does not answer")
        client.hears((C.ERROR, b"QUEUE_ERROR", b"the store does not answer"))
        journal.settle(write)
        world.engine.end_replay()
        assert world.peer().line("show unique jobs") == "u\n.\n"
        assert journal.take() is None
        world.check()

    def test_but_the_new_one_is_where_the_store_has_not_seen_it(self, world: World) -> None:
        client = world.peer()
        world.engine.begin_replay()
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        world.wait(11)
        expire(world.engine, world.now - 10, b"the store does not answer")
        client.hears((C.ERROR, b"QUEUE_ERROR", b"the store does not answer"))
        assert world.peer().line("show unique jobs") == ".\n"
        restore(world.engine, [OLD], world.now)
        world.engine.end_replay()
        assert world.peer().line("show unique jobs") == "u\n.\n"
        world.check()

    def test_nor_because_the_new_one_is_too_large(self, world: World) -> None:
        client = self.both(world)
        journal = world.engine.journal
        assert journal is not None
        write = journal.take()
        assert write is not None
        reject(world.engine, write.jobs[0], b"too large")
        journal.settle(write)
        client.hears((C.ERROR, b"QUEUE_ERROR", b"too large"))
        assert world.peer().line("show unique jobs") == "u\n.\n"
        world.check()
        assert world.peer().line("cancel job H:test:1") == "OK\r\n"
        assert 7 in self.removed(journal)

    @pytest.mark.parametrize("unique", [b"u", b"-", b"u" * 64])
    def test_its_row_goes_when_the_new_one_is_stored_and_not_before(self, world: World, unique: bytes) -> None:
        self.both(world, OLD._replace(unique=unique))
        journal = world.engine.journal
        assert journal is not None
        write = journal.take()
        assert write is not None
        assert write.batch.dones == []
        journal.settle(write)
        assert self.removed(journal) == [7]

    def test_it_does_not_run_again_when_the_new_one_has_ended_before_it_was_stored(self, world: World) -> None:
        self.both(world)
        world.worker(b"f", asleep=False).say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"")
        journal = world.engine.journal
        assert journal is not None
        assert self.removed(journal) == [7]

    def test_a_load_that_begins_anew_does_not_bring_it_again(self, world: World) -> None:
        world.engine.begin_replay()
        world.peer().say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        restore(world.engine, [OLD], world.now)
        world.worker(b"f", asleep=False).say(C.GRAB_JOB).say(C.WORK_COMPLETE, b"H:test:1", b"")
        assert restore(world.engine, [OLD], world.now) == 0

    def removed(self, journal: Journal) -> list[int]:
        write = journal.take()
        assert write is not None
        assert write.batch.adds == []
        return [key.number for key in write.batch.dones]
