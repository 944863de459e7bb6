"""Calls from another thread: each is made, in order, on the loop's thread, whatever becomes of the one before."""

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from geartrain.server.loop import GearLoop, reactor_of
from geartrain.server.mailbox import Mailbox


@pytest.fixture(params=[GearLoop, asyncio.new_event_loop], ids=["poller", "add_reader"])
def make_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return factory


def deliver(
    make_loop: Callable[[], asyncio.AbstractEventLoop], post: Callable[[Mailbox, Callable[[], None]], None]
) -> Mailbox:
    """Has another thread use a mailbox until it calls what it is given. Returns the mailbox, closed."""

    async def main() -> Mailbox:
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(reactor_of(loop))
        over = asyncio.Event()
        threading.Thread(target=post, args=(mailbox, over.set)).start()
        await asyncio.wait_for(over.wait(), 20)
        mailbox.close()
        return mailbox

    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(main())


def test_calls_are_made_in_order_on_the_loop(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    count = 100_000  # more than a pipe holds
    made: list[int] = []
    threads: set[int] = set()

    def call(number: int) -> None:
        made.append(number)
        threads.add(threading.get_ident())

    def post(mailbox: Mailbox, over: Callable[[], None]) -> None:
        assert all(mailbox.post(call, number) for number in range(count))
        mailbox.post(over)

    mailbox = deliver(make_loop, post)
    assert made == list(range(count))
    assert threads == {threading.get_ident()}
    assert not mailbox.post(call, 0), "nobody listens any more"


def test_a_call_that_fails_harms_no_other(
    make_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    def post(mailbox: Mailbox, over: Callable[[], None]) -> None:
        for call in (fail, fail, over):
            mailbox.post(call)

    with caplog.at_level(logging.ERROR):
        deliver(make_loop, post)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a bug", "a bug"]
