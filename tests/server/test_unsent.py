"""What a socket did not take yet arrives whole and in order, whatever its pieces are."""

import random
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from geartrain.server.unsent import Unsent


def arrived(unsent: Unsent) -> bytes:
    """What comes out at the other end of a socket that takes little at once."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    near.setblocking(False)

    def write(pieces: list[Any], _: bool) -> int:
        return near.sendmsg(pieces)

    def read() -> bytes:
        with far, far.makefile("rb") as stream:
            return stream.read()

    with ThreadPoolExecutor() as threads:
        reading = threads.submit(read)
        with near:
            while unsent.size:
                try:
                    unsent.send(near.fileno(), write)
                except BlockingIOError:
                    assert unsent.size
                    assert select.select([], [near], [], 10)[1], "the socket takes nothing any more"
        return reading.result()


@pytest.mark.parametrize("seed", range(10))
def test_pieces_of_any_size(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice((0, 0, 1, 30, 5000, 100_000))) for _ in range(chance.choice((5, 80, 300)))]
    whole = b"".join(pieces)
    unsent = Unsent()
    unsent.add(pieces[:2])
    unsent.add(pieces[2:])
    assert unsent.size == len(whole)
    gone = min(4000, unsent.size)
    unsent.drop(gone)
    assert arrived(unsent) == whole[gone:]


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_empty_pieces_are_no_obstacle(most: int) -> None:
    """TLS writes one piece at a time, and a write of nothing takes nothing away."""
    sent: list[bytes] = []

    def write(pieces: list[bytes], kept_follows: bool) -> int:
        sent.append(bytes(pieces[0][:most]))
        assert sent[-1]
        return len(sent[-1])

    unsent = Unsent()
    unsent.add([b"head", b"", b"body", b""])
    assert unsent.size == 8
    unsent.send(-1, write)
    assert b"".join(sent) == b"headbody"
    assert unsent.size == 0
