"""What another thread may do at the worst moment. Here it is done at that very moment, so that no test needs luck."""

from geartrain import Job, Worker
from geartrain.client.address import Server
from geartrain.worker.base import Registered


def work(job: Job) -> None:
    """Nothing."""


def test_a_function_may_come_while_a_server_is_greeted() -> None:
    worker = Worker("localhost:1")

    class Slow(Registered):
        __slots__ = ()

        @property
        def timeout(self) -> int:
            worker.register(f"f{len(worker.functions)}", work)
            return 0

        @timeout.setter
        def timeout(self, value: int) -> None:
            pass

    worker.register("f", work)
    worker._functions[b"f"] = Slow(work, 0, None)
    worker._new_session(Server("localhost", 1), False)
    assert worker.functions == (b"f", b"f1")


def test_a_connection_may_be_lost_while_jobs_are_collected() -> None:
    worker = Worker("localhost:1,localhost:2", concurrency=2)

    class Lost:
        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def session(self) -> object:
            worker._links.links.pop(self.number, None)
            return worker._new_session(Server("localhost", 1), False)

    worker._links.links.update({number: Lost(number) for number in (1, 2)})  # type: ignore[misc]
    worker._collect()
    assert not worker._ready
