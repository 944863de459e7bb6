"""Packing is checked, and parsing is its reverse."""

from pathlib import Path

import pytest

from geartrain.errors import LocalProtocolError, RemoteProtocolError
from geartrain.protocol.commands import LAYOUTS, MAX_COMMAND, Command, markdown_table
from geartrain.protocol.packets import request, response, split


def test_every_number_has_a_layout() -> None:
    assert sorted(LAYOUTS) == list(range(1, MAX_COMMAND + 1)) == [int(command) for command in Command]


def test_the_documented_table_is_the_one_in_use() -> None:
    page = Path(__file__).parents[2].joinpath("docs/protocol.md").read_text(encoding="utf-8")
    assert markdown_table() in page, "run scripts/docs"


def test_the_header_is_big_endian() -> None:
    assert request(Command.CAN_DO, b"wc") == b"\0REQ\0\0\0\x01\0\0\0\x02wc"
    assert response(Command.JOB_ASSIGN, b"H:x:1", b"wc", b"a\0b") == b"\0RES\0\0\0\x0b\0\0\0\x0cH:x:1\0wc\0a\0b"


def test_arguments_are_checked() -> None:
    with pytest.raises(LocalProtocolError, match="SUBMIT_JOB has 3 parts, not 2"):
        request(Command.SUBMIT_JOB, b"f", b"u")
    with pytest.raises(LocalProtocolError, match="function of CAN_DO must not hold a NUL"):
        request(Command.CAN_DO, b"a\0b")


def test_split() -> None:
    assert split(Command.WORK_DATA, b"H:x:1\0a\0b") == [b"H:x:1", b"a\0b"]
    assert split(Command.WORK_FAIL, b"H:x:1\0") == [b"H:x:1"]
    assert split(Command.NOOP, b"") == []
    with pytest.raises(RemoteProtocolError, match="JOB_ASSIGN has 3 parts, but 2 came"):
        split(Command.JOB_ASSIGN, b"H:x:1\0f")
