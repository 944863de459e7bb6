"""Messages to systemd (sd_notify): ready, reloading, stopping, alive.

Owns the socket that systemd names in the environment. Without one, everything here does nothing.
The format is that of sd_notify(3): lines of NAME=value in one datagram.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

__all__ = ["Notifier"]

logger = logging.getLogger(__name__)


class Notifier:
    """Talks to the service manager.

    Args:
        environ: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of Linux's abstract names.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_interval = self._interval(environ) if path else 0.0
        """Seconds between calls of `alive`; 0 when nobody asked for them."""

    @staticmethod
    def _interval(environ: Mapping[str, str]) -> float:
        microseconds = environ.get("WATCHDOG_USEC", "")
        if not microseconds.isdigit() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return 0.0
        return int(microseconds) / 1_000_000 / 2

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            try:
                channel.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                logger.warning("systemd cannot be told %s: %s", lines[0], error.strerror)

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        # systemd wants the time at which it began, on the monotonic clock, in microseconds.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")
