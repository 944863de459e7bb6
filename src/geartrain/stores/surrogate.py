"""Stand-in uniques: what is written to gearmand's key column where the client's unique cannot stand there.

Owns the form of a stand-in and the rule when one is needed. Knows no backend.

gearmand keys its queue by (unique, function). Jobs with an empty unique or ``-`` are many under one such key, so
gearmand keeps one of them and loses the others; a unique of 64 bytes comes back cut. Such a job gets a UUID of
36 characters (version 8, "for vendors", RFC 9562) that gearmand reads as an ordinary unique:

    9ea27aKK-NNNN-8NNN-8NNN-NNNNNNNNNNNN      KK the kind, N... the job's number

The number stands at the end and grows, so that an index on the column is appended to and not hit at random.
"""

from typing import Final

__all__ = ["DASH", "EMPTY", "MARK", "OTHER", "parse", "stand_in", "stored_unique"]

MARK: Final = b"9ea27a"
EMPTY: Final = b"9ea27a00"
"""Stands for the empty unique."""
DASH: Final = b"9ea27a2d"
"""Stands for ``-`` (the workload is the key)."""
OTHER: Final = b"9ea27a64"
"""Stands for a unique that is kept elsewhere, in a place of ours."""

_MAX_PLAIN: Final = 63
"""gearmand keeps at most 63 bytes of a unique (GEARMAN_MAX_UNIQUE_SIZE with its NUL)."""
_LENGTH: Final = 36


def stand_in(kind: bytes, number: int) -> bytes:
    """The stand-in of one of the three kinds for the job with this number (0 <= number < 2**63)."""
    if number < 0x1000000000000:
        return b"%b-0000-8000-8000-%012x" % (kind, number)
    digits = b"%022x" % number
    return b"%b-%b-8%b-8%b-%b" % (kind, digits[:4], digits[4:7], digits[7:10], digits[10:])


def stored_unique(unique: bytes, number: int) -> bytes:
    """What stands in the key column for this unique: itself where gearmand could read it back, and where it does not
    look like one of our stand-ins."""
    if not unique:
        return stand_in(EMPTY, number)
    if unique == b"-":
        return stand_in(DASH, number)
    if len(unique) > _MAX_PLAIN or b"\0" in unique or unique[:6] == MARK:
        return stand_in(OTHER, number)
    return unique


def parse(stored: bytes) -> tuple[bytes, int] | None:
    """The kind and number of a stand-in; None for any other unique."""
    if len(stored) != _LENGTH or not stored.startswith(MARK):
        return None
    kind = stored[:8]
    if kind not in (EMPTY, DASH, OTHER) or stored[8:9] + stored[13:15] + stored[18:20] != b"--8-8":
        return None
    try:
        return kind, int(stored[9:13] + stored[15:18] + stored[20:23] + stored[24:], 16)
    except ValueError:
        return None
