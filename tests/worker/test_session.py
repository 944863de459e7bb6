"""The worker's session: exact packets in and out, no sockets."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geartrain.errors import RemoteProtocolError
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import REQUEST_MAGIC, response
from geartrain.protocol.parser import Parser
from geartrain.worker.session import Slots, State, WorkerSession

NOT_EXPECTED = response(C.ERROR, b"INVALID_COMMAND", b"Command not expected")


class Server:
    """The other end: reads what the session says, as names."""

    def __init__(self, session: WorkerSession) -> None:
        self.session = session
        self.parser = Parser(REQUEST_MAGIC)

    def hear(self) -> list[str]:
        self.session.pump()
        said = []
        while data := self.session.pending():
            for command, parts in self.parser.feed(bytes(data)):
                said.append(" ".join([C(command).name, *(part.decode() for part in parts)]))
            self.session.sent(len(data))
        return said

    def say(self, *packets: bytes) -> list[str]:
        self.session.receive(b"".join(packets))
        return self.hear()


def assign(number: int) -> bytes:
    return response(C.JOB_ASSIGN_UNIQ, b"H:%d" % number, b"f", b"", b"workload")


def made(*, slots: int = 1, all_yours: bool = False, **settings: int) -> tuple[WorkerSession, Server]:
    session = WorkerSession("server", Slots(slots), settings or {b"f": 0}, all_yours=all_yours)  # type: ignore[arg-type]
    return session, Server(session)


def end(session: WorkerSession, number: int) -> None:
    job = next(job for job in session.jobs if job.handle == b"H:%d" % number)
    session.say(job.packet(C.WORK_COMPLETE, b""))
    session.release(job)


def test_the_greeting_is_one_write() -> None:
    session = WorkerSession("server", Slots(1), {b"f": 0, b"g": 2500}, client_id=b"me", all_yours=True)
    assert Server(session).hear() == [
        "ALL_YOURS",
        "SET_CLIENT_ID me",
        "CAN_DO f",
        "CAN_DO_TIMEOUT g 2500",
        "GRAB_JOB_ALL",
    ]


def test_with_gearmand_a_job_costs_complete_and_grab() -> None:
    session, server = made(all_yours=True)
    server.hear()
    assert server.say(NOT_EXPECTED, response(C.NO_JOB)) == ["PRE_SLEEP"]
    assert session.state is State.ASLEEP
    assert server.say(response(C.NOOP)) == ["GRAB_JOB_ALL"]
    assert server.say(assign(1)) == []
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 ", "GRAB_JOB_ALL"]


def test_where_all_yours_is_taken_a_job_costs_complete_and_pre_sleep() -> None:
    session, server = made(all_yours=True)
    server.hear()
    assert server.say(response(C.NO_JOB)) == ["PRE_SLEEP"]
    assert server.say(assign(1)) == []
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 ", "PRE_SLEEP"]
    assert server.say(assign(2)) == []
    end(session, 2)
    assert server.hear() == ["WORK_COMPLETE H:2 ", "PRE_SLEEP"]


def test_a_wake_up_where_all_yours_was_said_is_followed_by_a_grab_with_the_same_slot() -> None:
    session, server = made(all_yours=True)
    server.hear()
    server.say(response(C.NO_JOB))
    assert session._slots.free == 0
    assert server.say(response(C.NOOP)) == ["GRAB_JOB_ALL"]
    assert session._slots.free == 0
    assert server.say(response(C.NO_JOB)) == ["PRE_SLEEP"]


def test_several_slots_hold_several_jobs_and_no_more() -> None:
    session, server = made(slots=2)
    assert server.hear()[-1] == "GRAB_JOB_ALL"
    assert server.say(assign(1)) == ["GRAB_JOB_ALL"]
    assert server.say(assign(2)) == []
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 ", "GRAB_JOB_ALL"]


def test_sessions_share_slots() -> None:
    slots = Slots(1)
    one, two = (WorkerSession(name, slots, {b"f": 0}) for name in ("one", "two"))
    first, second = Server(one), Server(two)
    assert "GRAB_JOB_ALL" in first.hear()
    assert "GRAB_JOB_ALL" not in second.hear()
    assert first.say(response(C.NO_JOB)) == ["PRE_SLEEP"]
    assert second.hear() == ["GRAB_JOB_ALL"]
    assert second.say(assign(1)) == []
    assert first.say(response(C.NOOP)) == []  # awake, but there is no slot
    end(two, 1)
    assert first.hear() == ["GRAB_JOB_ALL"]


def test_older_servers_are_asked_in_older_ways() -> None:
    session, server = made()
    server.hear()
    assert server.say(NOT_EXPECTED) == ["GRAB_JOB_UNIQ"]
    assert server.say(NOT_EXPECTED) == ["GRAB_JOB"]
    assert server.say(response(C.JOB_ASSIGN, b"H:1", b"f", b"w")) == []
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 ", "GRAB_JOB"]


def test_an_unasked_job_waits_for_its_slot() -> None:
    session, server = made()
    server.hear()
    server.say(assign(1), assign(2))
    assert [job.handle for job in session.assigned] == [b"H:1", b"H:2"]
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 "]
    end(session, 2)
    assert server.hear() == ["WORK_COMPLETE H:2 ", "GRAB_JOB_ALL"]


def test_a_new_function_wakes_a_sleeper() -> None:
    session, server = made()
    server.hear()
    server.say(response(C.NO_JOB))
    session.can_do(b"g")  # gearmand wakes nobody for jobs of g that wait already
    assert server.hear() == ["CAN_DO g", "GRAB_JOB_ALL"]


def test_a_function_is_said_once() -> None:
    session, server = made()
    server.hear()
    session.can_do(b"f")
    assert server.hear() == []
    session.can_do(b"f", 500)
    assert server.hear() == ["CANT_DO f", "CAN_DO_TIMEOUT f 500"]


def test_a_function_leaves_when_its_job_has_ended() -> None:
    session, server = made()
    server.hear()
    server.say(assign(1))
    session.cant_do(b"f")
    assert server.hear() == []
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 ", "CANT_DO f"]  # and nothing to grab for


def test_a_function_that_comes_back_in_time_never_left() -> None:
    session, server = made()
    server.hear()
    server.say(assign(1))
    session.cant_do(b"f")
    session.can_do(b"f")
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 ", "GRAB_JOB_ALL"]


def test_a_stopping_session_takes_what_was_asked_for_and_no_more() -> None:
    session, server = made(slots=2)
    server.hear()
    session._slots.closed = True
    assert session.awaiting
    assert server.say(assign(1)) == []
    assert not session.awaiting
    end(session, 1)
    assert server.hear() == ["WORK_COMPLETE H:1 "]


def test_a_lost_session_gives_its_slots_back_and_takes_none() -> None:
    session, server = made(slots=3)
    server.hear()
    server.say(assign(1))
    job = session.assigned.popleft()
    session.lost()
    assert job.lost
    session.release(job)
    session.pump()
    assert session._slots.free == 3
    assert not session.pending()


def test_a_slot_is_not_kept_for_a_server_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    slots = Slots(1)
    silent = WorkerSession("silent", slots, {b"f": 0})
    other = WorkerSession("other", slots, {b"f": 0})
    ears, others_ears = Server(silent), Server(other)
    assert ears.hear()[-1] == "GRAB_JOB_ALL"
    assert others_ears.hear() == ["CAN_DO f"]
    assert not silent.look()  # it may have been asked a moment ago
    assert silent.look()
    assert not silent.look()
    assert "silent has not answered for 1 s or more" in caplog.text
    assert (silent.state, silent.awaiting) == (State.SILENT, False)
    assert others_ears.hear() == ["GRAB_JOB_ALL"]
    assert ears.say(assign(1)) == []  # it waits
    assert slots.free == -1
    end(silent, 1)
    assert slots.free == 0
    assert others_ears.say(response(C.NO_JOB)) == ["PRE_SLEEP"]
    assert ears.hear() == ["WORK_COMPLETE H:1 ", "GRAB_JOB_ALL"]


def test_a_late_no_job_and_a_late_loss_free_no_slot_twice() -> None:
    session, server = made(slots=2)
    server.hear()
    session.look()
    session.look()
    assert session._slots.free == 2
    assert server.say(response(C.NO_JOB)) == ["PRE_SLEEP"]
    assert session.state is State.ASLEEP
    assert server.say(response(C.NOOP)) == ["GRAB_JOB_ALL"]
    session.look()
    session.look()
    session.lost()
    assert session._slots.free == 2


def test_an_answer_that_comes_in_pieces_is_no_silence() -> None:
    session, server = made()
    server.hear()
    session.look()
    packet = response(C.JOB_ASSIGN, b"H:1", b"f", bytes(100))
    for number in range(20, 80, 20):
        server.say(packet[number - 20 : number])
        assert not session.look()
    server.say(packet[60:])
    assert len(session.assigned) == 1


def test_a_silent_server_that_knows_no_grab_is_asked_in_the_older_way() -> None:
    session, server = made()
    server.hear()
    session.look()
    session.look()
    assert server.say(NOT_EXPECTED) == ["GRAB_JOB_UNIQ"]
    assert server.say(assign(1)) == []
    assert (len(session.assigned), session._slots.free) == (1, 0)


def test_what_is_not_for_workers_is_refused() -> None:
    session, _ = made()
    with pytest.raises(RemoteProtocolError, match="no worker can use"):
        session.receive(response(C.JOB_CREATED, b"H:1"))
    with pytest.raises(RemoteProtocolError):
        made()[0].receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    _session, server = made()
    server.hear()
    server.say(response(C.NO_JOB), response(C.ERROR, b"JOB_NOT_FOUND", b"Job given in work result not found"))
    assert "server reported: JOB_NOT_FOUND: Job given in work result not found" in caplog.text


class PretendServer:
    """A server's side of the cycle: gearmand's, or one that takes ALL_YOURS."""

    def __init__(self, all_yours: bool) -> None:
        self.offers = all_yours
        self.all_yours = False
        self.asleep = False
        self.queue = 0
        self.number = 0
        self.running = 0
        self.out: deque[bytes] = deque()

    def take(self, command: str) -> None:
        if command == "ALL_YOURS":
            if self.offers:
                self.all_yours = True
            else:
                self.out.append(NOT_EXPECTED)
        elif command == "GRAB_JOB_ALL":
            self.asleep = False
            if self.queue:
                self.give()
            else:
                self.out.append(response(C.NO_JOB))
        elif command == "PRE_SLEEP":
            self.asleep = True
            self.wake()
        elif command.startswith("WORK_COMPLETE"):
            self.running -= 1

    def give(self) -> None:
        self.queue -= 1
        self.running += 1
        self.number += 1
        self.out.append(assign(self.number))

    def wake(self) -> None:
        if self.asleep and self.queue:
            self.asleep = False
            if self.all_yours:
                self.give()
            else:
                self.out.append(response(C.NOOP))


@given(
    all_yours=st.booleans(),
    offers=st.booleans(),
    slots=st.integers(1, 3),
    steps=st.lists(st.sampled_from(["job", "server", "worker", "end"]), max_size=80),
)
def test_whatever_the_order_no_slot_holds_two_jobs_and_no_job_is_forgotten(
    all_yours: bool, offers: bool, slots: int, steps: list[str]
) -> None:
    session = WorkerSession("server", Slots(slots), {b"f": 0}, all_yours=all_yours)
    ears = Server(session)
    server = PretendServer(offers)
    heard: deque[str] = deque()
    submitted = 0

    def step(kind: str) -> None:
        nonlocal submitted
        if kind == "job":
            submitted += 1
            server.queue += 1
            server.wake()
        elif kind == "server" and heard:
            server.take(heard.popleft())
        elif kind == "worker" and server.out:
            session.receive(server.out.popleft())
        elif kind == "end" and session.jobs:
            end(session, int(next(iter(session.jobs)).handle[2:]))
        heard.extend(ears.hear())
        assert server.running <= slots
        assert session._slots.free >= 0

    for kind in steps:
        step(kind)
    for _ in range(40 * (submitted + 2)):  # then everybody does what is left to do
        for kind in ("server", "worker", "end"):
            step(kind)
    assert (server.queue, server.running, server.number) == (0, 0, submitted)
    assert not session.jobs


def test_the_limit_is_the_servers() -> None:
    """One that takes 256 MiB sends a little more, and its own limit may be higher."""
    session, _ = made()
    session.receive(b"\0RES\0\0\0\x0b" + b"\xff\xff\xff\xffH:1\0f\0the beginning")
