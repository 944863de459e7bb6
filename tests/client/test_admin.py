"""The admin client: over both servers, and over answers as programs in the field give them."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from geartrain import AdminClient, Client, Worker
from geartrain.client.admin import FunctionStatus, JobRecord, PriorityStatus
from geartrain.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, RequestTimeout, ServerError
from geartrain.testing import Server

from ..services import free_port, gearmand, wait_until
from ..shells.fakes import Peer, Scripted


@pytest.fixture(scope="module", params=["geartrain", "gearmand"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "geartrain":
        with Server() as server:
            yield server.address
    else:
        with gearmand() as service:
            yield f"127.0.0.1:{service.port}"


@pytest.fixture
def admin(address: str) -> Iterator[AdminClient]:
    with AdminClient(address) as admin:
        yield admin


def test_the_server_about_itself(admin: AdminClient) -> None:
    assert admin.getpid() > 1
    assert admin.version()[:2] in ("1.", "2.")
    assert admin.verbose()


def test_jobs_and_functions(admin: AdminClient, address: str) -> None:
    with Client(address) as client:
        client.do_background("jobs", unique="u1", priority="high")
        handle = client.do_background("jobs", unique="u2")
        assert FunctionStatus("jobs", 2, 0, 0) in admin.status()
        assert PriorityStatus("jobs", 1, 1, 0, 0) in admin.prioritystatus()
        assert {job.handle: job[1:3] for job in admin.show_jobs()}[handle.decode()] == (0, False)
        assert {"u1", "u2"} <= set(admin.show_unique_jobs())
        admin.cancel_job(handle)
        assert not client.job_status(handle).running
    with pytest.raises(ServerError) as caught:
        admin.cancel_job("H:nowhere:1")
    assert caught.value.code == "UNKNOWN_JOB"
    assert str(caught.value) == "UNKNOWN_JOB"


def test_workers_with_spaces_in_their_ids(admin: AdminClient, address: str) -> None:
    worker = Worker(address, client_id="one : two")
    worker.register("spaced", lambda job: None)
    worker.register("also", lambda job: None)
    worker.work_once(0.3)
    wait_until(lambda: any(w.functions for w in admin.workers()), "the worker")
    mine = next(w for w in admin.workers() if w.functions)
    assert mine.id == "one : two"
    assert set(mine.functions) == {"spaced", "also"}
    assert mine.address == "127.0.0.1"
    assert any(w.functions == () and w.id == "-" for w in admin.workers())  # this connection
    worker.close()


def test_functions_are_made_limited_and_dropped(admin: AdminClient, address: str) -> None:
    admin.create_function("made")
    assert FunctionStatus("made", 0, 0, 0) in admin.status()
    admin.maxqueue("made", 1)
    with Client(address) as client:
        client.do_background("made")
        with pytest.raises(ServerError, match="QUEUE_ERROR"):
            client.do_background("made")
        admin.maxqueue("made", 3, 2, 1)
        client.do_background("made")
        admin.maxqueue("made")
    with pytest.raises(ServerError, match="function not found"):
        admin.drop_function("nevermade")
    admin.create_function("short")
    admin.drop_function("short")
    assert "short" not in {s.function for s in admin.status()}


def test_a_restart_between_two_commands_is_not_noticed() -> None:
    with Server() as server, AdminClient(server.address) as admin:
        assert admin.getpid() == os.getpid()
        server.restart()
        assert admin.getpid() == os.getpid()


@pytest.mark.parametrize("graceful", [False, True])
def test_shutdown(graceful: bool) -> None:
    with Server() as server, AdminClient(server.address, timeout=5) as admin:
        admin.shutdown(graceful=graceful)
        with contextlib.suppress(ConnectionLost):  # it may still be about to end
            admin.close()
        wait_until(lambda: not answers(server.address), "the server's end")


def answers(address: str) -> bool:
    try:
        with AdminClient(address, timeout=1) as admin:
            admin.version()
    except (ConnectionLost, RequestTimeout):
        return False
    return True


def test_gearmand_has_no_shutdown() -> None:
    with gearmand() as service, AdminClient(f"127.0.0.1:{service.port}") as admin:
        with pytest.raises(ServerError) as caught:
            admin.shutdown()
        assert caught.value.code == "UNKNOWN_COMMAND"
        assert caught.value.text == "Unknown server commandshutdown"  # as gearmand says it


def test_what_the_text_protocol_cannot_carry(admin: AdminClient) -> None:
    for name in ("", "two words", "line\n", "tab\t", b"nul\0"):
        with pytest.raises(LocalProtocolError):
            admin.create_function(name)
    with pytest.raises(LocalProtocolError, match="not 2"):
        admin.maxqueue("f", 1, 2)


def test_no_server() -> None:
    with AdminClient(f"127.0.0.1:{free_port()}", timeout=1) as admin, pytest.raises(ConnectionLost, match="refused"):
        admin.status()


def says(answer: bytes) -> Scripted:
    def script(peer: Peer) -> None:
        line = b""
        while not line.endswith(b"\n"):
            line += peer.sock.recv(100)
        peer.send(answer)
        while peer.sock.recv(100):
            pass

    return Scripted(script)


def test_names_of_any_bytes_go_there_and_back() -> None:
    with says(b"caf\xe9\t1\t0\t2\na\tb\t1\t0\t2\n.\n") as server, AdminClient(server.address) as admin:
        first, second = admin.status()
        assert first.function.encode("utf-8", "surrogateescape") == b"caf\xe9"
        assert second == ("a\tb", 1, 0, 2)
        assert first.waiting == 1


def test_perls_version_is_bare() -> None:
    with says(b"1.13\n") as server, AdminClient(server.address) as admin:
        assert admin.version() == "1.13"


def test_jobs_as_records() -> None:
    with says(b"H:a:1\t2\t1\t0\r\n.\r\n") as server, AdminClient(server.address) as admin:
        assert admin.show_jobs() == [JobRecord("H:a:1", 2, True, False)]


@pytest.mark.parametrize("answer", [b"f\t1\n.\n", b"f\tmany\t0\t0\n.\n"])
def test_answers_that_cannot_be_read(answer: bytes) -> None:
    with says(answer) as server, AdminClient(server.address) as admin, pytest.raises(RemoteProtocolError):
        admin.status()


def test_an_answer_that_never_ends_is_bounded_in_time() -> None:
    with (
        says(b"f\t1\t0\t0\n") as server,
        AdminClient(server.address, timeout=0.3) as admin,
        pytest.raises(RequestTimeout, match=r"within 0\.3 s"),
    ):
        admin.status()


def test_an_answer_that_breaks_off() -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(100)
        peer.send(b"f\t1\t0\t0\nf2\t")

    with (
        Scripted(script) as server,
        AdminClient(server.address) as admin,
        pytest.raises(ConnectionLost, match="in the middle of an answer"),
    ):
        admin.status()
