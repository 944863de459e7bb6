"""The exit statuses of the tools.

Owns the numbers and which error leads to which. Knows no single tool.
"""

from enum import IntEnum
from typing import Final

from geartrain.errors import (
    ConfigError,
    ConnectionLost,
    GeartrainError,
    JobError,
    RequestTimeout,
    ServerError,
)

__all__ = ["EXIT_STATUSES", "Exit", "exit_for"]


class Exit(IntEnum):
    """What a tool says with its exit status."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMEOUT = 4
    REFUSED = 5
    INTERRUPTED = 130


EXIT_STATUSES: Final = """\
  0  all went well
  1  a job failed
  2  the command line or a setting is wrong
  3  no job server could be reached, or the connection was lost
  4  the time limit passed
  5  the server answered with an error"""
"""The same, for help texts."""

_BY_ERROR: Final[tuple[tuple[type[GeartrainError], Exit], ...]] = (
    (JobError, Exit.FAILED),
    (ConfigError, Exit.USAGE),
    (ConnectionLost, Exit.UNREACHABLE),
    (RequestTimeout, Exit.TIMEOUT),
    (ServerError, Exit.REFUSED),
)


def exit_for(error: GeartrainError) -> Exit:
    """The exit status that tells of an error."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)
