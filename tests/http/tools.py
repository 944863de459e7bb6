"""Both ends of the gateway for tests: a worker that does as it is told, and HTTP by the byte."""

import json
import socket
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import httpx

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import RESPONSE_MAGIC, request
from geartrain.protocol.parser import Parser
from geartrain.testing import Server

PATIENCE = 10.0


class Job(NamedTuple):
    """What a worker was given."""

    handle: bytes
    function: bytes
    unique: bytes
    workload: bytes


class Worker:
    """A worker that takes a job, and sends, when the test says so."""

    def __init__(self, port: int, *functions: bytes) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._parser = Parser(RESPONSE_MAGIC)
        self._items: list[tuple[int, list[bytes]]] = []
        self.send(*((Command.CAN_DO, name) for name in functions))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, *packets: tuple[Any, ...]) -> None:
        self._sock.sendall(b"".join(request(command, *parts) for command, *parts in packets))

    def receive(self) -> tuple[int, list[bytes]]:
        while not self._items:
            data = self._sock.recv(65536)
            assert data, "the server closed the worker's connection"
            self._items += self._parser.feed(data)
        return self._items.pop(0)

    def take(self) -> Job:
        """The next job, as soon as there is one."""
        while True:
            self.send((Command.GRAB_JOB_UNIQ,))
            command, parts = self.receive()
            if command == Command.JOB_ASSIGN_UNIQ:
                return Job(*parts)
            assert command == Command.NO_JOB
            self.send((Command.PRE_SLEEP,))
            assert self.receive()[0] == Command.NOOP

    def complete(self, job: Job, result: bytes) -> None:
        self.send((Command.WORK_COMPLETE, job.handle, result))

    def fail(self, job: Job) -> None:
        self.send((Command.WORK_FAIL, job.handle))


class Reply(NamedTuple):
    """An HTTP answer."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    def get(self, name: bytes) -> bytes | None:
        return next((value for found, value in self.headers if found.lower() == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection to the gateway: sends bytes, reads answers."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.held = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *pieces: bytes) -> Self:
        self.sock.sendall(b"".join(pieces))
        return self

    def more(self) -> bool:
        """Reads once. Returns whether something came."""
        data = self.sock.recv(65536)
        self.held += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Reads up to a mark, which is taken off."""
        while mark not in self.held:
            assert self.more(), f"the connection ended after {self.held!r}"
        found, _, self.held = self.held.partition(mark)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self.held) < size:
            assert self.more(), f"the connection ended after {len(self.held)} of {size} bytes"
        found, self.held = self.held[:size], self.held[size:]
        return found

    def chunk(self) -> bytes:
        """One chunk of a body; empty for the last."""
        data = self.exactly(int(self.until(b"\r\n"), 16))
        assert self.exactly(2) == b"\r\n"
        return data

    def head(self) -> Reply:
        line, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        headers = []
        for header in lines:
            name, _, value = header.partition(b": ")
            headers.append((name, value))
        return Reply(line, headers, b"")

    def reply(self, head_only: bool = False) -> Reply:
        """One answer, whole."""
        reply = self.head()
        if head_only or reply.status in (204, 304):
            return reply
        if reply.get(b"transfer-encoding") == b"chunked":
            pieces = []
            while piece := self.chunk():
                pieces.append(piece)
            return reply._replace(body=b"".join(pieces))
        length = reply.get(b"content-length")
        if length is not None:
            return reply._replace(body=self.exactly(int(length)))
        return reply._replace(body=self.rest())

    def rest(self) -> bytes:
        """Everything to the connection's end."""
        while self.more():
            pass
        found, self.held = self.held, b""
        return found


def post(path: str, body: bytes = b"", *headers: str, version: str = "1.1", method: str = "POST") -> bytes:
    """A request's bytes."""
    lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *headers]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str, *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    return post(path, b"", *headers, version=version, method=method)


class Site:
    """A running server with HTTP."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack
        self.url = server.job_server.http_addresses[0]
        port = self.url.rstrip("/").rpartition(":")[2]
        self.port = int(port) if port.isdigit() else 0  # none for a unix socket

    def wire(self) -> Wire:
        return self._stack.enter_context(Wire(self.port))

    def worker(self, *functions: bytes) -> Worker:
        return self._stack.enter_context(Worker(self.server.port, *functions))

    def client(self, **settings: Any) -> httpx.Client:
        """An HTTP client whose paths begin at the API."""
        base = f"{self.url}_gearman/api"
        return self._stack.enter_context(httpx.Client(base_url=base, timeout=PATIENCE, trust_env=False, **settings))
