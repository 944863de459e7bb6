"""The numbers of jobs: how far ahead of them a store's high-water mark stands.

Owns that distance. Handles are given out before anything of their jobs is stored, so the mark has to be ahead of all
of them: after a kill -9 the numbers go on from it, and no handle is given twice.
"""

from typing import Final

__all__ = ["ahead"]

_STEP: Final = 1_000_000
"""One small write for so many jobs. The server gives fewer numbers in the seconds between two batches."""


def ahead(number: int, mark: int = 0) -> int:
    """Where the mark belongs when this is the next number: where it is, or anew in front once half the way is gone."""
    return mark if number + _STEP // 2 <= mark else number + _STEP
