"""Our clients, workers and tools among other people's, over both servers: as good a guest as a host.

That our library does all that it can over Debian's gearmand, tests/shells shows, and tests/cli for our tools; here
each of them works with the programs of each other language.
"""

import sys
import threading
from collections.abc import Iterator

import pytest

from geartrain import Job, JobException, JobFailed, Progress
from tests.services import wait_until
from tests.shells.worlds import AioWorld, SyncWorld

from .conftest import Gate, Run, Spawn
from .languages import LANGUAGES, TELLING, perl
from .programs import compiled, find
from .servers import Server

pytestmark = pytest.mark.timeout(60)

World = SyncWorld | AioWorld


@pytest.fixture(params=["sync", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Our library in ordinary code, and in asyncio."""
    world: World = SyncWorld() if request.param == "sync" else AioWorld()
    yield world
    world.close()


@pytest.fixture
def foreign(spawn: Spawn, server: Server):
    """Starts a worker in another language and returns when the server knows its functions."""

    def foreign(language: str, *functions: str) -> None:
        program = spawn(LANGUAGES[language].worker(server.address, *functions))
        for function in functions:
            server.wait_for_workers(function, 1, program)

    return foreign


def reverse(job: Job) -> bytes:
    return job.workload[::-1]


def story(job: Job) -> bytes:
    job.send_data(b"one")
    job.send_warning(b"careful")
    job.send_status(1, 2)
    job.send_data(b"two")
    job.send_status(2, 2)
    return b"three"


async def async_reverse(job: Job) -> bytes:
    return job.workload[::-1]


def fail(job: Job) -> None:
    raise JobFailed("as was asked")


class TestOurClient:
    @pytest.mark.parametrize("language", sorted(LANGUAGES))
    def test_with_workers_in(self, world: World, server: Server, foreign, language: str):
        foreign(language, "reverse")
        with world.client(server.address) as client:
            assert client.do("reverse", b"Hello") == b"olleH"
            tasks = [client.submit("reverse", b"%04d" % number) for number in range(10)]
            assert [task.result() for task in tasks] == [(b"%04d" % number)[::-1] for number in range(10)]

    @pytest.mark.parametrize("language", TELLING)
    def test_hears_everything_from_workers_in(self, world: World, server: Server, foreign, language: str):
        foreign(language, "story", "fail")
        with world.client(server.address) as client:
            task = client.submit("story", b"x")
            assert task.result() == b"onetwothree"
            assert task.warnings == [b"careful"]
            assert task.status == Progress(2, 2)
            with pytest.raises(JobFailed):
                client.do("fail", b"x")

    @pytest.mark.parametrize("language", ["libgearman", "php", "gearmanode", "gear"])
    def test_gets_the_exceptions_of_workers_in(self, world: World, server: Server, foreign, language: str):
        foreign(language, "exception")
        with world.client(server.address) as client, pytest.raises(JobException) as caught:
            client.do("exception", b"x")
        assert caught.value.data == b"it broke"

    @pytest.mark.parametrize("language", TELLING)
    def test_follows_a_background_job_of_workers_in(
        self, world: World, server: Server, foreign, gate: Gate, language: str
    ):
        with world.client(server.address) as client:
            handle = client.do_background("gate", gate.path, unique="key")
            assert client.job_status(handle)[:2] == (True, False)
            foreign(language, "gate")
            wait_until(lambda: client.job_status(handle)[:4] == (True, True, 1, 4), "the worker's progress")
            assert client.job_status_unique("key")[:4] == (True, True, 1, 4)
            gate.open("done")
            wait_until(lambda: not client.job_status(handle).known, "the end of the job")

    def test_hands_a_reducer_to_a_worker_in_c(self, world: World, server: Server, spawn: Spawn, foreign):
        spawn([compiled("worker"), "-a", server.address, "split:split"])
        foreign("perl", "reverse")
        server.wait_for_workers("split")
        with world.client(server.address) as client:
            result = client.submit("split", b"one two", reducer="reverse").result()
        assert sorted(result.split(b"+")) == [b"eno", b"owt"]


class TestOurWorker:
    @pytest.mark.parametrize("language", sorted(LANGUAGES))
    def test_for_clients_in(self, world: World, server: Server, run: Run, language: str):
        worker = world.worker(server.address, client_id="ours", concurrency=2)
        worker.register("reverse", reverse if world.name == "sync" else async_reverse)
        worker.register("story", story)
        worker.register("fail", fail)
        guest = LANGUAGES[language]
        with worker:
            for function in ("reverse", "story", "fail"):
                server.wait_for_workers(function)
            assert guest.result(run(guest.call(server.address, "reverse", "Hello"))) == "olleH"
            assert STORIES[language] in run(guest.call(server.address, "story", "x")).output
            assert guest.has_failed(run(guest.call(server.address, "fail", "x")))

    def test_maps_for_libgearman(self, server: Server, run: Run, foreign):
        world = SyncWorld()
        worker = world.worker(server.address)

        def split(job: Job) -> None:
            for word in job.workload.split():
                job.send_data(word)

        worker.register("split", split, aggregate=b"+".join)
        foreign("libgearman", "reverse")
        with worker:
            server.wait_for_workers("split")
            done = run([compiled("reduce"), server.address, "split", "reverse", "one two"])
        assert done.lines == ["SUCCESS eno+owt"]

    def test_its_exception_reaches_libgearman_and_perl(self, server: Server, run: Run):
        def broken(job: Job) -> bytes:
            raise ValueError("it broke")

        worker = SyncWorld().worker(server.address)
        worker.register("broken", broken)
        with worker:
            server.wait_for_workers("broken")
            done = run([compiled("tasks"), "-x", server.address, "broken=x"])
            assert "exception 1 ValueError: it broke" in done.lines
            call = perl("call")
            assert run([*call, "-x", server.address, "broken", "x"]).lines[-1] == "FAILED"


STORIES = {
    # What each client prints of a job that sent data before its result: all of it, or the result at the end.
    **dict.fromkeys(["libgearman", "php", "gearman"], b"onetwothree"),
    **dict.fromkeys(["perl", "gearmanode", "gear", "pygearman"], b"three"),
}


class TestEverybody:
    def test_all_workers_for_all_clients(self, server: Server, spawn: Spawn, run: Run):
        # Eight workers in eight languages serve one function, and any of them may get any job.
        worker = SyncWorld().worker(server.address)
        worker.register("reverse", reverse)
        for guest in LANGUAGES.values():
            spawn(guest.worker(server.address, "reverse"))
        with worker:
            server.wait_for_workers("reverse", len(LANGUAGES) + 1)
            wrong: list[object] = []

            def calls(name: str) -> None:
                guest = LANGUAGES[name]
                for word in ("one", "two", "three"):
                    done = run(guest.call(server.address, "reverse", f"{name} {word}"))
                    if not done.output.decode().rstrip().endswith(f"{name} {word}"[::-1]):
                        wrong.append(done)

            threads = [threading.Thread(target=calls, args=(name,)) for name in LANGUAGES]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == []
        server.wait_for_total("reverse", 0)


class TestOurTools:
    """gearman and geartrain beside Debian's gearman: one as the client, the other as the worker."""

    def ours(self, tool: str, server: Server, *words: str) -> list[str]:
        base = [sys.executable, "-m", f"geartrain.cli.{tool}"]
        where = ["-h", "127.0.0.1", "-p", str(server.port)] if tool == "gearman" else []
        return [*base, *where, *words]

    def test_our_gearman_with_theirs(self, server: Server, spawn: Spawn, run: Run, foreign):
        foreign("gearman", "theirs")
        spawn(self.ours("gearman", server, "-w", "-f", "ours", "--", find("rev")))
        server.wait_for_workers("ours")
        theirs = [find("gearman"), "-h", "127.0.0.1", "-p", str(server.port)]
        assert run(self.ours("gearman", server, "-f", "theirs", "Hello")).output == b"olleH"
        assert run([*theirs, "-f", "ours", "Hello"]).output == b"olleH"
        assert run(self.ours("gearman", server, "-n", "-f", "theirs"), stdin=b"ab\ncd\n").output == b"ba\ndc\n"
        assert run([*theirs, "-n", "-f", "ours"], stdin=b"ab\ncd\n").output == b"ba\ndc\n"

    def test_geartrain_submit_and_work(self, server: Server, spawn: Spawn, run: Run, foreign):
        foreign("libgearman", "reverse", "fail")
        spawn(self.ours("geartrain", server, "work", "-q", "-s", server.address, "ours", "--", find("rev")))
        server.wait_for_workers("ours")
        submit = self.ours("geartrain", server, "submit", "-s", server.address)
        assert run([*submit, "reverse", "Hello"]).output.strip() == b"olleH"
        assert run([*submit, "fail", "Hello"]).code == 1
        assert run([compiled("call"), server.address, "ours", "Hello"]).lines == ["SUCCESS olleH"]
