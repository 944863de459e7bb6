"""What a socket did not take yet."""

import pytest

from geartrain.server.unsent import Unsent


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
