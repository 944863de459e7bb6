"""Options: what the engine is told before it starts.

Owns the policy's part of the configuration, and what the text protocol tells of the server. Must not know where a
setting came from.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["About", "EngineOptions"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What of the configuration concerns the policy.

    Attributes:
        handle_prefix: handles are this and a number, as ``H:host:1``.
        attempts: how often a job is given to a worker before it is given up; 0 for no limit (--job-retries).
        exceptions: forward WORK_EXCEPTION to all clients (--exceptions).
        by_priority: gearmand 2.0's order over all functions of a worker (--compat).
        rotate: rotate between functions (--round-robin; always in 2.0's order).
    """

    handle_prefix: bytes = b"H:geartrain:"
    attempts: int = 0
    exceptions: bool = False
    by_priority: bool = True
    rotate: bool = True


class About:
    """What the text protocol tells of the server, and the way to stop it. The shell fills it in.

    Attributes:
        version: as `version` shows it.
        verbose: as `verbose` shows it.
        allow_shutdown: whether `shutdown` is accepted from other machines.
        shutdown: stops the server; True lets the running jobs finish first.
    """

    __slots__ = ("allow_shutdown", "shutdown", "verbose", "version")

    def __init__(self, version: bytes, verbose: bytes, allow_shutdown: bool, shutdown: Callable[[bool], None]) -> None:
        self.version: bytes = version
        self.verbose: bytes = verbose
        self.allow_shutdown: bool = allow_shutdown
        self.shutdown: Callable[[bool], None] = shutdown
