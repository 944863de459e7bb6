"""Handles of earlier runs: which prefix belongs to which numbers.

Owns the ranges. A handle is its prefix and its number, and the prefix (``H:host:``) changes only when a server gets
another name: so a store keeps a few ranges, and no handle for each job.
"""

from bisect import bisect_right

__all__ = ["Prefixes"]


class Prefixes:
    """Ranges of numbers and the prefix that each had."""

    __slots__ = ("_firsts", "_prefixes")

    def __init__(self, ranges: dict[int, bytes]) -> None:
        """Args:
        ranges: the first number of each range to its prefix. There must be one that covers 1.
        """
        self._firsts = sorted(ranges)
        self._prefixes = [ranges[first] for first in self._firsts]

    def at(self, number: int) -> tuple[bytes, int, int]:
        """The prefix at this number, and the first and last number of its range."""
        index = max(bisect_right(self._firsts, number) - 1, 0)
        last = self._firsts[index + 1] - 1 if index + 1 < len(self._firsts) else (1 << 63) - 1
        return self._prefixes[index], self._firsts[index] if index else 0, last

    def handle(self, number: int) -> bytes:
        """The handle that a job with this number has, unless its store says otherwise."""
        return b"%b%d" % (self.at(number)[0], number)

    @property
    def current(self) -> bytes:
        """The prefix of the last range."""
        return self._prefixes[-1]
