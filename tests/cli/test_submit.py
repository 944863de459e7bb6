"""`geartrain submit`, as a user of the shell meets it."""

import base64
import json
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from .programs import GEARTRAIN, Outcome, Running, Server, environment, free_port, run, wait_until
from .terminal import Terminal

Geartrain = Callable[..., Outcome]
Worker = Callable[..., Running]


class TestForeground:
    def test_the_result(self, geartrain: Geartrain, worker: Worker, function: str) -> None:
        worker("--", "tr", "a-z", "A-Z")
        assert geartrain("submit", function, "Hello") == (0, b"HELLO", b"")
        assert geartrain("submit", function, "-", stdin=b"from a pipe\n") == (0, b"FROM A PIPE\n", b"")
        assert geartrain("submit", function, stdin=b"the same\n") == (0, b"THE SAME\n", b"")

    def test_options_and_operands_in_any_order(self, geartrain: Geartrain, worker: Worker, function: str) -> None:
        worker("--", "cat")
        assert geartrain("submit", function, "--timeout", "20s", "Hello").out == b"Hello"
        assert geartrain("submit", "--timeout", "20s", function, "Hello").out == b"Hello"
        assert geartrain("submit", function, "--", "--json").out == b"--json"

    def test_data_is_printed_as_it_comes(self, server: Server, function: str, progressing: Path, start: Worker) -> None:
        client = start([*GEARTRAIN, "submit", "-s", server.address, function, "x"])
        wait_until(lambda: client.out == b"partly " and client.err == b"careful\n", "the first data and the warning")
        progressing.touch()
        assert client.wait() == (0, b"partly done", b"careful\n")

    def test_a_failure(self, geartrain: Geartrain, progressing: Path, function: str) -> None:
        progressing.touch()
        done = geartrain("submit", function, "fail")
        assert (done.status, done.out) == (1, b"partly ")
        assert f"of {function} failed" in done.said

    def test_an_exception(self, geartrain: Geartrain, progressing: Path, function: str) -> None:
        progressing.touch()
        done = geartrain("submit", function, "raise")
        assert (done.status, done.out) == (1, b"partly ")
        assert "the worker reported an exception: ValueError: no such colour" in done.said

    def test_the_time_limit(self, geartrain: Geartrain, function: str) -> None:
        done = geartrain("submit", function, "x", "--timeout", "200ms")
        assert (done.status, done.out) == (4, b"")
        assert "no result within 0.2 s; the job" in done.said

    def test_no_server(self) -> None:
        done = run([*GEARTRAIN, "submit", "-s", f"127.0.0.1:{free_port()}", "f", "x"])
        assert done.status == 3
        assert "Is a job server running there?" in done.said

    def test_the_next_server_is_used(self, server: Server, worker: Worker, function: str) -> None:
        worker("--", "cat")
        servers = f"127.0.0.1:{free_port()},{server.address}"
        assert run([*GEARTRAIN, "submit", function, "x"], env={"GEARMAN_SERVERS": servers}) == (0, b"x", b"")


class TestBackground:
    @pytest.mark.parametrize(
        ("words", "counts"),
        [
            (["-b"], "0\t1\t0"),
            (["--background", "--priority", "high"], "1\t0\t0"),
            (["-b", "--priority=low"], "0\t0\t1"),
        ],
    )
    def test_the_handle_is_printed(
        self, geartrain: Geartrain, function: str, server: Server, words: list[str], counts: str
    ) -> None:
        done = geartrain("submit", function, "x", *words)
        assert (done.status, done.err) == (0, b"")
        assert done.out.decode().strip() in {line.split("\t")[0] for line in server.ask("show jobs")}
        assert f"{function}\t{counts}\t0" in server.ask("prioritystatus")

    def test_one_key_one_job(self, geartrain: Geartrain, function: str) -> None:
        first, second = (geartrain("submit", function, "x", "-b", "-u", function).out for _ in range(2))
        assert first == second

    def test_at_a_time(self, geartrain: Geartrain, function: str, worker: Worker, server: Server) -> None:
        done = geartrain("submit", function, "x", "--at", "1h")
        assert done.status == 0
        running = worker("-c", "1")
        assert server.function(function)[:2] == (1, 0)
        assert geartrain("submit", function, "now", "-b").status == 0
        assert running.wait().out == b"now"

    @pytest.mark.parametrize("when", ["soon", "25:00", "2026-13-01", "@", "10x"])
    def test_a_time_that_is_none(self, geartrain: Geartrain, when: str) -> None:
        done = geartrain("submit", "f", "x", "--at", when)
        assert done.status == 2
        assert f"'{when}' is no time" in done.said


class TestJson:
    def test_text(self, geartrain: Geartrain, worker: Worker, function: str) -> None:
        worker("--", "tr", "a-z", "A-Z")
        answer = json.loads(geartrain("submit", function, "grün", "--json").out)
        assert answer.pop("seconds") >= 0
        assert answer.pop("handle")
        assert answer == {"function": function, "state": "complete", "result": "GRüN"}

    def test_bytes(self, geartrain: Geartrain, worker: Worker, function: str) -> None:
        worker("--", "cat")
        answer = json.loads(geartrain("submit", function, "--json", stdin=b"\xff\0").out)
        assert base64.b64decode(answer["result_base64"]) == b"\xff\0"

    def test_everything_that_came(self, geartrain: Geartrain, progressing: Path, function: str) -> None:
        progressing.touch()
        done = geartrain("submit", function, "x", "--json")
        answer = json.loads(done.out)
        assert (done.status, done.err) == (0, b"")
        assert (answer["result"], answer["warnings"]) == ("partly done", ["careful"])

    def test_a_failure(self, geartrain: Geartrain, progressing: Path, function: str) -> None:
        progressing.touch()
        done = geartrain("submit", function, "fail", "--json")
        assert (done.status, done.err) == (1, b"")
        assert json.loads(done.out)["state"] == "failed"


class TestOnATerminal:
    def test_a_progress_bar(
        self, server: Server, function: str, progressing: Path, terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal([*GEARTRAIN, "submit", "-s", server.address, function, "x"])
        screen.wait_for("25%  1/4")
        assert "\x1b[32m━" in screen.raw
        progressing.touch()
        assert screen.wait() == 0
        screen.wait_for("100%  4/4")
        # The bar is gone, and the shell's prompt will stand on a line of its own.
        assert screen.raw.endswith("\r\x1b[2Kdone\r\n")

    def test_no_colour_where_none_is_wanted(
        self, server: Server, function: str, progressing: Path, terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal([*GEARTRAIN, "submit", "-s", server.address, function, "x"], env={"NO_COLOR": "1"})
        screen.wait_for("25%  1/4")
        assert "\x1b[3" not in screen.raw

    def test_gearman_shows_one_too(
        self, server: Server, function: str, progressing: Path, terminal: Callable[..., Terminal]
    ) -> None:
        from .programs import argv_of

        screen = terminal([*argv_of("geartrain", "gearman"), *server.flags, "-f", function, "x"])
        screen.wait_for("25%  1/4")

    def test_and_plain_lines_where_there_is_none(
        self, gearman: Callable[..., Outcome], function: str, progressing: Path, tool: str
    ) -> None:
        progressing.touch()
        done = gearman("-f", function, "x", kind=tool)
        out = done.out.decode()
        assert done.status == 0
        assert done.err == b"careful"
        # The C tool's own lines come last: they stay in a buffer.
        assert out.replace("25% Complete\n", "").replace("100% Complete\n", "") == "partly done"
        assert "25% Complete\n" in out
        assert "100% Complete\n" in out

    def test_a_job_without_a_worker(
        self, server: Server, function: str, worker: Worker, terminal: Callable[..., Terminal]
    ) -> None:
        client = terminal([*GEARTRAIN, "submit", "-s", server.address, function, "x"])
        client.wait_for("no worker has taken the job yet; waiting. Ctrl-C gives it up")
        worker("--", "echo", "done")
        client.wait_for("done")
        assert client.wait() == 0
        assert client.text.count("no worker") == 1

    def test_ctrl_c(self, server: Server, function: str, terminal: Callable[..., Terminal]) -> None:
        screen = terminal([*GEARTRAIN, "submit", "-s", server.address, function, "x"])
        wait_until(lambda: server.function(function)[0] == 1, "the job")
        screen.press("\x03")
        assert screen.wait() == 130
        assert "Traceback" not in screen.text


def test_the_reader_has_left(server: Server, worker: Worker, function: str) -> None:
    worker("--", "cat")
    with subprocess.Popen(
        [*GEARTRAIN, "submit", "-s", server.address, function, "x" * 100_000],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


class TestTimes:
    """geartrain.cli.times: what --at and --timeout understand."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("90", 90), ("1.5s", 1.5), ("500ms", 0.5), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1m30", 90)],
    )
    def test_spans(self, text: str, expected: float) -> None:
        from geartrain.cli.times import seconds

        assert seconds(text) == expected

    def test_moments(self) -> None:
        from geartrain.cli.times import moment

        now = datetime.now().astimezone()
        assert timedelta(minutes=9, seconds=59) < moment("10m") - now < timedelta(minutes=10, seconds=5)
        assert moment("2030-12-24T18:30") == datetime(2030, 12, 24, 18, 30).astimezone()
        assert moment("2030-12-24T18:30+02:00").timestamp() == 1_924_360_200
        assert moment("@1766600000").timestamp() == 1_766_600_000
        clock = moment("18:30")
        assert (clock.hour, clock.minute, clock.second) == (18, 30, 0)
        assert timedelta(0) < clock - now <= timedelta(days=1, hours=1)
