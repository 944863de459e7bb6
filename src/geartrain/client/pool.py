"""Which server next, and when.

Owns the servers' order, what is known of their health, and the times to wait. Pure: the clock and the dice come
in as arguments. Must not know sockets or jobs.
"""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from geartrain.client.address import Server

__all__ = ["FIRST_DELAY", "MAX_DELAY", "Doubt", "Pool", "silent"]

logger = logging.getLogger("geartrain.client")

FIRST_DELAY: Final = 0.1
"""Seconds to wait after the first failure; doubled by each further one."""
MAX_DELAY: Final = 10.0
"""The longest wait, in seconds."""


class Pool:
    """The servers, in the order of preference, and their health.

    Args:
        servers: the first is preferred.
        dice: a number from 0 to 1: waits are spread, so that a restarted server does not meet all at once.
    """

    __slots__ = ("_dice", "_failures", "_retry_at", "servers")

    def __init__(self, servers: Sequence[Server], dice: Callable[[], float] = random.random) -> None:
        self.servers: tuple[Server, ...] = tuple(servers)
        self._dice = dice
        self._failures: dict[Server, int] = {}
        self._retry_at: dict[Server, float] = {}

    def candidates(self, now: float) -> list[Server]:
        """The servers to try now, best first.

        Healthy ones come in their order. Those that failed lately come last, the longest waiting first: with
        nothing else to try, trying them costs less than refusing the user's job.
        """
        waiting = self._retry_at
        return sorted(self.servers, key=lambda s: waiting[s] if waiting.get(s, now) > now else 0.0)

    def failed(self, server: Server, now: float) -> float:
        """Notes that a server could not be reached or was lost. Returns when to try it again."""
        failures = self._failures.get(server, 0)
        self._failures[server] = failures + 1
        delay: float = min(MAX_DELAY, FIRST_DELAY * 2 ** min(failures, 16)) * (0.5 + self._dice() / 2)
        self._retry_at[server] = now + delay
        return now + delay

    def succeeded(self, server: Server) -> None:
        """Notes that a server works."""
        self._failures.pop(server, None)
        self._retry_at.pop(server, None)

    def retry_at(self, server: Server) -> float:
        """When a server may be tried again, 0 where there is nothing to wait for."""
        return self._retry_at.get(server, 0.0)


class Doubt:
    """For how long one connection's server was waited for in vain."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = 0.0

    def grow(self, since: float, heard: float, now: float) -> float:
        """Somebody waited from `since` to `now`; something came last at `heard`. Returns seconds, of all such waits."""
        if self._since <= heard:
            self._since = max(since, heard)
        return now - self._since


def silent(server: Server, seconds: float) -> str:
    """Notes in the log that a server is left because it does not answer. Returns the reason in words."""
    logger.warning("%s has accepted a connection, but not answered for %.1f s; trying another", server, seconds)
    return f"no answer for {seconds:.1f} s"
