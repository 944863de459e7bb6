"""What stands in the log, and where."""

import json
import logging
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geartrain.server.config import LEVELS, Config
from geartrain.server.logs import LEVEL_NUMBERS, NOTICE, Logs
from tests.cli.programs import find, free_port

logger = logging.getLogger("geartrain.tests")

LINE = re.compile(r" *[A-Z]+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} \[ +\w+ \] .+")
"""gearmand's line, with its right-aligned level and thread."""

OpenLogs = Callable[..., Logs]


@pytest.fixture
def logs() -> Iterator[OpenLogs]:
    """Opens logs that are closed with the test."""
    opened: list[Logs] = []

    def open_logs(log_file: Path | str, *, socket_path: Path | None = None, **settings: Any) -> Logs:
        more = {} if socket_path is None else {"syslog_socket": str(socket_path)}
        opened.append(Logs(Config(log_file=str(log_file), **settings), "gearmand", **more))
        return opened[-1]

    yield open_logs
    for item in opened:
        item.close()


def test_lines_have_gearmands_form(logs: OpenLogs, tmp_path: Path) -> None:
    logs(tmp_path / "log", verbose="INFO")
    logger.info("Listening on %s", "127.0.0.1:4730")
    line = (tmp_path / "log").read_text().rstrip("\n")
    assert LINE.fullmatch(line)
    assert line.startswith("   INFO ")
    assert line.endswith(" [  main ] Listening on 127.0.0.1:4730")


def test_gearmands_own_lines_have_that_form() -> None:
    argv = [find("gearmand", "gearman-job-server"), "-l", "stderr", "--verbose=INFO", "-L", "192.0.2.1"]
    ended = subprocess.run([*argv, "-p", str(free_port())], capture_output=True, text=True, timeout=20, check=False)
    lines = ended.stderr.splitlines()
    assert len(lines) > 2
    assert all(LINE.fullmatch(line) for line in lines)
    assert all("[  main ]" in line for line in lines)


@pytest.mark.parametrize("verbose", LEVELS)
def test_a_level_shows_itself_and_what_is_worse(verbose: str, logs: OpenLogs, tmp_path: Path) -> None:
    logs(tmp_path / "log", verbose=verbose)
    for name, number in LEVEL_NUMBERS.items():
        logger.log(number, "at %s", name)
    shown = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert shown == list(LEVELS[: LEVELS.index(verbose) + 1])


def test_a_peer_cannot_forge_a_line(logs: OpenLogs, tmp_path: Path) -> None:
    logs(tmp_path / "log", verbose="INFO")
    logger.info("function %s", "x\n  ERROR 2026-01-01 00:00:00.000000 [  main ] forged\x1b[31m")
    text = (tmp_path / "log").read_text()
    assert text.count("\n") == 1
    assert r"x\x0a  ERROR" in text
    assert "\x1b" not in text


def test_a_traceback_is_set_off(logs: OpenLogs, tmp_path: Path) -> None:
    logs(tmp_path / "log")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logger.exception("a fault")
    first, *rest = (tmp_path / "log").read_text().splitlines()
    assert LINE.fullmatch(first)
    assert rest
    assert all(line.startswith(" " * 8) for line in rest)


def test_json_lines_hold_what_was_added(logs: OpenLogs, tmp_path: Path) -> None:
    logs(tmp_path / "log", verbose="NOTICE", log_format="json")
    logger.log(NOTICE, "accepted %s", "reverse", extra={"handle": b"H:x:1", "attempts": 2})
    entry = json.loads((tmp_path / "log").read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry.pop("time"))
    assert entry == {
        "level": "NOTICE", "logger": "geartrain.tests", "message": "accepted reverse",
        "handle": "H:x:1", "attempts": 2,
    }  # fmt: skip


def test_after_a_rotation_the_new_file_is_written(logs: OpenLogs, tmp_path: Path) -> None:
    opened = logs(tmp_path / "log")
    logger.error("before")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logger.error("meanwhile")
    opened.reopen()
    logger.error("after")
    assert (tmp_path / "log.1").read_text().count("\n") == 2
    assert "after" in (tmp_path / "log").read_text()


def test_a_rotation_that_fails_keeps_the_old_file(logs: OpenLogs, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    opened = logs(tmp_path / "folder" / "log")
    (tmp_path / "folder").rename(tmp_path / "moved")
    opened.reopen()
    logger.error("after")
    text = (tmp_path / "moved" / "log").read_text()
    assert "cannot be opened anew" in text
    assert "after" in text


def test_a_file_that_cannot_be_opened_is_no_reason_not_to_start(
    logs: OpenLogs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = logs(tmp_path / "none" / "log")
    logger.error("a fault")
    said = capsys.readouterr().err
    assert f'gearmand: Could not open log file "{tmp_path}/none/log", from "' in said
    assert "switching to stderr. (No such file or directory)" in said
    assert "[  main ] a fault" in said
    assert opened.on_terminal


def test_none_is_silent(logs: OpenLogs, capfd: pytest.CaptureFixture[str]) -> None:
    logs("none", verbose="DEBUG")
    logger.error("a fault")
    assert capfd.readouterr() == ("", "")


def test_syslog_gets_the_level_and_the_program(logs: OpenLogs, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.settimeout(10)
        syslog.bind(str(tmp_path / "syslog"))
        logs("none", verbose="NOTICE", syslog=True, socket_path=tmp_path / "syslog")
        logger.log(NOTICE, "hello")
        message = syslog.recv(1000)
    # daemon is facility 3, notice severity 5 (RFC 5424).
    assert re.match(rb"<29>gearmand\[\d+\]: hello", message)


def test_a_machine_without_syslog_says_so(logs: OpenLogs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs(tmp_path / "log", syslog=True, socket_path=tmp_path / "nowhere")
    assert "Could not reach syslog" in capsys.readouterr().err
    logger.error("still here")
    assert "still here" in (tmp_path / "log").read_text()
