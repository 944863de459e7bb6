"""`geartrain` and `geartrain serve`, as a newcomer meets them."""

import signal
import socket
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import PATIENCE, Outcome, Running, run, wait_until

GEARTRAIN = [sys.executable, "-m", "geartrain.cli.geartrain"]
Serve = Callable[..., "tuple[Running, int]"]


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """An environment with a state folder of its own."""
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def serve(start: Callable[..., Running], state: dict[str, str]) -> Serve:
    """Starts `geartrain serve` on a free port, without HTTP; returns it with its port when it says that it is ready."""

    def call(*flags: str) -> tuple[Running, int]:
        running = start([*GEARTRAIN, "serve", "-p", "0", "-r", "none", *flags], env=state)
        wait_until(lambda: b"Ctrl-C" in running.out or running.process.poll() is not None, "the start lines")
        assert running.process.poll() is None, bytes(running.err).decode()
        return running, int(running.out.split(b"127.0.0.1:")[1].split()[0].rstrip(b","))

    return call


def geartrain(*words: str, env: dict[str, str] | None = None) -> Outcome:
    return run([*GEARTRAIN, *words], env=env)


def ask(port: int, line: bytes) -> bytes:
    """The answer to one line, up to the dot that ends it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link, link.makefile("rb") as lines:
        link.sendall(line + b"\n")
        answer = b""
        while not answer.endswith(b".\n"):
            answer += lines.readline()
        return answer


class TestDispatcher:
    def test_alone_it_shows_its_commands(self) -> None:
        done = geartrain()
        assert done.status == 2
        assert "    serve " in done.out.decode()
        assert geartrain("--help").status == 0

    def test_a_command_that_does_not_exist(self) -> None:
        done = geartrain("swim")
        assert done.status == 2
        assert "swim" in done.said

    def test_version(self) -> None:
        assert geartrain("--version").out.startswith(b"geartrain ")
        assert geartrain("serve", "--version").out == geartrain("--version").out

    def test_it_imports_no_command_but_the_one_asked_for(self) -> None:
        code = (
            "import sys; from geartrain.cli.geartrain import main\n"
            "try: main(['--version'])\n"
            "except SystemExit: pass\n"
            "print([name for name in sys.modules if name.startswith('geartrain.')])"
        )
        done = run([sys.executable, "-c", code])
        assert done.out.decode().splitlines()[1] == "['geartrain.cli', 'geartrain.cli.geartrain']"


class TestServe:
    def test_it_says_where_it_is_and_what_to_do_next(self, serve: Serve, state: dict[str, str]) -> None:
        running, port = serve()
        said = running.stop(signal.SIGINT)
        assert said.status == 0
        assert said.err == b""
        text = said.out.decode()
        assert f"Gearman    127.0.0.1:{port}\n" in text
        assert f"{state['XDG_STATE_HOME']}/geartrain/queue.db" in text
        assert f"submit -s 127.0.0.1:{port} reverse 'Hello, World'" in text

    def test_what_it_says_to_do_next_works(self, serve: Serve, start: Callable[..., Running]) -> None:
        _, port = serve()
        start([sys.executable, "-m", "geartrain.examples.sample_worker", f"127.0.0.1:{port}"])
        wait_until(lambda: b"reverse\t0\t0\t1\n" in ask(port, b"status"), "the sample worker")
        turned = geartrain("submit", "-s", f"127.0.0.1:{port}", "reverse", "Hello, Wörld")
        assert turned.out.decode().strip() == "dlröW ,olleH"
        counted = geartrain("submit", "-s", f"127.0.0.1:{port}", "wc", "one two\nthree\n")
        assert counted.out.split() == [b"2", b"3", b"14"]

    def test_it_listens_on_this_machine_alone_until_told_otherwise(self, serve: Serve, tmp_path: Path) -> None:
        running, port = serve()
        assert bytes(running.out).decode().split("Gearman")[1].split("\n")[0].split() == [f"127.0.0.1:{port}"]
        running, port = serve("-q", "builtin", "-L", "127.0.0.1", "-L", f"unix:{tmp_path}/socket")
        assert f"127.0.0.1:{port}, unix:{tmp_path}/socket\n" in bytes(running.out).decode()

    def test_jobs_are_there_after_a_restart(self, serve: Serve) -> None:
        running, port = serve()
        assert geartrain("submit", "-b", "-s", f"127.0.0.1:{port}", "later", "work").status == 0
        running.kill()
        _, port = serve()
        wait_until(lambda: ask(port, b"status") == b"later\t1\t0\t0\n.\n", "the job of the last run")

    def test_the_queue_is_for_its_owner_alone(self, serve: Serve, state: dict[str, str]) -> None:
        serve()
        folder = Path(state["XDG_STATE_HOME"]) / "geartrain"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_another_queue_may_be_chosen(self, serve: Serve, state: dict[str, str], tmp_path: Path) -> None:
        running, _ = serve("-q", "builtin")
        assert b"in memory" in running.out
        assert not Path(state["XDG_STATE_HOME"]).exists()
        running, _ = serve("--libsqlite3-db", str(tmp_path / "mine.db"))
        assert str(tmp_path / "mine.db").encode() in running.out
        assert (tmp_path / "mine.db").exists()

    def test_a_second_server_on_the_queue_is_told_which_file(self, serve: Serve, state: dict[str, str]) -> None:
        serve()
        done = geartrain("serve", "-p", "0", "-r", "none", env=state)
        assert done.status == 1
        assert f"{state['XDG_STATE_HOME']}/geartrain/queue.db" in done.said

    def test_the_printed_file_can_be_used(self, serve: Serve, tmp_path: Path) -> None:
        printed = geartrain("serve", "-q", "builtin", "--max-packet=1M", "-r", "none", "--print-config")
        assert tomllib.loads(printed.out.decode())["max-packet"] == "1M"
        (tmp_path / "server.toml").write_bytes(printed.out)
        running, _ = serve("--config-file", str(tmp_path / "server.toml"))
        assert b"in memory" in running.out

    def test_wrong_settings_end_with_a_sentence(self, tmp_path: Path) -> None:
        assert geartrain("serve", "--bogus").status == 2
        done = geartrain("serve", "-q", "libsqlite")
        assert done.status == 1
        assert "Did you mean libsqlite3?" in done.said
        (tmp_path / "x.toml").write_text("prot = 1\n")
        done = geartrain("serve", "--config-file", str(tmp_path / "x.toml"))
        assert done.status == 1
        assert "there is no setting 'prot'. Did you mean port?" in done.said
        assert geartrain("serve", "--check-args").status == 0
