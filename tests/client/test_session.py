"""The client's session: exact packets in and out, no sockets."""

import pytest

from geartrain.client.request import Priority, submission
from geartrain.client.session import ClientSession
from geartrain.client.task import NO_CALLBACKS, BaseTask, Callbacks, JobStatus, Pending, TaskState
from geartrain.errors import ConnectionLost, JobException, JobFailed, RemoteProtocolError, ServerError
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import response


def new_task(name: bytes = b"f", *, background: bool = False, **callbacks: object) -> BaseTask:
    packet = submission(name, b"", b"workload", Priority.NORMAL, background)
    return BaseTask(None, name, b"", packet, background, Callbacks(**callbacks) if callbacks else NO_CALLBACKS)  # type: ignore[arg-type]


def submit(session: ClientSession, task: BaseTask) -> BaseTask:
    session.submit(task)
    return task


def ask(session: ClientSession, command: C, key: bytes) -> Pending:
    pending = Pending(key)
    session.ask(command, pending)
    return pending


def write(session: ClientSession, most: int = 1 << 30) -> bytes:
    """Takes what the session wants to write, up to so many bytes."""
    out = b""
    while (data := session.pending()) and len(out) < most:
        piece = bytes(data[: most - len(out)])
        out += piece
        session.sent(len(piece))
    return out


@pytest.fixture
def session() -> ClientSession:
    session = ClientSession("server", exceptions=False)
    write(session)
    return session


def test_exceptions_are_asked_for_first() -> None:
    session = ClientSession("server")
    session.submit(new_task())
    assert write(session).startswith(b"\0REQ\0\0\0\x1a\0\0\0\x0aexceptions\0REQ\0\0\0\x07")


def test_many_small_packets_are_one_write(session: ClientSession) -> None:
    for _ in range(100):
        submit(session, new_task())
    data = session.pending()
    session.sent(len(data))
    assert not session.pending()
    assert len(data) == 100 * (12 + 11)


def test_created_belongs_to_the_oldest(session: ClientSession) -> None:
    tasks = [submit(session, new_task()) for _ in range(3)]
    session.receive(response(C.JOB_CREATED, b"H:1") + response(C.JOB_CREATED, b"H:2"))
    assert [task.handle for task in tasks] == [b"H:1", b"H:2", b""]
    assert [task.state for task in tasks] == [TaskState.CREATED, TaskState.CREATED, TaskState.WAITING]


def test_a_background_task_is_done_when_it_is_created(session: ClientSession) -> None:
    task = submit(session, new_task(background=True))
    session.receive(response(C.JOB_CREATED, b"H:1"))
    assert task.done
    assert task._outcome() == b"H:1"
    assert session.idle


def test_updates_of_one_job_take_turns_and_its_end_is_for_all(session: ClientSession) -> None:
    tasks = [submit(session, new_task()) for _ in range(2)]
    session.receive(response(C.JOB_CREATED, b"H:1") * 2)
    session.receive(response(C.WORK_DATA, b"H:1", b"a") * 2 + response(C.WORK_DATA, b"H:1", b"b") * 2)
    session.receive(response(C.WORK_COMPLETE, b"H:1", b"!"))
    session.receive(response(C.WORK_COMPLETE, b"H:1", b"!"))  # the copy for the second: nobody needs it
    assert [task._outcome() for task in tasks] == [b"ab!", b"ab!"]
    assert session.idle


def test_fail_with_and_without_its_nul(session: ClientSession) -> None:
    tasks = [submit(session, new_task()) for _ in range(2)]
    session.receive(response(C.JOB_CREATED, b"H:1") + response(C.JOB_CREATED, b"H:2"))
    session.receive(response(C.WORK_FAIL, b"H:1") + b"\0RES\0\0\0\x0e\0\0\0\x04H:2\0")
    assert [type(task.error) for task in tasks] == [JobFailed, JobFailed]
    assert tasks[1].error.handle == b"H:2"  # type: ignore[union-attr]


def test_an_exception_ends_the_job_and_a_fail_after_it_is_nothing(session: ClientSession) -> None:
    task = submit(session, new_task())
    session.receive(response(C.JOB_CREATED, b"H:1") + response(C.WORK_EXCEPTION, b"H:1", b"why\0not"))
    session.receive(response(C.WORK_FAIL, b"H:1"))
    assert isinstance(task.error, JobException)
    assert task.error.data == b"why\0not"


def test_odd_numbers_in_a_status_are_zero(session: ClientSession) -> None:
    task = submit(session, new_task())
    session.receive(response(C.JOB_CREATED, b"H:1") + response(C.WORK_STATUS, b"H:1", b"half", b"-1"))
    assert task.status == (0, 0)
    assert task.status.fraction == 0.0


def test_each_answer_finds_its_question(session: ClientSession) -> None:
    status = ask(session, C.GET_STATUS, b"H:1")
    task = submit(session, new_task())
    unique = ask(session, C.GET_STATUS_UNIQUE, b"u")
    echo = ask(session, C.ECHO_REQ, b"x")
    session.receive(response(C.ECHO_RES, b"x"))  # a server need not keep the order between kinds
    session.receive(response(C.STATUS_RES_UNIQUE, b"u", b"1", b"0", b"3", b"4", b"5"))
    session.receive(response(C.STATUS_RES, b"H:1", b"1", b"1", b"2", b"9") + response(C.JOB_CREATED, b"H:2"))
    assert echo.value == b"x"
    assert unique.value == JobStatus(True, False, 3, 4, 5)
    assert status.value == JobStatus(True, True, 2, 9)
    assert task.handle == b"H:2"


def test_an_error_belongs_to_the_kind_that_it_speaks_of() -> None:
    session = ClientSession("server", exceptions=True)
    echo = ask(session, C.ECHO_REQ, b"x")
    first, second = submit(session, new_task()), submit(session, new_task())
    session.receive(response(C.ERROR, b"QUEUE_ERROR", b"Job queue is full"))
    assert isinstance(first.error, ServerError)
    assert (first.error.code, first.error.text) == ("QUEUE_ERROR", "Job queue is full")
    session.receive(response(C.ERROR, b"UNKNOWN_OPTION", b"no such option"))
    session.receive(response(C.ERROR, b"WHATEVER", b"is the oldest's"))
    assert str(echo.error) == "WHATEVER: is the oldest's"
    session.receive(response(C.JOB_CREATED, b"H:1"))
    assert second.handle == b"H:1"


def test_an_error_without_a_request_is_logged(session: ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    session.receive(response(C.ERROR, b"ODD", b"out of the blue"))
    assert "ODD: out of the blue" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        response(C.JOB_CREATED, b"H:1"),
        response(C.ECHO_RES, b"x"),
        response(C.JOB_ASSIGN, b"H:1", b"f", b"w"),
        response(C.STATUS_RES, b"H:1", b"1", b"1", b"2", b"9"),
        b"\0RES\0\0\0\x14\0\0\0\x03H:1",
        b"\0REQ\0\0\0\x08\0\0\0\x03H:1",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ],
)
def test_what_no_server_says_is_refused(session: ClientSession, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="server"):
        session.receive(data)


def test_the_end_of_a_connection(session: ClientSession) -> None:
    created, sent = submit(session, new_task(b"created")), submit(session, new_task(b"sent"))
    write(session)
    session.receive(response(C.JOB_CREATED, b"H:1"))
    question = ask(session, C.ECHO_REQ, b"x")
    partly, unsent = submit(session, new_task(b"partly")), submit(session, new_task(b"unsent"))
    write(session, 12 + 1 + 20)  # the question, and some of the packet after it
    assert session.lost("cut") == [partly, unsent]
    assert not partly.done
    assert isinstance(question.error, ConnectionLost)
    assert "job H:1 was awaited" in str(created.error)
    assert "a job for sent was sent and before the server confirmed it: it may run or not" in str(sent.error)
    assert session.idle
    assert not session.pending()
    again = ClientSession("next", exceptions=False)
    again.submit(partly)
    assert write(again) == b"".join(submission(b"partly", b"", b"workload"))


def test_a_large_workload_is_not_copied(session: ClientSession) -> None:
    workload = b"x" * (1 << 20)
    packet = submission(b"f", b"", workload)
    assert packet[1] is workload
    submit(session, BaseTask(None, b"f", b"", packet, False, NO_CALLBACKS))
    head = session.pending()
    session.sent(len(head))
    assert session.pending() is workload
    session.sent(1000)
    rest = session.pending()
    assert isinstance(rest, memoryview)
    assert rest.obj is workload
    session.receive(response(C.JOB_CREATED, b"H:1"))


def test_callbacks_wait_to_be_run(session: ClientSession) -> None:
    seen: list[object] = []
    task = submit(session, new_task(created=seen.append, complete=seen.append))
    session.receive(response(C.JOB_CREATED, b"H:1") + response(C.WORK_COMPLETE, b"H:1", b""))
    assert seen == []
    session.run_calls()
    assert seen == [task, task]


def test_the_limit_is_the_servers(session: ClientSession) -> None:
    session.receive(b"\0RES\0\0\0\x0d\xff\xff\xff\xffH:1\0the beginning")
