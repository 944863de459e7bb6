"""Submissions, byte for byte."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geartrain.client.request import (
    Priority,
    Schedule,
    epoch_of,
    payload_bytes,
    priority_of,
    submission,
    unique_for,
)
from geartrain.errors import LocalProtocolError
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request


@pytest.mark.parametrize(
    ("priority", "background", "command"),
    [
        (Priority.HIGH, False, C.SUBMIT_JOB_HIGH),
        (Priority.NORMAL, False, C.SUBMIT_JOB),
        (Priority.LOW, False, C.SUBMIT_JOB_LOW),
        (Priority.HIGH, True, C.SUBMIT_JOB_HIGH_BG),
        (Priority.NORMAL, True, C.SUBMIT_JOB_BG),
        (Priority.LOW, True, C.SUBMIT_JOB_LOW_BG),
    ],
)
def test_plain_submissions(priority: Priority, background: bool, command: C) -> None:
    assert submission(b"f", b"u", b"w\0w", priority, background) == (request(command, b"f", b"u", b"w\0w"),)


def test_special_submissions() -> None:
    epoch = submission(b"f", b"u", b"w", background=True, epoch=1700000000)
    assert epoch == (request(C.SUBMIT_JOB_EPOCH, b"f", b"u", b"1700000000", b"w"),)
    sched = submission(b"f", b"u", b"w", background=True, schedule=Schedule(minute=30, day_of_week=0))
    assert sched == (request(C.SUBMIT_JOB_SCHED, b"f", b"u", b"30", b"", b"", b"", b"0", b"w"),)
    reduce = submission(b"f", b"u", b"w", reducer=b"r")
    assert reduce == (request(C.SUBMIT_REDUCE_JOB, b"f", b"u", b"r", b"", b"w"),)
    reduce = submission(b"f", b"u", b"w", background=True, reducer=b"r")
    assert reduce == (request(C.SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"u", b"r", b"", b"w"),)


def test_what_the_protocol_has_no_command_for() -> None:
    with pytest.raises(LocalProtocolError, match="exclude each other"):
        submission(b"f", b"", b"", background=True, epoch=1, reducer=b"r")
    with pytest.raises(LocalProtocolError, match="normal priority"):
        submission(b"f", b"", b"", Priority.HIGH, True, epoch=1)
    with pytest.raises(LocalProtocolError, match="background"):
        submission(b"f", b"", b"", epoch=1)


@given(st.binary(max_size=100_000))
def test_any_workload(workload: bytes) -> None:
    assert b"".join(submission(b"f", b"u", workload)) == request(C.SUBMIT_JOB, b"f", b"u", workload)


def test_times() -> None:
    assert epoch_of(1700000000.2) == 1700000001  # never too early
    assert epoch_of(datetime(2030, 1, 1, tzinfo=UTC)) == 1893456000
    assert 0 <= epoch_of(timedelta(minutes=1)) - (time.time() + 60) <= 1
    assert epoch_of(-5) == 0


def test_uniques() -> None:
    assert unique_for(None, b"w", False) == b""
    assert len(unique_for(None, b"w", True)) == 32
    assert unique_for("é", b"w", True) == "é".encode()
    assert unique_for("-", b"w", True) == b"-"
    assert unique_for("#", b"w", True) == unique_for(b"#", b"w", False) != unique_for("#", b"v", True)


def test_priorities_by_name() -> None:
    assert [priority_of(name) for name in ("high", "normal", "low", Priority.LOW)] == [0, 1, 2, 2]
    with pytest.raises(LocalProtocolError, match="'urgent'"):
        priority_of("urgent")


def test_payloads() -> None:
    assert [payload_bytes(p) for p in (b"b", "é", bytearray(b"a"), memoryview(b"m"))] == [
        b"b",
        "é".encode(),
        b"a",
        b"m",
    ]
    with pytest.raises(TypeError, match="not int; serialise it first"):
        payload_bytes(1)  # type: ignore[arg-type]
