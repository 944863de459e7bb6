"""Injected faults: whatever breaks, what was acknowledged runs, and the server serves again by itself."""

import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request
from geartrain.testing.server import Server
from tests.server.daemon import daemon
from tests.server.wire import Wire
from tests.services import Service, wait_until

ROUNDS = 20


class Load:
    """Durable submissions, many in flight, and what became of them.

    Attributes:
        acknowledged: numbers of the jobs whose JOB_CREATED came.
        refused: the texts of the ERRORs that came instead.
        ran: numbers of the jobs that a worker was given.
    """

    def __init__(self, size: int = 100) -> None:
        self._lock = threading.Lock()
        self.acknowledged: set[int] = set()
        self.refused: list[bytes] = []
        self.ran: set[int] = set()
        self._size = size
        self._next = 0

    def submit(self, peer: Wire, count: int) -> None:
        """Sends so many submissions at once and reads the answers, as long as the connection lasts."""
        with self._lock:
            numbers = range(self._next, self._next + count)
            self._next += count
        # Some with a unique, some without: a row of its own for each.
        peer.send(
            b"".join(
                request(C.SUBMIT_JOB_BG, b"f", b"u%d" % n if n % 2 else b"", b"%d:" % n + b"w" * self._size)
                for n in numbers
            )
        )
        for number in numbers:
            answer = peer.hear()
            if answer[0] is C.JOB_CREATED:
                self.acknowledged.add(number)
            else:
                assert answer[0] is C.ERROR
                assert answer[1] == b"QUEUE_ERROR"
                self.refused.append(answer[2])  # type: ignore[arg-type]

    def work(self, peer: Wire, count: int) -> int:
        """Runs so many jobs, or until there are none. Returns how many."""
        peer.send(request(C.CAN_DO, b"f"))
        for done in range(count):
            answer = peer.say(C.GRAB_JOB).hear()
            if answer[0] is C.NO_JOB:
                return done
            handle, _, workload = answer[1:]
            assert isinstance(handle, bytes)
            assert isinstance(workload, bytes)
            self.ran.add(int(workload.partition(b":")[0]))
            peer.say(C.WORK_COMPLETE, handle, b"")
        return count

    def drain(self, service: Service, starts: int = 2) -> None:
        """Runs everything that is left, once the stored jobs are loaded."""
        wait_until(lambda: loaded(service) == starts, "the queue is loaded", 60)
        with nodelay(service.port) as peer:
            self.work(peer, 1 << 30)
            assert peer.text("status") == "f\t0\t0\t1\n.\n"

    def check(self) -> None:
        assert self.acknowledged, "the test has shown nothing"
        assert self.acknowledged <= self.ran, f"lost: {sorted(self.acknowledged - self.ran)[:20]}"


def loaded(service: Service) -> int:
    """How many of its starts have loaded the queue to its end."""
    return service.output.count("loaded from the queue")


def nodelay(port: int) -> Wire:
    peer = Wire(port)
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


@contextmanager
def durable(folder: Path, *options: str) -> Iterator[Service]:
    queue = ("-q", "libsqlite3", "--libsqlite3-db", str(folder / "queue.db"))
    with daemon(*queue, "--verbose", "NOTICE", *options) as service:
        yield service


class TestKilled:
    def test_at_random_moments(self, tmp_path: Path) -> None:
        """kill -9 in submissions, commits, results and replays, twenty times on one file."""
        seed = random.randrange(1 << 32)
        print("seed", seed)  # shown where the test fails
        chance = random.Random(seed)
        load = Load()
        with durable(tmp_path) as service:
            for round_number in range(ROUNDS):
                # Every fourth time while the queue is being loaded.
                delay = chance.uniform(0.0, 0.02) if round_number % 4 == 3 else chance.uniform(0.02, 0.4)
                killer = threading.Timer(delay, service.kill)
                killer.start()
                threads = [
                    threading.Thread(target=_until_cut_off, args=(service.port, load, submits))
                    for submits in (True, True, False)
                ]
                for thread in threads:
                    thread.start()
                for thread in [killer, *threads]:
                    thread.join(30)
                    assert not thread.is_alive()
                before = loaded(service)
                service.start()
            load.drain(service, before + 1)
        load.check()


def _until_cut_off(port: int, load: Load, submits: bool) -> None:
    try:
        with nodelay(port) as peer:
            while True:
                if submits:
                    load.submit(peer, 50)
                else:
                    load.work(peer, 20)
    except OSError:
        pass  # The server was killed: what it had answered until then counts.


class TestStore:
    def test_file_size_limit(self, tmp_path: Path) -> None:
        """Writes fail with an I/O error (RLIMIT_FSIZE), and then work again."""
        load = Load(2000)
        with durable(tmp_path, "--store-wait", "0.3") as service, nodelay(service.port) as peer:
            load.submit(peer, 50)
            size = max(path.stat().st_size for path in tmp_path.iterdir())
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size + 200_000, resource.RLIM_INFINITY))
            while not load.refused:
                load.submit(peer, 50)
            assert all(text.startswith(b"The job was not stored: ") for text in load.refused)
            assert "the store does not take" in service.output
            assert peer.text("version").startswith("OK ")
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            before = len(load.acknowledged)
            _again(load, peer, before)
            service.kill()
            service.start()
            load.drain(service)
        load.check()

    def test_disk_full(self, tmp_path: Path) -> None:
        """A tiny file system runs full, and is made larger."""
        folder = tmp_path / "disk"
        folder.mkdir()
        mounted = shutil.which("mount") and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode  # fmt: skip
        if not mounted:
            pytest.skip("this user may not mount a file system")
        load = Load(2000)
        try:
            with durable(folder, "--store-wait", "0.3") as service, nodelay(service.port) as peer:
                while not load.refused:
                    load.submit(peer, 20)
                assert load.acknowledged
                assert b"full" in load.refused[0]
                assert "full" in service.output
                subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)
                _again(load, peer, len(load.acknowledged))
                service.kill()
                service.start()
                load.drain(service)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        load.check()

    def test_room_by_working(self, tmp_path: Path) -> None:
        """While nothing can be stored, jobs that are stored run on, and their ends are not forgotten."""
        load = Load(2000)
        with durable(tmp_path, "--store-wait", "0.3") as service, nodelay(service.port) as peer:
            load.submit(peer, 100)
            size = max(path.stat().st_size for path in tmp_path.iterdir())
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            while not load.refused:
                load.submit(peer, 20)
            with nodelay(service.port) as worker:
                load.work(worker, 1 << 30)
            assert load.acknowledged <= load.ran
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            _again(load, peer, len(load.acknowledged))
            with nodelay(service.port) as worker:
                load.work(worker, 1 << 30)
            ran = set(load.ran)
            service.stop()  # in order: everything is written
            service.start()
            load.ran.clear()
            load.drain(service)
            assert not load.ran & ran, "finished jobs ran again"

    def test_file_removed(self, tmp_path: Path) -> None:
        load = Load()
        with durable(tmp_path) as service, nodelay(service.port) as peer:
            load.submit(peer, 100)
            for path in tmp_path.glob("queue.db*"):
                path.unlink()
            time.sleep(0.1)  # longer than the store believes that its file is in its place
            load.submit(peer, 100)
            assert len(load.acknowledged) == 200
            assert "was removed while in use" in service.output
            service.kill()
            service.start()
            load.drain(service)
        load.check()

    def test_file_exchanged(self, tmp_path: Path) -> None:
        """Another file in its place is not written to; the jobs are saved beside it, and the log says where."""
        load = Load()
        with durable(tmp_path, "--store-wait", "0.3") as service, nodelay(service.port) as peer:
            load.submit(peer, 20)
            (tmp_path / "queue.db").rename(tmp_path / "aside.db")
            (tmp_path / "queue.db").write_bytes(b"")
            time.sleep(0.1)
            load.submit(peer, 1)
            assert load.refused
            assert "was exchanged for another file" in service.output
            moves = re.search(r"\(mv (\S+) (\S+)\)", service.output)
            assert moves is not None
            os.rename(moves[1], moves[2])
            _again(load, peer, len(load.acknowledged))
            load.drain(service, 1)
        load.check()


def _again(load: Load, peer: Wire, before: int) -> None:
    """Waits until submissions are taken again, without a restart."""

    def taken() -> bool:
        load.submit(peer, 1)
        return len(load.acknowledged) > before

    wait_until(taken, "the store is in use again")


class TestPeers:
    def test_worker_killed_in_the_middle_of_a_job(self) -> None:
        program = (
            "import sys, time; from tests.server.wire import Wire;"
            "from geartrain.protocol.commands import Command as C;"
            "w = Wire(int(sys.argv[1])); w.say(C.CAN_DO, b'f').say(C.GRAB_JOB);"
            "print(w.hear()[1].decode(), flush=True); time.sleep(600)"
        )
        with Server() as server, Wire(server.port) as client, Wire(server.port) as other:
            client.say(C.SUBMIT_JOB, b"f", b"", b"w")
            handle = client.hear()[1]
            assert isinstance(handle, bytes)
            worker = subprocess.Popen([sys.executable, "-c", program, str(server.port)], stdout=subprocess.PIPE)
            try:
                assert worker.stdout is not None
                assert worker.stdout.readline() == handle + b"\n"
                other.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
                assert client.text("status") == "f\t1\t1\t2\n.\n"
            finally:
                worker.kill()
                worker.communicate()
            assert other.hear() == (C.NOOP,)
            assert other.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"w")
            other.say(C.WORK_COMPLETE, handle, b"r")
            assert client.hear() == (C.WORK_COMPLETE, handle, b"r")

    def test_worker_stopped_for_longer_than_its_timeout(self) -> None:
        """SIGSTOP: its kernel answers for it, so that no keepalive finds it. CAN_DO_TIMEOUT does."""
        program = (
            "import sys; from tests.server.wire import Wire; from geartrain.protocol.commands import Command as C;"
            "w = Wire(int(sys.argv[1])); w.say(C.CAN_DO_TIMEOUT, b'f', b'1000').say(C.GRAB_JOB);"
            "handle = w.hear()[1]; print('has it', flush=True); sys.stdin.readline();"
            "w.say(C.WORK_COMPLETE, handle, b'late'); print(w.hear()[1].decode(), flush=True)"
        )
        with Server() as server, Wire(server.port) as client, Wire(server.port) as other:
            client.say(C.SUBMIT_JOB, b"f", b"", b"w")
            handle = client.hear()[1]
            assert isinstance(handle, bytes)
            pipe = subprocess.PIPE
            worker = subprocess.Popen([sys.executable, "-c", program, str(server.port)], stdin=pipe, stdout=pipe)
            try:
                assert worker.stdout is not None
                assert worker.stdout.readline() == b"has it\n"
                worker.send_signal(signal.SIGSTOP)
                other.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
                assert other.hear() == (C.NOOP,)
                assert other.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"w")
                other.say(C.WORK_COMPLETE, handle, b"in time")
                assert client.hear() == (C.WORK_COMPLETE, handle, b"in time")
                worker.send_signal(signal.SIGCONT)
                assert worker.communicate(b"\n", 10)[0] == b"JOB_NOT_FOUND\n"
            finally:
                worker.kill()
                worker.communicate()
            assert client.say(C.ECHO_REQ, b"nothing more").hear() == (C.ECHO_RES, b"nothing more")

    def test_peer_that_vanished_without_a_word(self) -> None:
        """Power loss, a pulled cable: no FIN ever comes. Keepalive finds it, and its job goes to another."""
        settings = {"keepalive_idle": 1, "keepalive_interval": 1, "keepalive_count": 1}
        with Server(**settings) as server, Wire(server.port) as client, Wire(server.port) as other:
            gone = Wire(server.port)
            client.say(C.SUBMIT_JOB, b"f", b"", b"w")
            handle = client.hear()[1]
            gone.say(C.CAN_DO, b"f").say(C.GRAB_JOB)
            assert gone.hear() == (C.JOB_ASSIGN, handle, b"f", b"w")
            try:
                gone.socket.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: closing sends nothing
            except PermissionError:
                gone.close()
                pytest.skip("this user may not make a socket vanish (CAP_NET_ADMIN)")
            gone.close()
            other.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
            assert other.hear() == (C.NOOP,)
            assert other.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"w")

    def test_client_gone_before_its_result(self) -> None:
        with Server() as server, Wire(server.port) as worker:
            client = Wire(server.port)
            client.say(C.SUBMIT_JOB, b"f", b"", b"w")
            handle = client.hear()[1]
            assert isinstance(handle, bytes)
            assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"w")
            client.close()
            wait_until(lambda: worker.text("show jobs") == f"{handle.decode()}\t0\t1\t0\n.\n", "it has left")
            worker.say(C.WORK_DATA, handle, b"x" * 100_000).say(C.WORK_COMPLETE, handle, b"r")
            assert worker.say(C.GRAB_JOB).hear() == (C.NO_JOB,)
            assert worker.text("status") == "f\t0\t0\t1\n.\n"


class TestMachine:
    def test_clock_steps_backwards(self) -> None:
        """Delays and timeouts are counted on a clock that never steps."""
        with Server() as server, Wire(server.port) as client, Wire(server.port) as worker:
            worker.say(C.CAN_DO_TIMEOUT, b"f", b"1000").say(C.PRE_SLEEP)
            client.say(C.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (time.time() + 1.5), b"delayed")
            handle = client.hear()[1]
            server.job_server.engine.wall_clock = lambda: time.time() - 86_400
            started = time.monotonic()
            assert worker.hear() == (C.NOOP,)
            assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"delayed")
            worker.say(C.PRE_SLEEP)
            assert worker.hear() == (C.NOOP,)  # its time is over
            assert time.monotonic() - started < 4

    def test_file_descriptors_exhausted(self, tmp_path: Path) -> None:
        """No spinning, no loss: those who are in are served, and others get in when there is room again."""
        load = Load()
        with durable(tmp_path, "--file-descriptors", "60", "--backlog", "256") as service:
            peer = nodelay(service.port)
            load.submit(peer, 10)
            crowd = [socket.create_connection(("127.0.0.1", service.port), 10) for _ in range(100)]
            wait_until(lambda: "no connection can be accepted" in service.output, "the log says it")
            before = _cpu(service)
            started = time.monotonic()
            load.submit(peer, 100)
            assert load.work(peer, 50) == 50
            time.sleep(max(0.0, 1.5 - (time.monotonic() - started)))  # an idle stretch, in which it must not spin
            assert _cpu(service) - before < 0.5
            assert service.output.count("no connection can be accepted") < 10
            for sock in crowd:
                sock.close()
            with nodelay(service.port) as late:
                load.submit(late, 10)
            peer.close()
            load.drain(service, 1)
        load.check()


def _cpu(service: Service) -> float:
    """Seconds of processor time that the server has used."""
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
