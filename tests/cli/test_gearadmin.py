"""`gearadmin`: beside the C tool where both have an option, alone where only ours has."""

import json
import os
import re
import signal
from collections.abc import Callable

import pytest

from .programs import Outcome, Running, Server, argv_of, free_port, run, start_server, wait_until

C_OPERATIONS = (
    "--status",
    "--priority-status",
    "--show-jobs",
    "--show-unique-jobs",
    "--server-version",
    "--server-verbose",
    "--getpid",
)


@pytest.fixture
def admin(server: Server) -> Callable[..., Outcome]:
    """Runs `gearadmin` on the server."""

    def call(*words: str, kind: str = "geartrain", **more: object) -> Outcome:
        return run([*argv_of(kind, "gearadmin"), *server.flags, *words], **more)  # type: ignore[arg-type]

    return call


Admin = Callable[..., Outcome]
Gearman = Callable[..., Outcome]


class TestBesideTheCTool:
    @pytest.mark.parametrize("option", C_OPERATIONS)
    def test_the_same_output(self, admin: Admin, gearman: Gearman, function: str, option: str) -> None:
        gearman("-b", "-u", function, "-f", function, "x")
        assert admin(option) == admin(option, kind="debian")

    def test_workers_the_same_but_for_our_own_connection(
        self, admin: Admin, worker: Callable[..., Running], function: str
    ) -> None:
        worker("-f", f"{function}-too", "--", "cat")

        def lines(done: Outcome) -> list[str]:
            assert (done.status, done.err) == (0, b"")
            *rows, dot = done.out.decode().splitlines()
            assert dot == "."
            return sorted(row for row in rows if function in row)

        ours = lines(admin("--workers"))
        assert ours == lines(admin("--workers", kind="debian"))
        assert len(ours) == 1

    def test_several_operations_come_in_the_order_of_the_c_tool(self, admin: Admin, function: str) -> None:
        words = ["--status", "--show-jobs", "--cancel-job=H:none:1", "--getpid", "--server-version"]
        ours = admin(*words)
        theirs = admin(*words, kind="debian")
        assert ours.out == theirs.out
        assert ours.status == theirs.status == 0
        assert ours.said == "Error: UNKNOWN_JOB\n"
        assert theirs.said.replace("\r", "") == ours.said

    @pytest.mark.parametrize("words", [["--stat"], ["--w"], ["--priority", "--getp"], ["--server-ver"], ["--show"]])
    def test_shortened_options(self, admin: Admin, words: list[str]) -> None:
        ours, theirs = admin(*words), admin(*words, kind="debian")
        assert ours.status == theirs.status
        assert bool(ours.out) == (ours.status == 0)

    def test_create_and_drop(self, admin: Admin, function: str, tool: str, server: Server) -> None:
        assert admin("--create-function", function, kind=tool) == (0, b"OK\n", b"")
        assert f"{function}\t0\t0\t0" in server.ask("status")
        assert admin(f"--drop-function={function}", kind=tool) == (0, b"OK\n", b"")
        assert f"{function}\t0\t0\t0" not in server.ask("status")
        gone = admin("--drop-function", function, kind=tool)
        assert (gone.status, gone.out, gone.said.rstrip()) == (0, b"", "Error: function not found")

    def test_cancel(self, admin: Admin, gearman: Gearman, function: str, tool: str) -> None:
        handle = gearman("-b", "-v", "-f", function, "x").out.decode().split()[-1]
        assert admin("--cancel-job", handle, kind=tool) == (0, b"OK\n", b"")

    def test_a_function_that_has_workers_stays(
        self, admin: Admin, worker: Callable[..., Running], function: str, tool: str
    ) -> None:
        worker("--", "cat")
        done = admin("--drop-function", function, kind=tool)
        assert (done.status, done.out) == (0, b"")
        assert "there are still connected workers or executing clients" in done.said

    @pytest.mark.parametrize("words", [["--bogus"], [], ["--create-function"], ["-x", "--status"]])
    def test_a_wrong_command_line(self, admin: Admin, words: list[str], tool: str) -> None:
        assert admin(*words, kind=tool).status == 1

    def test_no_server(self, tool: str) -> None:
        done = run([*argv_of(tool, "gearadmin"), "-p", str(free_port()), "--status"])
        assert (done.status, done.out) == (1, b"")
        assert done.said

    def test_no_such_host(self, tool: str) -> None:
        done = run([*argv_of(tool, "gearadmin"), "-h", "nowhere.invalid", "--status"])
        assert (done.status, done.out) == (1, b"")
        assert "nowhere.invalid:4730" in done.said


class TestOursAlone:
    def test_help_shows_examples(self) -> None:
        done = run([*argv_of("geartrain", "gearadmin"), "--help"])
        assert (done.status, done.err) == (0, b"")
        for option in (*C_OPERATIONS, "--shutdown", "--maxqueue", "--json", "--watch", "--ssl-ca-file"):
            assert option in done.out.decode()
        assert "gearadmin --workers --watch=5" in done.out.decode()

    def test_json(
        self, admin: Admin, gearman: Gearman, worker: Callable[..., Running], function: str, server: Server
    ) -> None:
        gearman("-b", "-u", function, "-f", function, "x")
        done = admin(
            "--json", "--status", "--priority-status", "--show-jobs", "--show-unique-jobs", "--getpid", "--workers"
        )
        assert (done.status, done.err) == (0, b"")
        answer = json.loads(done.out)
        assert {"function": function, "total": 1, "running": 0, "workers": 0} in answer["status"]
        assert {"function": function, "high": 0, "normal": 1, "low": 0, "workers": 0} in answer["priority-status"]
        assert all(job.keys() == {"handle", "retries", "ignored", "persisted"} for job in answer["show-jobs"])
        assert function in answer["show-unique-jobs"]
        assert os.kill(answer["getpid"], 0) is None
        worker("--", "cat")
        workers = json.loads(admin("--json", "--workers").out)["workers"]
        assert [w["address"] for w in workers if function in w["functions"]] == ["127.0.0.1"]

    def test_json_tells_errors_too(self, admin: Admin) -> None:
        done = admin("--json", "--cancel-job", "H:none:1", "--getpid")
        assert (done.status, done.err) == (0, b"")
        answer = json.loads(done.out)
        assert answer["cancel-job"]["error"] == "UNKNOWN_JOB"
        assert answer["getpid"] > 0

    def test_maxqueue(self, admin: Admin, gearman: Gearman, function: str, server: Server) -> None:
        gearman("-b", "-f", function, "x")
        assert admin("--maxqueue", function, "1") == (0, b"OK\n", b"")
        assert "Job queue is full" in gearman("-b", "-f", function, "x").said
        assert admin("--maxqueue", function, "2", "1", "1") == (0, b"OK\n", b"")
        assert gearman("-bI", "-f", function, "x").err == b""
        assert "Job queue is full" in gearman("-b", "-f", function, "x").said
        assert admin("--maxqueue", function) == (0, b"OK\n", b"")
        assert gearman("-b", "-f", function, "x").err == b""

    @pytest.mark.parametrize("words", [["f", "1", "2"], ["f", "many"], ["f", "1", "2", "3", "4"]])
    def test_limits_that_make_no_sense(self, admin: Admin, words: list[str]) -> None:
        done = admin("--maxqueue", *words)
        assert done.status == 1
        assert "--maxqueue takes" in done.said

    def test_a_name_that_the_text_protocol_cannot_carry(self, admin: Admin) -> None:
        """The C tool sends it, and creates another function."""
        done = admin("--strict", "--create-function", "two words")
        assert done.status == 2
        assert "two words" in done.said

    def test_watch_goes_on_until_ctrl_c(self, server: Server, start: Callable[..., Running]) -> None:
        watching = start([*argv_of("geartrain", "gearadmin"), *server.flags, "--getpid", "--watch=0.1"])
        wait_until(lambda: watching.out.count(b"\n\n") >= 2, "the third look")
        done = watching.stop(signal.SIGINT)
        assert (done.status, done.err) == (0, b"")
        assert re.match(rb"127\.0\.0\.1:\d+  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\d+\n\n", done.out)

    def test_watch_with_json_is_a_line_each(self, server: Server, start: Callable[..., Running]) -> None:
        watching = start([*argv_of("geartrain", "gearadmin"), *server.flags, "--status", "--json", "--watch=0.1"])
        wait_until(lambda: watching.out.count(b"\n") >= 3, "the third line")
        done = watching.stop(signal.SIGINT)
        assert all("status" in json.loads(line) for line in done.out.splitlines())

    def test_watch_outlives_the_server(self, start: Callable[..., Running]) -> None:
        server = start_server("debian")
        watching = start([*argv_of("geartrain", "gearadmin"), *server.flags, "--getpid", "--watch=0.1"])
        wait_until(lambda: watching.out.count(b"\n\n") >= 1, "the first look")
        server.program.kill()
        wait_until(lambda: b"Is a job server running" in watching.err, "the word that the server is away")
        assert watching.process.poll() is None

    @pytest.mark.parametrize(
        ("words", "status"),
        [
            (["--getpid"], 0),
            (["--cancel-job", "H:none:1"], 5),
            (["--bogus"], 2),
            (["--watch=0", "--getpid"], 2),
            (["-p", "nothing", "--getpid"], 2),
        ],
    )
    def test_strict(self, admin: Admin, words: list[str], status: int) -> None:
        assert admin("--strict", *words).status == status

    def test_strict_without_a_server(self) -> None:
        argv = [*argv_of("geartrain", "gearadmin"), "-p", str(free_port()), "--strict", "--status"]
        assert run(argv).status == 3


class TestShutdown:
    def test_gearmand_does_not_know_it(self) -> None:
        server = start_server("debian")
        done = run([*argv_of("geartrain", "gearadmin"), *server.flags, "--shutdown"])
        server.program.kill()
        assert done.status == 0
        assert "stop its process instead" in done.said

    @pytest.mark.parametrize("word", ["--shutdown", "--shutdown=graceful"])
    def test_ours_ends(self, word: str) -> None:
        server = start_server("geartrain")
        done = run([*argv_of("geartrain", "gearadmin"), *server.flags, word])
        try:
            assert done == (0, b"OK\n", b"")
            assert server.program.wait().status == 0
        finally:
            server.program.kill()
