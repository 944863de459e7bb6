"""Schedule: when a SUBMIT_JOB_SCHED job runs: once, at the next minute that matches.

Owns the reading of the five fields and the search in the calendar of the server's time zone.

Source: the protocol's text: minute (0-59), hour (0-23), day of month (1-31), month (1-12), day of week (0-6,
0 = Monday). Empty or ``*`` matches all.
"""

from datetime import datetime, timedelta
from typing import Final

__all__ = ["next_time"]

_FIELDS: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
_YEARS: Final = 28
"""After that the calendar repeats: 29 February on a given weekday comes within it (but for 2100)."""


def next_time(fields: list[bytes], now: float) -> int | str:
    """The next time that matches all fields.

    Args:
        fields: minute, hour, day of month, month, day of week, as they came.
        now: seconds since 1970.

    Returns:
        seconds since 1970 of the beginning of that minute, later than now; or a sentence that says what is wrong.
    """
    wanted: list[int | None] = []
    for (name, low, high), text in zip(_FIELDS, fields, strict=True):
        if text in (b"", b"*"):
            wanted.append(None)
        elif text.isdigit() and len(text) < 4 and low <= int(text) <= high:
            wanted.append(int(text))
        else:
            shown = text[:20].decode("utf-8", "backslashreplace")
            return f"The {name} of SUBMIT_JOB_SCHED must be {low} to {high}, empty or *, not '{shown}'"
    minute, hour, day, month, weekday = wanted
    start = datetime.fromtimestamp(now).replace(second=0, microsecond=0) + timedelta(minutes=1)
    moment = start
    for _ in range(366 * _YEARS):
        if _fits(moment.month, month) and _fits(moment.day, day) and _fits(moment.weekday(), weekday):
            found = _in_day(moment, minute, hour)
            if found is not None and found.timestamp() > now:
                return int(found.timestamp())
        moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
    return "No day matches the day, month and weekday of SUBMIT_JOB_SCHED"


def _fits(value: int, wanted: int | None) -> bool:
    return wanted is None or value == wanted


def _in_day(moment: datetime, minute: int | None, hour: int | None) -> datetime | None:
    """The first matching minute of a day, from the moment on."""
    for h in range(moment.hour, 24) if hour is None else [hour]:
        if h < moment.hour:
            continue
        first = moment.minute if h == moment.hour else 0
        if minute is None:
            return moment.replace(hour=h, minute=first)
        if minute >= first:
            return moment.replace(hour=h, minute=minute)
    return None
