"""Durable submissions and workers that go on while a test breaks things, and an exact account of all jobs."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request
from tests.server.wire import Wire
from tests.services import wait_until

__all__ = ["Traffic"]

WINDOW = 10
PACE = 0.003
"""Seconds between two windows: the machine is shared with the service that is broken."""


class Traffic:
    """Two clients and two workers on a server. Every third job is for the function ``later``, which nobody works
    on before a test asks for it: those jobs have to outlive everything.

    Attributes:
        acknowledged: numbers of the jobs whose JOB_CREATED came.
        stored: those of them that are for ``later``. (Others may have ended before they needed the store.)
        refused: the reasons of the ERRORs that came instead, by number.
        ran: how often each job was given to a worker.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[int] = set()
        self.stored: set[int] = set()
        self.refused: dict[int, str] = {}
        self.ran: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._next = 0
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for target in (self._submit, self._submit, self._work, self._work):
            thread = threading.Thread(target=self._guarded, args=(target,))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def stop(self, *, cut_off: bool = False) -> None:
        """Ends it, when all that was sent is answered and all ends of jobs are stored.

        Args:
            cut_off: the server was killed meanwhile: connections may have been lost, and nothing is stored any more.
        """
        self.__exit__(None, None, None)
        for failure in self._failures:
            if not (cut_off and isinstance(failure, OSError)):
                raise failure
        if not cut_off:
            with self._peer() as peer:
                self.settle(peer)

    def flows(self, count: int = 20) -> None:
        """Waits until more jobs are stored, and more jobs ran."""
        stored, ran = len(self.stored), len(self.ran)

        def more() -> bool:
            if self._failures:
                raise self._failures[0]
            return len(self.stored) >= stored + count and len(self.ran) >= ran + count

        wait_until(
            more, f"{count} more jobs are stored and others run; refused were {list(self.refused.values())[-1:]}"
        )

    def is_refused(self) -> str:
        """Waits until a submission is refused. Returns the reason."""
        before = len(self.refused)
        wait_until(lambda: len(self.refused) > before or self._failures, "a submission is refused")
        return next(reversed(self.refused.values()))

    def finish(self, count: int) -> None:
        """Works on jobs that have waited in the queue."""
        with self._peer() as peer:
            peer.say(C.CAN_DO, b"later")
            for _ in range(count):
                assert self._one_job(peer)

    def submit(self, peer: Wire, function: Callable[[int], bytes], count: int = WINDOW, size: int = 100) -> bool:
        """Submits jobs in one go, and waits for the answers. Returns whether all were acknowledged."""
        with self._lock:
            numbers = range(self._next, self._next + count)
            self._next += count
        peer.send(b"".join(_submission(n, function(n), size) for n in numbers))
        for number in numbers:
            answer = peer.hear()
            if answer[0] is C.JOB_CREATED:
                self.acknowledged.add(number)
                if function(number) == b"later":
                    self.stored.add(number)
            else:
                assert answer[:2] == (C.ERROR, b"QUEUE_ERROR"), answer
                assert isinstance(answer[2], bytes)
                self.refused[number] = answer[2].decode()
        return self.acknowledged.issuperset(numbers)

    def fill(self, size: int) -> str:
        """Submits large jobs until one is refused. Returns the reason."""
        with self._peer() as peer:
            for _ in range(1000):
                before = set(self.refused)
                self.submit(peer, lambda _: b"later", 1, size)
                new = self.refused.keys() - before
                if new:
                    return self.refused[min(new)]
        raise AssertionError("all of it was taken")

    def settle(self, peer: Wire) -> None:
        """Waits until all that happened so far is stored, the removal of what was refused too: it comes before a job
        that is."""
        deadline = time.monotonic() + 10
        while not self.submit(peer, lambda _: b"later", 1):
            assert time.monotonic() < deadline, f"nothing is stored: {list(self.refused.values())[-1:]}"

    def drain(self) -> None:
        """Works on everything that is left."""
        deadline = time.monotonic() + 20
        with self._peer() as peer:
            peer.say(C.CAN_DO, b"now").say(C.CAN_DO, b"later")
            while True:
                while self._one_job(peer):
                    pass
                rest = [line.split("\t") for line in peer.text("status").splitlines()[:-1]]
                if not any(int(fields[1]) for fields in rest):
                    return
                assert time.monotonic() < deadline, rest
                time.sleep(0.05)  # delayed ones

    def check(self, *, exactly_once: bool = True) -> None:
        """Holds the account against what was promised."""
        assert self.acknowledged, "the test has shown nothing"
        lost = self.acknowledged - self.ran.keys()
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged jobs were lost: {sorted(lost)[:20]}"
        if exactly_once:
            assert not self.refused.keys() & self.ran.keys(), "jobs ran that were refused"
            assert self.ran.keys() == self.acknowledged
            twice = [number for number, times in self.ran.items() if times > 1]
            assert not twice, f"{len(twice)} jobs ran twice, though no server was killed: {twice[:20]}"

    # ---- the threads

    def _guarded(self, target: Callable[[Wire], None]) -> None:
        try:
            with self._peer() as peer:
                target(peer)
        except BaseException as error:
            self._failures.append(error)

    def _peer(self) -> Wire:
        peer = Wire(self.port)
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer

    def _submit(self, peer: Wire) -> None:
        while not self._stop.wait(PACE):
            self.submit(peer, lambda number: b"later" if number % 3 == 0 else b"now")

    def _work(self, peer: Wire) -> None:
        peer.say(C.CAN_DO, b"now")
        while not self._stop.is_set():
            if not self._one_job(peer):
                self._stop.wait(PACE)
        peer.say(C.ECHO_REQ, b"").hear()  # the server has seen the end of the last job

    def _one_job(self, peer: Wire) -> bool:
        answer = peer.say(C.GRAB_JOB).hear()
        if answer[0] is C.NO_JOB:
            return False
        handle, workload = answer[1], answer[3]
        assert isinstance(handle, bytes)
        assert isinstance(workload, bytes)
        with self._lock:
            self.ran[int(workload.partition(b":")[0])] += 1
        peer.say(C.WORK_COMPLETE, handle, b"")
        return True


def _submission(number: int, function: bytes, size: int) -> bytes:
    """Of all kinds: with a unique, without, with the workload as the unique, and with a time."""
    workload = b"%d:" % number + random.Random(number).randbytes(size)  # databases compress what repeats
    unique = (b"u%d" % number, b"", b"-", b"U-%d" % number)[number % 4]
    if number % 50 == 0:
        return request(C.SUBMIT_JOB_EPOCH, function, unique, b"%d" % (time.time() + number % 3), workload)
    command = (C.SUBMIT_JOB_BG, C.SUBMIT_JOB_HIGH_BG, C.SUBMIT_JOB_LOW_BG)[number % 7 % 3]
    return request(command, function, unique, workload)
