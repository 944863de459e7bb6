"""`geartrain top` on a terminal."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import GEARTRAIN, Outcome, Server, free_port, run, start_server
from .terminal import Terminal

Geartrain = Callable[..., Outcome]


@pytest.fixture
def top(server: Server, terminal: Callable[..., Terminal]) -> Callable[..., Terminal]:
    def call(*words: str, **more: object) -> Terminal:
        return terminal([*GEARTRAIN, "top", "-s", server.address, "--interval", "100ms", *words], lines=60, **more)

    return call


def test_functions_and_a_warning(geartrain: Geartrain, top: Callable[..., Terminal], function: str) -> None:
    screen = top()
    screen.wait_for("CHANGE/S")
    geartrain("submit", function, "x", "-b")
    geartrain("submit", function, "x", "-b", "--priority", "high")
    screen.wait_for(function)
    screen.wait_for("no worker: ")
    screen.press("q")
    assert screen.wait() == 0
    assert screen.restored()


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_other_ways_out(top: Callable[..., Terminal], how: str) -> None:
    screen = top()
    screen.wait_for("q quit")
    if how == "ctrl-c":
        screen.press("\x03")
    else:
        screen.process.send_signal(signal.SIGTERM)
    assert screen.wait() == 0
    assert screen.restored()
    assert "Traceback" not in screen.text


def test_sorting_and_a_narrow_window(geartrain: Geartrain, top: Callable[..., Terminal], function: str) -> None:
    geartrain("submit", function, "x", "-b")
    screen = top()
    screen.wait_for("sorted by waiting")
    screen.press("n")
    screen.wait_for("sorted by name")
    screen.wait_for("NORMAL")
    screen.resize(20, 60)
    screen.forget()
    screen.wait_for("WAITING")
    screen.press("q")
    assert screen.wait() == 0


def test_more_functions_than_lines(
    gearman: Callable[..., Outcome], terminal: Callable[..., Terminal], server: Server, function: str
) -> None:
    """The last line stays in the window, whatever is above it."""
    names = [word for number in range(40) for word in ("-f", f"{function}-with-a-long-name-{number:02}")]
    assert gearman("-b", *names, "x").status == 0
    screen = terminal([*GEARTRAIN, "top", "-s", server.address], lines=20, columns=70)
    screen.wait_for("more functions")
    screen.wait_for("q quit")
    screen.press("q")
    assert screen.wait() == 0


def test_two_servers_and_one_that_goes_away(top: Callable[..., Terminal]) -> None:
    other = start_server("debian")
    try:
        screen = top("-s", other.address)
        screen.wait_for(f"{other.address}  version 1.1")
    finally:
        other.program.kill()
    screen.wait_for(f"{other.address}: ")
    assert screen.process.poll() is None
    screen.press("q")
    assert screen.wait() == 0


def test_no_terminal() -> None:
    done = run([*GEARTRAIN, "top", "-s", f"127.0.0.1:{free_port()}"])
    assert done.status == 2
    assert "needs a terminal" in done.said


def test_the_extra_is_missing(tmp_path: Path) -> None:
    """rich is hidden from the program as a missing package would be."""
    script = "import sys; sys.modules['rich'] = None; from geartrain.cli.geartrain import main; sys.exit(main(['top']))"
    done = run([sys.executable, "-c", script])
    assert done.status == 2
    assert "pip install 'geartrain[top]'" in done.said
