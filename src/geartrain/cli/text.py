"""One connection that speaks the text protocol, for answers as the server wrote them.

Owns where an answer ends and what of it is an error. Knows no single command.
"""

import time
from types import TracebackType
from typing import Self

from geartrain.client.address import Server
from geartrain.client.sockets import Transport, connect
from geartrain.client.tls import Tls
from geartrain.errors import ConnectionLost, RequestTimeout, ServerError

__all__ = ["TextConnection"]


class TextConnection:
    """A context manager: connects on entry, closes on exit.

    Args:
        server: where to.
        tls: how.
        timeout: seconds for connecting, and for each answer.
    """

    def __init__(self, server: Server, tls: Tls, timeout: float) -> None:
        self._server = server
        self._tls = tls.context()
        self._timeout = timeout
        self._transport: Transport | None = None

    def __enter__(self) -> Self:
        try:
            self._transport = connect(self._server, self._tls, self._timeout)
        except ConnectionLost as error:
            raise ConnectionLost(f"could not connect to {error}. Is a job server running there?") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def ask(self, line: bytes, many: bool, *, last: bool = False) -> bytes:
        """Sends a command and waits for its answer.

        Args:
            line: the command with its line end.
            many: whether the answer is a list that ends with a dot, or one line.
            last: the server may close the connection instead of answering; that counts as ``OK``.

        Returns:
            The list's lines without the dot; or the one line without the ``OK`` before its value.

        Raises:
            ServerError: the answer is ``ERR``.
            ConnectionLost: the connection ended before the answer did.
            RequestTimeout: the answer did not come in time.
        """
        deadline = time.monotonic() + self._timeout
        self._send(line, deadline)
        answer = bytearray()
        while not _complete(answer, many):
            chunk = self._receive(deadline)
            if not chunk:
                if last and not answer:
                    return b"OK\n"
                raise ConnectionLost(f"{self._server} closed the connection before it had answered")
            answer += chunk
        if _is_error(answer, many):
            code, _, words = answer[4:].decode("utf-8", "backslashreplace").strip().partition(" ")
            raise ServerError(code, words.replace("+", " "))
        if many:
            return bytes(answer[: answer.rindex(b".")])
        return (bytes(answer).rstrip(b"\r\n").removeprefix(b"OK ") or b"OK") + b"\n"

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._transport is not None, "use it in a with statement"
        while data:
            sent = self._transport.send(data)
            data = data[sent:]
            if data and not self._transport.wait(self._left(deadline), read=False, write=True):
                raise self._late()

    def _receive(self, deadline: float) -> bytes:
        assert self._transport is not None
        chunk = self._transport.recv(self._left(deadline))
        if chunk is None:
            raise self._late()
        return chunk

    def _left(self, deadline: float) -> float:
        return max(0.001, deadline - time.monotonic())

    def _late(self) -> RequestTimeout:
        return RequestTimeout(f"{self._server} gave no answer within {self._timeout:g} s")


def _is_error(answer: bytes | bytearray, many: bool) -> bool:
    # gearmand ends its errors with CR LF and the lines of its lists with LF: a unique key may look like an error.
    return answer.startswith(b"ERR ") and (answer.endswith(b"\r\n") or not many)


def _complete(answer: bytes | bytearray, many: bool) -> bool:
    # One question at a time: the end of an answer is the end of what has come. That spares a look at every line.
    if not many:
        return answer.endswith(b"\n")
    return answer.endswith((b"\n.\n", b"\n.\r\n")) or answer in (b".\n", b".\r\n") or _is_error(answer, many)
