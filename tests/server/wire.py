"""A plain socket that speaks Gearman, for tests of the server."""

import socket
from types import TracebackType
from typing import Self

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import RESPONSE_MAGIC, request, split
from geartrain.protocol.parser import Parser

__all__ = ["Wire"]


class Wire:
    """One connection. Everything that waits gives up after ten seconds."""

    def __init__(self, target: int | str, host: str = "127.0.0.1") -> None:
        if isinstance(target, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(10)
            self.socket.connect(target)
        else:
            self.socket = socket.create_connection((host, target), timeout=10)
        self._parser = Parser(RESPONSE_MAGIC)
        self._heard: list[tuple[object, ...]] = []

    def say(self, command: Command, *parts: bytes) -> Self:
        return self.send(request(command, *parts))

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def hear(self) -> tuple[object, ...]:
        """The next packet: the command and its parts.

        Raises:
            ConnectionError: the server closed the connection.
            TimeoutError: nothing came.
        """
        while not self._heard:
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError("closed by the server")
            for number, parts in self._parser.feed(data):
                command = Command(number)
                self._heard.append((command, *split(command, b"\0".join(parts))))
        return self._heard.pop(0)

    def text(self, line: str) -> str:
        """Asks in the text protocol; the answer ends with a dot for lists, and with the line for others."""
        self.send(line.encode() + b"\n")
        answer = b""
        lists = line.split()[0] in ("status", "prioritystatus", "workers") or line in ("show jobs", "show unique jobs")
        while not (answer.endswith(b"\n.\n") or answer == b".\n" if lists else answer.endswith(b"\n")):
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("closed by the server")
            answer += data
        return answer.decode()

    def read_to_end(self) -> bytes:
        """Everything until the server closes."""
        data = b""
        while piece := self.socket.recv(1 << 20):
            data += piece
        return data

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
