"""The exit statuses of the tools.

Owns the numbers and which error leads to which. Knows no single tool.
"""

import argparse
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import Final

from geartrain.cli.terminal import reader_left, say
from geartrain.errors import (
    ConfigError,
    ConnectionLost,
    GeartrainError,
    JobError,
    LocalProtocolError,
    RequestTimeout,
    ServerError,
)

__all__ = ["EXIT_STATUSES", "Exit", "describe", "exit_for", "guarded"]


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
    (LocalProtocolError, Exit.USAGE),
    (ConnectionLost, Exit.UNREACHABLE),
    (RequestTimeout, Exit.TIMEOUT),
    (ServerError, Exit.REFUSED),
)


def exit_for(error: GeartrainError) -> Exit:
    """The exit status that tells of an error."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)


def describe(error: GeartrainError) -> str:
    """An error as a sentence for a user, with what to look at next."""
    if isinstance(error, ConnectionLost) and "Connection refused" in str(error):
        return f"{error}. Is a job server running there?"
    return str(error)


def guarded(program: str) -> Callable[[Callable[[argparse.Namespace], int]], Callable[[argparse.Namespace], int]]:
    """Makes a command's `run` tell of its errors in a sentence and an exit status, never in a traceback.

    Args:
        program: what the sentence starts with, for example ``geartrain submit``.
    """

    def decorate(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
        @wraps(run)
        def guard(args: argparse.Namespace) -> int:
            try:
                return run(args)
            except GeartrainError as error:
                say(describe(error), program=program)
                return exit_for(error)
            except KeyboardInterrupt:
                return Exit.INTERRUPTED
            except BrokenPipeError:
                return reader_left()

        return guard

    return decorate
