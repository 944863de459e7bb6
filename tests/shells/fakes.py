"""Servers that misbehave on purpose: real sockets, with a script in the place of a job server."""

import socket
import threading
from collections.abc import Callable
from typing import Self

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import REQUEST_MAGIC
from geartrain.protocol.parser import Parser

from .worlds import PATIENCE


class Peer:
    """One connection of a scripted server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._parser = Parser(REQUEST_MAGIC)
        self._items: list[tuple[Command, list[bytes]]] = []

    def packet(self) -> tuple[Command, list[bytes]]:
        """The next packet that came; options are passed over."""
        while True:
            while not self._items:
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError("the peer hung up")
                self._items.extend((Command(number), parts) for number, parts in self._parser.feed(data))
            item = self._items.pop(0)
            if item[0] is not Command.OPTION_REQ:
                return item

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)


class Scripted:
    """Listens, and runs a script for each connection in turn; then it hangs up."""

    def __init__(self, *scripts: Callable[[Peer], object]) -> None:
        self._scripts = scripts
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.settimeout(PATIENCE)
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.problems: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for script in self._scripts:
            try:
                with self._sock.accept()[0] as sock:
                    script(Peer(sock))
            except (OSError, EOFError) as error:
                self.problems.append(error)
        self._sock.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the script did not come to its end"
