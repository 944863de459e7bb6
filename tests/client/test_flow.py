"""When a client waits for several results at once."""

from geartrain.client.flow import to_gather
from geartrain.client.session import ClientSession
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import response

from .test_session import new_task


def session_with(tasks: int) -> ClientSession:
    session = ClientSession("server", exceptions=False)
    for _ in range(tasks):
        session.submit(new_task())
    session.receive(response(C.JOB_CREATED, b"H:host:1"))
    return session


def test_many_results_in_quick_succession_are_awaited_together() -> None:
    assert to_gather(500, 0.0001, session_with(500)) > 0


def test_never_more_is_awaited_than_is_sure_to_come() -> None:
    for tasks in (1, 2, 10, 50, 100, 200, 400):
        session = session_with(tasks)
        assert to_gather(500, 0.0001, session) <= session.due / 2
    assert to_gather(500, 0.0001, session_with(1)) == 0


def test_results_that_come_slowly_are_taken_one_by_one() -> None:
    assert to_gather(100, 0.01, session_with(500)) == 0
    assert to_gather(100, 60.0, session_with(500)) == 0
