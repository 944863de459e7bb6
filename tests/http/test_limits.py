"""What a client cannot do to the server over HTTP: too much, too slowly, or without reading."""

import time
from collections.abc import Callable

import pytest

from geartrain.protocol.commands import Command
from tests.http.tools import Site, get, post
from tests.services import wait_until

Start = Callable[..., Site]


def hurry(site: Site, **waits: float) -> None:
    """Makes the server's patience shorter. It looks once a second."""
    http = site.server.job_server.http
    assert http is not None
    for name, seconds in waits.items():
        assert hasattr(http.hub, name)
        setattr(http.hub, name, seconds)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n",
        b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Endless: " + b"x" * 70_000,
        b"GET /" + b"f" * 70_000,
        b"POST /f HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 10_000,
        b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_headers_have_a_limit(site: Site, head: bytes) -> None:
    wire = site.wire().send(head)
    reply = wire.reply()
    assert (reply.status, reply.get(b"connection")) == (431, b"close")
    assert wire.rest() == b""


def test_bodies_have_a_limit(start: Start) -> None:
    site = start(max_packet=1000)
    worker = site.worker(b"f")
    wire = site.wire().send(post("/f", b"x" * 1000))
    worker.complete(worker.take(), b"")
    assert wire.reply().status == 200
    assert site.wire().send(post("/f", b"x" * 1001)).reply().status == 413
    head = b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = site.wire().send(head, b"3e8\r\n" + b"x" * 1000 + b"\r\n", b"1\r\nx\r\n").reply()
    assert reply.status == 413
    assert b"--max-packet" in reply.body


def test_a_body_that_is_too_large_is_refused_before_it_has_come(start: Start) -> None:
    site = start(max_packet=1000)
    wire = site.wire().send(b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n")
    assert wire.reply().status == 413
    wire.send(b"x" * 100_000)  # the client may still be sending: the answer is not lost
    assert wire.rest() == b""


def test_the_last_answer_reaches_a_client_that_is_still_sending(start: Start) -> None:
    site = start(max_packet=1000)
    wire = site.wire()
    wire.send(post("/f", b"x" * 3_000_000))
    assert wire.reply().status == 413


def test_few_requests_may_wait_on_one_connection(site: Site) -> None:
    wire = site.wire().send(post("/f", b"x"), *(get("/_gearman/api/health/live") for _ in range(100)))
    worker = site.worker(b"f")
    worker.complete(worker.take(), b"first")
    assert wire.reply().body == b"first"
    statuses = []
    while True:
        reply = wire.reply()
        statuses.append(reply.status)
        if reply.get(b"connection") == b"close":
            break
    assert statuses == [200] * (len(statuses) - 1) + [503]
    assert 10 < len(statuses) < 60


def test_slow_senders_are_dropped(site: Site) -> None:
    hurry(site, head_wait=0.1, body_wait=0.1)
    for beginning in (b"POST /f HTT", b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nsome"):
        wire = site.wire().send(beginning)
        assert wire.reply().status == 408
        assert wire.rest() == b""


def test_a_body_that_keeps_coming_is_not_slow(site: Site) -> None:
    hurry(site, body_wait=0.5)
    wire, worker = site.wire(), site.worker(b"f")
    wire.send(b"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n")
    until = time.monotonic() + 2.5
    sent = 0
    while time.monotonic() < until:
        wire.send(b"x" * 500)
        sent += 500
        time.sleep(0.05)  # speed is what this test is about
    wire.send(b"x" * (100_000 - sent))
    worker.complete(worker.take(), b"")
    assert wire.reply().status == 200


def test_connections_without_requests_end(site: Site) -> None:
    hurry(site, idle_wait=0.1)
    wire = site.wire()
    assert wire.rest() == b""
    waiting = site.wire().send(post("/f", b"x"))  # one that waits for its result is not idle
    assert site.wire().rest() == b""
    worker = site.worker(b"f")
    worker.complete(worker.take(), b"result")
    assert waiting.reply().body == b"result"


def test_clients_that_do_not_read_are_dropped(site: Site) -> None:
    hurry(site, read_wait=0.5)
    worker, wire, api = site.worker(b"f"), site.wire(), site.client()
    wire.send(post("/f", b"x"))
    job = worker.take()
    worker.send((Command.WORK_DATA, job.handle, b"x" * 20_000_000))
    wait_until(lambda: api.get("/jobs/" + job.handle.decode()).json()["clients"] == 0, "the client is dropped")


def test_a_client_that_reads_slower_than_data_comes_is_dropped_at_the_limit(start: Start) -> None:
    site = start(max_output=100_000)
    worker, wire, api = site.worker(b"f"), site.wire(), site.client()
    wire.send(post("/f", b"x"))
    job = worker.take()
    for _ in range(200):
        worker.send((Command.WORK_DATA, job.handle, b"x" * 100_000))
    wait_until(lambda: api.get("/jobs/" + job.handle.decode()).json()["clients"] == 0, "the client is dropped")


def test_results_for_http_1_0_have_a_limit(start: Start) -> None:
    site = start(max_output=1000)
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x", version="1.0"))
    job = worker.take()
    worker.send((Command.WORK_DATA, job.handle, b"x" * 1001))
    reply = wire.reply()
    assert reply.status == 502
    assert b"--max-output" in reply.body


def test_silent_streams_show_that_they_live(site: Site) -> None:
    hurry(site, pulse=0.1)
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x", "Accept: text/event-stream"))
    job = worker.take()
    wire.head()
    assert wire.chunk().startswith(b"event: created")
    assert wire.chunk() == b":\n\n"
    worker.complete(job, b"")
    while b"event: complete" not in (chunk := wire.chunk()):
        assert chunk == b":\n\n"


def test_connections_have_a_limit(start: Start) -> None:
    site = start(max_connections=3)
    wires = [site.wire().send(get("/_gearman/api/health/live")) for _ in range(3)]
    assert [wire.reply().status for wire in wires] == [200] * 3
    with pytest.raises((AssertionError, ConnectionError)):
        site.wire().send(get("/_gearman/api/health/live")).reply()
