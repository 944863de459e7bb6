"""How users write numbers and times: ``30s``, ``1h30m``, ``18:30``, ``2026-12-24T18:30``, ``@1766600000``.

Owns these forms. All functions are types for argparse.
"""

import argparse
import re
from datetime import datetime, timedelta
from typing import Final

__all__ = ["moment", "seconds", "whole"]

_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_SPAN: Final = re.compile(rf"(?:{_PIECE.pattern})+")


def whole(text: str) -> int:
    """A whole number.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def seconds(text: str) -> float:
    """A span of time in seconds, from ``90``, ``1.5s``, ``500ms``, ``10m``, ``1h30m`` or ``2d``.

    Raises:
        argparse.ArgumentTypeError: it has none of these forms.
    """
    if not _SPAN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time; write 30s, 10m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))


def moment(text: str) -> datetime:
    """A moment: a span from now, a time of the day (the next one), a date and time, or ``@`` seconds since 1970.

    What names no time zone is local time.

    Raises:
        argparse.ArgumentTypeError: it has none of these forms.
    """
    now = datetime.now().astimezone()
    if _SPAN.fullmatch(text.removeprefix("+")):
        return now + timedelta(seconds=seconds(text.removeprefix("+")))
    try:
        if text.startswith("@"):
            return datetime.fromtimestamp(float(text[1:])).astimezone()
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
            clock = datetime.strptime(text, "%H:%M:%S" if text.count(":") == 2 else "%H:%M").time()
            today = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
            return today if today > now else today + timedelta(days=1)
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 10m, 18:30, 2026-12-24T18:30 or @ and the seconds since 1970"
        ) from None
