"""What makes a process a daemon, and its word to systemd. Detaching is shown by tests/cli/test_gearmand.py."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from geartrain.errors import ConfigError
from geartrain.server.daemon import PidFile, raise_descriptors, switch_user
from geartrain.server.notify import Notifier


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    """Runs what would change this process for good."""
    prelude = "import os, resource, signal\nfrom geartrain.server.daemon import *\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, timeout=20, check=False
    )


class TestPidFile:
    def test_it_holds_our_id_and_goes_with_us(self, tmp_path: Path) -> None:
        pid_file = PidFile(str(tmp_path / "pid"))
        pid_file.acquire()
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
        pid_file.release()
        assert not (tmp_path / "pid").exists()
        pid_file.release()

    def test_a_second_server_is_refused_with_the_id_of_the_first(self, tmp_path: Path) -> None:
        first, second = PidFile(str(tmp_path / "pid")), PidFile(str(tmp_path / "pid"))
        first.acquire()
        with pytest.raises(ConfigError, match=f"process {os.getpid()} holds the pid file {tmp_path}/pid"):
            second.acquire()
        second.release()
        assert (tmp_path / "pid").exists()
        first.release()
        second.acquire()
        second.release()

    def test_the_file_of_a_killed_server_is_taken_over(self, tmp_path: Path) -> None:
        path = tmp_path / "pid"
        in_a_process(f"PidFile({str(path)!r}).acquire(); os.kill(os.getpid(), signal.SIGKILL)")
        assert path.read_text().strip().isdigit()
        pid_file = PidFile(str(path))
        pid_file.acquire()
        assert path.read_text() == f"{os.getpid()}\n"
        pid_file.release()

    def test_what_another_program_wrote_there_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "pid").write_text("a longer text than any process id\n")
        pid_file = PidFile(str(tmp_path / "pid"))
        pid_file.acquire()
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
        pid_file.release()

    def test_a_folder_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"Could not open pid file for writing: .*/none/pid \(No such file"):
            PidFile(str(tmp_path / "none" / "pid")).acquire()


class TestLimits:
    def test_as_many_descriptors_as_the_system_allows(self) -> None:
        done = in_a_process(
            "limits = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))\n"
            "assert raise_descriptors(0) == limits[1] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]"
        )
        assert done.returncode == 0, done.stderr

    def test_a_number_of_them(self) -> None:
        done = in_a_process("raise_descriptors(123)\nassert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 123")
        assert done.returncode == 0, done.stderr

    def test_more_than_the_system_has_is_refused_as_gearmand_does(self) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with pytest.raises(ConfigError, match="Failed to set limit for the number of file descriptors"):
            raise_descriptors(1 << 40)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before

    def test_a_core_file_may_be_as_large_as_the_system_allows(self) -> None:
        done = in_a_process(
            "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
            "resource.setrlimit(resource.RLIMIT_CORE, (0, hard))\n"
            "allow_core()\n"
            "assert resource.getrlimit(resource.RLIMIT_CORE) == (hard, hard)"
        )
        assert done.returncode == 0, done.stderr


class TestUser:
    def test_an_unknown_user(self) -> None:
        with pytest.raises(ConfigError, match="Could not find user : nobody-of-that-name"):
            switch_user("nobody-of-that-name")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_root_becomes_the_user_for_good_with_its_groups_alone(self) -> None:
        done = in_a_process(
            "switch_user('nobody')\n"
            "assert os.getresuid() == (65534,) * 3 and os.getresgid() == (65534,) * 3\n"
            "assert os.getgroups() == [65534]"
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_user_who_cannot_read_pythons_folder_has_what_the_server_needs(self) -> None:
        done = in_a_process(
            "switch_user('nobody')\n"
            "import sys\n"
            "assert {'encodings.idna', 'concurrent.futures.thread'} <= sys.modules.keys()"
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a user who may not")
    def test_others_may_not(self) -> None:
        done = in_a_process("switch_user('nobody')\nswitch_user('root')")
        assert "Must be root to switch users." in done.stderr


class TestSystemd:
    @pytest.mark.parametrize("abstract", [False, True])
    def test_it_is_told_each_step(self, abstract: bool, tmp_path: Path) -> None:
        name = f"@geartrain-{os.getpid()}" if abstract else str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.settimeout(10)
            systemd.bind("\0" + name[1:] if abstract else name)
            notifier = Notifier({"NOTIFY_SOCKET": name})
            notifier.ready("listening")
            assert systemd.recv(1000).decode().split("\n") == ["READY=1", "STATUS=listening", f"MAINPID={os.getpid()}"]
            notifier.reloading()
            reloading, moment = systemd.recv(1000).decode().split("\n")
            assert reloading == "RELOADING=1"
            assert moment.removeprefix("MONOTONIC_USEC=").isdigit()
            notifier.stopping()
            assert systemd.recv(1000) == b"STOPPING=1"
            notifier.alive()
            assert systemd.recv(1000) == b"WATCHDOG=1"

    def test_the_watchdog_is_fed_twice_in_its_time_where_it_is_ours(self) -> None:
        asked = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000"}
        assert Notifier(asked).watchdog_interval == 1.5
        assert Notifier(asked | {"WATCHDOG_PID": str(os.getpid())}).watchdog_interval == 1.5
        assert Notifier(asked | {"WATCHDOG_PID": "1"}).watchdog_interval == 0
        assert Notifier({}).watchdog_interval == 0

    def test_without_systemd_nothing_happens(self, caplog: pytest.LogCaptureFixture) -> None:
        Notifier({}).ready("listening")
        assert not caplog.records

    def test_a_systemd_that_is_gone_stops_nothing(self, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).stopping()
        assert "STOPPING=1" in caplog.text
