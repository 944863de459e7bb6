"""`geartrain status`, as a user of the shell meets it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.services import silent_port

from .programs import GEARTRAIN, Outcome, Running, Server, run, wait_until
from .terminal import Terminal

Geartrain = Callable[..., Outcome]
Worker = Callable[..., Running]


def line_of(text: str, word: str) -> list[str]:
    """The cells of the line that begins with a word."""
    return next(line.split() for line in text.splitlines() if line.startswith(f"{word} "))


class TestTheServer:
    def test_functions(self, geartrain: Geartrain, function: str, server: Server) -> None:
        for words in (["-b"], ["-b", "--priority", "high"], ["-b"]):
            geartrain("submit", function, "x", *words)
        done = geartrain("status")
        assert (done.status, done.err) == (0, b"")
        text = done.out.decode()
        assert line_of(text, "FUNCTION") == ["FUNCTION", "WAITING", "HIGH", "NORMAL", "LOW", "RUNNING", "WORKERS"]
        assert line_of(text, function) == [function, "3", "1", "2", "0", "0", "0"]
        assert f"no worker for {function}: 3 jobs waiting" in text
        assert text.startswith(f"{server.address} (version ")
        assert "\x1b" not in text

    def test_workers(self, geartrain: Geartrain, worker: Worker, function: str) -> None:
        worker("-f", f"{function}-b", "--", "cat")
        text = geartrain("status").out.decode()
        assert line_of(text, function) == [function, "0", "0", "0", "0", "0", "1"]
        row = next(
            line
            for line in text.splitlines()
            if line.endswith((f"{function} {function}-b", f"{function}-b {function}"))
        )
        assert "127.0.0.1" in row

    def test_jobs(self, geartrain: Geartrain, function: str) -> None:
        handle = geartrain("submit", function, "x", "-b").out.decode().strip()
        assert handle not in geartrain("status").out.decode()
        text = geartrain("status", "--jobs").out.decode()
        assert line_of(text, handle)[:2] == [handle, "0"]

    def test_json(self, geartrain: Geartrain, worker: Worker, function: str, server: Server) -> None:
        worker("--", "cat")
        done = geartrain("status", "--json", "--jobs")
        assert (done.status, done.err) == (0, b"")
        answer = json.loads(done.out)
        assert answer["server"] == server.address
        assert {
            "function": function,
            "total": 0,
            "waiting": 0,
            "high": 0,
            "normal": 0,
            "low": 0,
            "running": 0,
            "workers": 1,
        } in answer["functions"]
        assert [w["address"] for w in answer["workers"] if function in w["functions"]] == ["127.0.0.1"]
        assert isinstance(answer["jobs"], list)

    def test_several_servers(self, server: Server) -> None:
        with silent_port() as port:
            gone = f"127.0.0.1:{port}"
            done = run([*GEARTRAIN, "status", "-s", f"{gone},{server.address}"])
            assert done.status == 3
            assert gone in done.said
            assert server.address in done.out.decode()
            answer = json.loads(run([*GEARTRAIN, "status", "-s", gone, "-s", server.address, "--json"]).out)
        assert [entry["server"] for entry in answer["servers"]] == [gone, server.address]
        assert "refused" in answer["servers"][0]["error"]

    def test_colour_on_a_terminal(
        self, geartrain: Geartrain, function: str, server: Server, terminal: Callable[..., Terminal]
    ) -> None:
        geartrain("submit", function, "x", "-b")
        screen = terminal([*GEARTRAIN, "status", "-s", server.address])
        assert screen.wait() == 0
        screen.wait_for(f"no worker for {function}")
        assert f"\x1b[33m{function}" in screen.raw
        plain = terminal([*GEARTRAIN, "status", "-s", server.address], env={"NO_COLOR": "1"})
        assert plain.wait() == 0
        plain.wait_for(f"no worker for {function}")
        assert "\x1b" not in plain.raw


class TestOneJob:
    def test_waiting(self, geartrain: Geartrain, function: str) -> None:
        handle = geartrain("submit", function, "x", "-b", "-u", function).out.decode().strip()
        assert geartrain("status", handle) == (0, f"{handle}: waiting\n".encode(), b"")
        assert geartrain("status", "-u", function) == (0, f"{function}: waiting, 0 clients\n".encode(), b"")

    def test_running(self, geartrain: Geartrain, function: str, progressing: Path, server: Server) -> None:
        handle = geartrain("submit", function, "x", "-b").out.decode().strip()
        expected = f"{handle}: running, 1 of 4 (25%)\n".encode()
        wait_until(lambda: geartrain("status", handle).out == expected, "the job's progress")
        answer = json.loads(geartrain("status", "--json", handle).out)
        assert answer == {"handle": handle, "known": True, "running": True, "numerator": 1, "denominator": 4}

    def test_unknown(self, geartrain: Geartrain) -> None:
        done = geartrain("status", "H:none:1")
        assert (done.status, done.err) == (1, b"")
        assert re.fullmatch(rb"H:none:1: not known; .*\n", done.out)

    def test_every_server_is_asked(self, geartrain: Geartrain, function: str, server: Server) -> None:
        handle = geartrain("submit", function, "x", "-b").out.decode().strip()
        with silent_port() as port:
            gone = f"127.0.0.1:{port}"
            assert run([*GEARTRAIN, "status", "-s", gone, "-s", server.address, handle]).status == 0
            # The one that is away may be the one that knows.
            assert run([*GEARTRAIN, "status", "-s", gone, "-s", server.address, "H:none:1"]).status == 3
