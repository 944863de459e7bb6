"""How many bytes a client waits for before it looks at its connection again.

Owns that rule. Pure: sizes and times come in as arguments. Must not know how anybody waits.
"""

from typing import Final

from geartrain.client.session import ClientSession

__all__ = ["to_gather"]

_GATHER: Final = 2000
"""Bytes: a dozen or two of short results."""
_QUICK: Final = _GATHER / 0.001


def to_gather(size: int, seconds: float, session: ClientSession) -> int:
    """What to wait for, given what just came.

    To wake for each of many results costs more than the results do: this process, and whoever shares its core with it.
    So where they come in quick succession, some are awaited together: as many as should come within a millisecond.

    Args:
        size: bytes that came.
        seconds: since something came before.
        session: knows how many bytes are sure to come yet.

    Returns:
        a number of bytes; 0 to wait for any.
    """
    return _GATHER if size > seconds * _QUICK and session.due > 2 * _GATHER else 0
