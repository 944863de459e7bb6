"""`gearmand` as an administrator meets it: started, detached, signalled, stopped."""

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.programs import Outcome, Running, argv_of, free_port, run, wait_until

Start = Callable[..., Running]
Listening = Callable[..., "tuple[Running, int]"]
Peers = Callable[[int], "Peer"]
ROOT = os.geteuid() == 0

CAN_DO, GRAB_JOB, SUBMIT_JOB, JOB_ASSIGN, WORK_COMPLETE, JOB_CREATED = 1, 9, 7, 11, 13, 8


def gearmand(*flags: str) -> list[str]:
    return [*argv_of("geartrain", "gearmand"), "-L", "127.0.0.1", *flags]


def port_in(log: bytes) -> int:
    """The port of `gearmand -p 0`, from its log."""
    return int(log.split(b"listens on 127.0.0.1:")[1].split()[0])


class Peer:
    """A connection that speaks bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self._file = self.socket.makefile("rb")

    def send(self, command: int, *arguments: bytes) -> None:
        body = b"\0".join(arguments)
        self.socket.sendall(b"\0REQ" + struct.pack(">II", command, len(body)) + body)

    def receive(self) -> tuple[int, bytes]:
        magic, command, size = struct.unpack(">4sII", self._file.read(12))
        assert magic == b"\0RES"
        return command, self._file.read(size)

    def ask(self, line: bytes) -> bytes:
        self.socket.sendall(line + b"\n")
        return self._file.readline()

    def at_end(self) -> bool:
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def peers() -> Iterator[Peers]:
    opened: list[Peer] = []

    def connect(port: int) -> Peer:
        opened.append(Peer(port))
        return opened[-1]

    yield connect
    for peer in opened:
        peer.close()


@pytest.fixture
def listening(start: Start, tmp_path: Path) -> Listening:
    """Starts our gearmand in the foreground; returns it with its port."""

    def call(*flags: str, **more: object) -> tuple[Running, int]:
        log = ["-l", "stderr", "--verbose", "NOTICE", "-P", str(tmp_path / "pid")]
        running = start(gearmand("-p", "0", *log, *flags), **more)
        wait_until(lambda: b"listens on" in running.err or running.process.poll() is not None, "a server that listens")
        assert running.process.poll() is None, bytes(running.err).decode()
        return running, port_in(bytes(running.err))

    return call


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Callable[..., Outcome]]:
    """Runs `gearmand -d`; what it leaves behind ends with the test."""
    pid_file = tmp_path / "pid"

    def call(*flags: str) -> Outcome:
        return run(gearmand("-d", "-P", str(pid_file), "-l", str(tmp_path / "log"), "--verbose", "NOTICE", *flags))

    yield call
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


def running_job(port: int, peers: Peers) -> tuple[Peer, Peer, bytes]:
    """A client and a worker in the middle of a job."""
    worker, client = peers(port), peers(port)
    worker.send(CAN_DO, b"reverse")
    client.send(SUBMIT_JOB, b"reverse", b"", b"hello")
    assert client.receive()[0] == JOB_CREATED
    worker.send(GRAB_JOB)
    command, body = worker.receive()
    assert command == JOB_ASSIGN
    return client, worker, body.split(b"\0")[0]


class TestAnswers:
    def test_version(self) -> None:
        done = run(gearmand("--version"))
        assert done.status == 0
        assert done.out.decode().split()[0] == "gearmand"

    def test_help_has_an_example(self) -> None:
        done = run(gearmand("--help"))
        assert done.status == 0
        assert b"gearmand -d -q libsqlite3" in done.out

    def test_check_args_is_silent_when_all_is_right(self, tmp_path: Path) -> None:
        assert run(gearmand("--check-args", "-q", "libsqlite3", f"--libsqlite3-db={tmp_path}/q")) == (0, b"", b"")
        assert not (tmp_path / "q").exists()

    def test_check_args_tells_what_the_log_would_warn_of(self, tmp_path: Path) -> None:
        (tmp_path / "gearmand.conf").write_text("--job-retries=0 stray")
        done = run(gearmand("--check-args", "--config-file", str(tmp_path / "gearmand.conf")))
        assert done.status == 0
        assert "'stray' belongs to no option" in done.said
        assert "job-retries 0 means one attempt" in done.said

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (["--bogus"], "gearmand: unrecognised option '--bogus'"),
            (["--check-args", "-q", "libsqlite"], "There is no queue type 'libsqlite'. Did you mean libsqlite3?"),
            (["-q", "libsqlite3"], "--libsqlite3-db"),
            (["--check-args", "--ssl"], "--ssl-certificate and --ssl-key"),
            (["--ssl", "--ssl-certificate=/nowhere", "--ssl-key=/nowhere"], "/nowhere cannot be read: No such file"),
            (["--check-args", "-u", "nobody-of-that-name"], "gearmand: Could not find user : nobody-of-that-name"),
            (["--check-args", "-r", "http", "--http-token-file=/nowhere"], "/nowhere cannot be read"),
            (["--check-args", "-r", "http", "--http-origins=example.org"], "An origin is as https://host"),
            (["-u", "nobody-of-that-name"], "gearmand: Could not find user : nobody-of-that-name"),
            (["-f", "99999999999"], "gearmand: Failed to set limit for the number of file descriptors."),
            (["-P", "/nowhere/pid", "-l", "none"], "gearmand: Could not open pid file for writing: /nowhere/pid"),
        ],
    )
    def test_what_cannot_be_ends_with_1_and_a_sentence(self, flags: list[str], said: str) -> None:
        done = run(gearmand(*flags))
        assert done.status == 1
        assert said in done.said

    def test_a_busy_port_is_named(self, listening: Listening) -> None:
        _, port = listening()
        done = run(gearmand("-p", str(port), "-l", "none", "-P", ""))
        assert done.status == 1
        assert f"127.0.0.1:{port}: Address already in use" in done.said

    def test_a_queue_that_is_in_use_is_named(self, listening: Listening, tmp_path: Path) -> None:
        queue = ["-q", "libsqlite3", f"--libsqlite3-db={tmp_path}/queue.db"]
        listening(*queue)
        done = run(gearmand("-p", "0", "-l", "none", "-P", str(tmp_path / "pid2"), *queue))
        assert done.status == 1
        assert f"{tmp_path}/queue.db" in done.said

    def test_passwords_stay_out_of_the_log(self, listening: Listening) -> None:
        running, _ = listening("--mysql-password=hush", "--libpq-conninfo=password=hush", "--threads=8")
        assert b"hush" not in running.stop().err


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
    def test_an_idle_server_leaves_at_once(
        self, number: int, listening: Listening, peers: Peers, tmp_path: Path
    ) -> None:
        running, port = listening("--drain-timeout=60")
        idle = peers(port)
        if number == signal.SIGUSR1:
            idle.close()
        started = time.monotonic()
        assert running.stop(number).status == 0
        assert time.monotonic() - started < 5
        assert not (tmp_path / "pid").exists()

    def test_a_running_job_may_finish(self, listening: Listening, peers: Peers) -> None:
        running, port = listening("--drain-timeout=60")
        client, worker, handle = running_job(port, peers)
        running.process.terminate()
        wait_until(lambda: b"stopping" in running.err, "the signal in the log")
        worker.send(WORK_COMPLETE, handle, b"olleh")
        assert client.receive() == (WORK_COMPLETE, handle + b"\0olleh")
        assert running.wait().status == 0

    def test_a_job_that_takes_too_long_is_left(self, listening: Listening, peers: Peers) -> None:
        running, port = listening("--drain-timeout=0.3")
        client, _, _ = running_job(port, peers)
        assert running.stop().status == 0
        assert client.at_end()

    def test_a_second_signal_ends_it_at_once(self, listening: Listening, peers: Peers) -> None:
        running, port = listening("--drain-timeout=600")
        running_job(port, peers)
        running.process.terminate()
        wait_until(lambda: b"stopping" in running.err, "the signal in the log")
        assert running.stop().status == 0

    def test_after_a_hangup_signal_the_log_is_a_new_file(self, start: Start, tmp_path: Path) -> None:
        log = tmp_path / "log"
        running = start(gearmand("-p", "0", "-l", str(log), "--verbose=NOTICE", "-P", str(tmp_path / "pid")))
        wait_until(lambda: log.exists() and "listens on" in log.read_text(), "the log")
        log.rename(tmp_path / "log.1")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: log.exists() and "reloaded" in log.read_text(), "the new log")
        assert "reloaded" not in (tmp_path / "log.1").read_text()

    def test_the_text_command_shutdown_ends_it(self, listening: Listening, peers: Peers) -> None:
        running, port = listening()
        assert peers(port).ask(b"shutdown") == b"OK\r\n"
        assert running.wait().status == 0


class TestDetached:
    def test_the_command_leaves_when_the_port_is_open(
        self, detached: Callable[..., Outcome], peers: Peers, tmp_path: Path
    ) -> None:
        port = free_port()
        assert detached("-p", str(port)) == (0, b"", b"")
        pid = int((tmp_path / "pid").read_text())
        peer = peers(port)
        assert peer.ask(b"getpid") == b"OK %d\n" % pid
        assert os.getsid(pid) not in (os.getsid(0), pid)
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (tmp_path / "pid").exists(), "the end of the server")
        assert "stopped" in (tmp_path / "log").read_text()

    def test_what_keeps_it_from_starting_is_said_by_the_command(self, listening: Listening, tmp_path: Path) -> None:
        _, port = listening()
        done = run(gearmand("-d", "-p", str(port), "-P", str(tmp_path / "pid2"), "-l", str(tmp_path / "log2")))
        assert done.status == 1
        assert "Address already in use" in done.said
        assert "Address already in use" in (tmp_path / "log2").read_text()
        assert not (tmp_path / "pid2").exists()

    def test_a_second_one_with_the_same_pid_file_is_refused(
        self, detached: Callable[..., Outcome], tmp_path: Path
    ) -> None:
        assert detached("-p", str(free_port())).status == 0
        done = detached("-p", str(free_port()))
        assert done.status == 1
        assert f"process {(tmp_path / 'pid').read_text().strip()} holds the pid file {tmp_path}/pid" in done.said

    def test_a_pid_file_that_gearmand_holds_is_left_to_it(self, tmp_path: Path, start: Start) -> None:
        port = free_port()
        pid_file = str(tmp_path / "pid")
        debian = argv_of("debian", "gearmand")
        other = start([*debian, "-L", "127.0.0.1", "-p", str(port), "-l", "stderr", "-P", pid_file])
        wait_until(lambda: Path(pid_file).exists() and Path(pid_file).read_text(), "gearmand's pid file")
        done = run(gearmand("-p", "0", "-P", pid_file, "-l", "none"))
        assert done.status == 1
        assert f"process {other.process.pid} holds" in done.said

    @pytest.mark.skipif(not ROOT, reason="only root can become another user")
    def test_it_runs_as_the_user_that_was_named(self, tmp_path: Path) -> None:
        folder = Path(f"/tmp/geartrain-user-{os.getpid()}")
        folder.mkdir()
        os.chown(folder, 65534, 65534)
        try:
            port = free_port()
            flags = ["-d", "-u", "nobody", "-p", str(port), "-P", str(folder / "pid"), "-l", str(folder / "log")]
            assert run(gearmand(*flags)).status == 0
            pid = int((folder / "pid").read_text())
            assert os.stat(f"/proc/{pid}").st_uid == 65534
            assert (folder / "log").stat().st_uid == 65534
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not (folder / "pid").exists(), "the end of the server")
        finally:
            subprocess.run(["rm", "-rf", folder], check=True)


class TestSystemd:
    def test_it_hears_of_every_step(self, listening: Listening, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.settimeout(10)
            systemd.bind(str(tmp_path / "notify"))
            env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}

            def next_word() -> str:
                while (word := systemd.recv(1000).decode().split("\n")[0]) == "WATCHDOG=1":
                    continue
                return word

            running, _ = listening(env=env)
            assert next_word() == "READY=1"
            running.process.send_signal(signal.SIGHUP)
            assert next_word() == "RELOADING=1"
            assert next_word() == "READY=1"
            for _ in range(3):
                while systemd.recv(1000) != b"WATCHDOG=1":
                    pass
            running.process.terminate()
            assert next_word() == "STOPPING=1"
            assert running.wait().status == 0


def test_the_environment_and_a_file_are_read(start: Start, tmp_path: Path) -> None:
    (tmp_path / "gearmand.conf").write_text(f"--log-file={tmp_path}/log --verbose INFO -P {tmp_path}/pid")
    env = {"GEARMAND_PORT": "tcp://10.0.0.7:4730", "GEARMAND_CONFIG_FILE": str(tmp_path / "gearmand.conf")}
    start(gearmand("-p", "0"), env=env)
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and "listens on" in log.read_text(), "the log")
    assert "GEARMAND_PORT=tcp://10.0.0.7:4730 is the address of a service" in log.read_text()
