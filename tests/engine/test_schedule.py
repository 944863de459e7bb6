"""The next matching minute, in the server's time zone."""

from datetime import datetime

import pytest

from geartrain.engine.schedule import next_time

NOW = datetime(2026, 11, 21, 10, 30, 15)  # a Saturday


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("* * * * *", datetime(2026, 11, 21, 10, 31)),
        ("30 * * * *", datetime(2026, 11, 21, 11, 30)),
        ("45 * * * *", datetime(2026, 11, 21, 10, 45)),
        ("0 9 * * *", datetime(2026, 11, 22, 9, 0)),
        ("* 12 * * *", datetime(2026, 11, 21, 12, 0)),
        ("0 0 1 * *", datetime(2026, 12, 1)),
        ("0 0 * 3 *", datetime(2027, 3, 1)),
        ("15 6 * * 0", datetime(2026, 11, 23, 6, 15)),
        ("* * * * 5", datetime(2026, 11, 21, 10, 31)),
        ("0 0 29 2 *", datetime(2028, 2, 29)),
        ("0 0 29 2 6", datetime(2032, 2, 29)),
    ],
)
def test_next(fields: str, expected: datetime) -> None:
    assert next_time([f.encode() for f in fields.split()], NOW.timestamp()) == expected.timestamp()


def test_empty_fields_match_all() -> None:
    assert next_time([b""] * 5, NOW.timestamp()) == datetime(2026, 11, 21, 10, 31).timestamp()


@pytest.mark.parametrize(
    "fields", ["60 * * * *", "x * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "-1 * * * *"]
)
def test_what_cannot_be_read(fields: str) -> None:
    answer = next_time([f.encode() for f in fields.split()], NOW.timestamp())
    assert isinstance(answer, str)
    assert "must be" in answer


def test_a_day_that_never_comes() -> None:
    answer = next_time([b"*", b"*", b"31", b"2", b"*"], NOW.timestamp())
    assert isinstance(answer, str)
