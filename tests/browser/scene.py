"""A server with life in it: workers and clients whose every step the test decides, and some hours of past.

Owns the talking over real sockets. Knows no browser.
"""

import asyncio
import math
import socket
import time
from typing import TYPE_CHECKING, Any, Self

from geartrain.engine.stats import Histogram
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import RESPONSE_MAGIC, request, split
from geartrain.protocol.parser import Parser
from geartrain.testing import Server
from tests.services import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from geartrain.engine.engine import Engine
    from geartrain.http.history import History

__all__ = ["Dashboard", "Talker"]


class Talker:
    """One connection: a worker that does exactly what it is told, or a client."""

    def __init__(self, port: int, name: str = "", functions: tuple[str, ...] = ()) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 10)
        self._parser = Parser(RESPONSE_MAGIC)
        self._items: list[tuple[int, list[bytes]]] = []
        if name:
            self.say(C.SET_CLIENT_ID, name)
        for function in functions:
            self.say(C.CAN_DO, function)

    def say(self, command: C, *parts: str | bytes) -> Self:
        self._sock.sendall(request(command, *(p.encode() if isinstance(p, str) else p for p in parts)))
        return self

    def hear(self) -> tuple[C, list[bytes]]:
        """The next packet."""
        while not self._items:
            data = self._sock.recv(65536)
            assert data, "the server closed the connection"
            self._items.extend(self._parser.feed(data))
        number, parts = self._items.pop(0)
        command = C(number)
        return command, split(command, b"\0".join(parts))

    def submit(self, function: str, workload: str = "", unique: str = "", command: C = C.SUBMIT_JOB_BG) -> str:
        """Submits, and returns the handle."""
        self.say(command, function, unique, workload)
        answer, parts = self.hear()
        assert answer == C.JOB_CREATED, (answer, parts)
        return parts[0].decode()

    def grab(self) -> tuple[str, bytes]:
        """Takes the next job, waiting for it: its handle and workload."""
        while True:
            command, parts = self.say(C.GRAB_JOB).hear()
            if command == C.JOB_ASSIGN:
                return parts[0].decode(), parts[2]
            self.say(C.PRE_SLEEP)
            assert self.hear()[0] == C.NOOP

    def sleep(self) -> Self:
        assert self.say(C.GRAB_JOB).hear()[0] == C.NO_JOB
        return self.say(C.PRE_SLEEP)

    def status(self, handle: str, numerator: int, denominator: int) -> None:
        self.say(C.WORK_STATUS, handle, str(numerator), str(denominator))

    def complete(self, handle: str, result: str = "") -> None:
        self.say(C.WORK_COMPLETE, handle, result)

    def close(self) -> None:
        self._sock.close()


class Dashboard:
    """A server with its dashboard."""

    def __init__(self, **settings: Any) -> None:
        self.http_port = free_port()
        self.server = Server(http=True, http_port=self.http_port, job_handle_prefix="H:rack7", **settings)
        self.talkers: list[Talker] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/_gearman/"

    def talker(self, name: str = "", *functions: str) -> Talker:
        talker = Talker(self.server.port, name, functions)
        self.talkers.append(talker)
        return talker

    def within(self, do: "Callable[[], None]") -> None:
        """Does something in the server's thread."""

        async def call() -> None:
            do()

        loop = self.server._loop
        assert loop is not None
        asyncio.run_coroutine_threadsafe(call(), loop).result(60)

    def stop(self) -> None:
        for talker in self.talkers:
            talker.close()
        self.talkers.clear()
        self.server.stop()

    # ---- what can be seen

    def furnish(self) -> None:
        """Workers, waiting and running jobs with progress, jobs that no worker can do, and a past."""
        client = self.talker("client")
        encoders = [self.talker(f"encoder-{n}", "film.encode", "film.preview") for n in (1, 2, 3)]
        mailers = [self.talker(f"mailer-{n}", "mail.send", "mail.digest") for n in (1, 2)]
        thumbs = self.talker("images", "image.resize", "image.crop", "image.exif", "report.monthly")
        names = ["the-mill.mkv", "harbour.mkv", "winter-train.mkv", "gorge.mkv", "signal-box.mkv", "points.mkv"]
        for number, name in enumerate(names):
            client.submit("film.encode", f'{{"source": "/films/{name}", "codec": "av1"}}', f"film-{number}")
        for encoder, done in zip(encoders, (17, 64, 91), strict=True):
            handle, _ = encoder.grab()
            encoder.status(handle, done, 100)
        client.submit("report.monthly", '{"month": "2026-10"}', "report-2026-10")
        thumbs.grab()
        for number in range(14):
            command = C.SUBMIT_JOB_HIGH_BG if number % 5 == 0 else C.SUBMIT_JOB_LOW_BG
            client.submit("mail.send", f"to=customer{number}@example.org", f"mail-{number}", command)
        mailers[0].grab()
        mailers[1].grab()
        for number in range(37):
            client.submit("invoice.print", f"invoice={4100 + number}", f"invoice-{number}")
        client.submit("search.index", "all")
        client.say(C.SUBMIT_JOB_EPOCH, "mail.digest", "digest-1", "4102444800", "weekly").hear()
        self.within(self._past)

    def _past(self) -> None:
        """Three hours of samples, as if work had gone on as on any day, and a pulse that goes on with it."""
        server = self.server.job_server
        http = server.http
        assert http is not None
        history: History = http.parts.history
        day = _Day(server.engine)
        now = time.time()
        for second in range(3 * 3600, 0, -1):
            day.second(now - second)
            history.sample(now - second)
        day.settle()
        loop = asyncio.get_running_loop()

        def beat() -> None:
            day.second(time.time(), 0.25)
            day.settle()
            loop.call_later(0.25, beat)

        beat()


class _Day:
    """The counters of two functions, moved as a day's work would move them."""

    def __init__(self, engine: "Engine") -> None:
        self._mail = engine.functions[b"mail.send"]
        self._film = engine.functions[b"film.encode"].stats
        self._queued = self._mail.queues[1].count
        self._carry = 0.0
        self._rest = 0.0
        stats = self._mail.stats
        stats.ran = Histogram()

    def second(self, at: float, share: float = 1.0) -> None:
        stats = self._mail.stats
        wave = 36 + 18 * math.sin(at / 83) + 9 * math.sin(at / 17) + int(at) * 7919 % 7
        self._rest += wave * share
        fresh = int(self._rest)
        self._rest -= fresh
        done = min(fresh + int(self._carry), int((55 + int(at) * 31 % 5) * share))
        self._carry += fresh - done
        stats.submitted += fresh
        stats.completed += done
        stats.started += done
        stats.failed += int(int(at) % 211 < 6 and share == 1.0)
        assert stats.waited is not None
        assert stats.ran is not None
        for part in range(8):
            stats.waited.add(0.002 + self._carry / 90 + part**3 / 40_000)
            stats.ran.add(0.011 + part**3 / 9_000)
        if int(at) % 20 == 0:
            self._film.submitted += 1
            self._film.completed += 1
        self._mail.queues[1].count = self._queued + int(self._carry)

    def settle(self) -> None:
        """What waits is what the engine knows of again."""
        self._mail.queues[1].count = self._queued
