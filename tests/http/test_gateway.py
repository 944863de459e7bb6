"""Calling functions over HTTP: what a web front end sees."""

import json
import re
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import request
from tests import services
from tests.http.tools import Site, Wire, Worker, get, post
from tests.services import wait_until

Start = Callable[..., Site]


def masked(answer: bytes) -> bytes:
    """What differs from one server to another: the number of the job, the server's name."""
    answer = re.sub(rb"(?<=Handle: )H:[^\r]+:\d+", b"H:host:1", answer)
    return re.sub(rb"(?<=Server: )Gearman/[^\r]+", b"Gearman/0", answer)


def test_http_1_0_is_answered_as_gearmand_does(site: Site) -> None:
    requests = (
        post("/reverse", b"hello", version="1.0"),
        post("/reverse", b"", version="1.0"),
        post("//reverse", b"x", version="1.0"),
        post("/reverse", b"hello", version="1.0", method="PUT"),
        post("/reverse", b"hello", "X-Gearman-Background: true", version="1.0"),
        post("/reverse", b"1", "X-Gearman-Background: true", "X-Gearman-Priority: high", version="1.0"),
        post("/reverse", b"hello", "X-Gearman-Background: no", "X-Gearman-Unique: u", version="1.0"),
    )
    http_port = services.free_port()
    answers: list[list[bytes]] = []
    with services.gearmand("-r", "http", "--http-port", str(http_port)) as gearmand:
        for port, web in ((gearmand.port, http_port), (site.server.port, site.port)):
            got = []
            with Worker(port, b"reverse") as worker:
                for bytes_sent in requests:
                    with Wire(web) as wire:
                        wire.send(bytes_sent)
                        job = worker.take()
                        worker.complete(job, job.workload[::-1])
                        got.append(masked(wire.rest()))
            answers.append(got)
    assert answers[1] == answers[0]
    assert answers[0][0] == (
        b"HTTP/1.0 200 OK\r\nX-Gearman-Job-Handle: H:host:1\r\nX-Gearman-Command: WORK_COMPLETE\r\n"
        b"Content-Length: 5\r\nServer: Gearman/0\r\n\r\nolleh"
    )


def test_http_1_1_keeps_the_connection(site: Site) -> None:
    worker, wire = site.worker(b"reverse"), site.wire()
    for word in (b"one", b"two", b"three"):
        wire.send(post("/reverse", word))
        job = worker.take()
        assert job.workload == word
        worker.complete(job, word[::-1])
        reply = wire.reply()
        assert (reply.line, reply.body) == (b"HTTP/1.1 200 OK", word[::-1])
        assert reply.get(b"x-gearman-job-handle") == job.handle
        assert reply.get(b"connection") is None


def test_connections_end_as_the_client_asked(site: Site) -> None:
    worker = site.worker(b"f")

    def ask(bytes_sent: bytes) -> bytes:
        wire = site.wire()
        wire.send(bytes_sent)
        worker.complete(worker.take(), b"r")
        return wire.rest()

    assert b"Connection: close\r\n" in ask(post("/f", b"x", "Connection: close"))
    assert b"Connection" not in ask(post("/f", b"x", version="1.0"))
    wire = site.wire()
    for _ in range(2):
        wire.send(post("/f", b"x", "Connection: keep-alive", version="1.0"))
        worker.complete(worker.take(), b"r")
        assert wire.reply().get(b"connection") == b"keep-alive"


def test_requests_sent_together_are_answered_in_their_order(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"1"), get("/_gearman/api/health/live"), post("/nowhere", b"", method="DELETE"))
    wire.send(post("/f", b"2"))
    worker.complete(worker.take(), b"first")
    assert wire.reply().body == b"first"
    assert wire.reply().json == {"live": True}
    assert wire.reply().status == 405
    job = worker.take()
    assert job.workload == b"2"
    worker.complete(job, b"last")
    assert wire.reply().body == b"last"


@pytest.mark.parametrize(
    ("path", "function", "workload"),
    [
        ("/reverse?workload=Hello", b"reverse", b"Hello"),
        ("/reverse?workload=Hello+W%C3%B6rld%21", b"reverse", "Hello Wörld!".encode()),
        ("/reverse?x=1&workload=a%26b", b"reverse", b"a&b"),
        ("/reverse?workload=", b"reverse", b""),
        ("/reverse?a=1%20&b", b"reverse", b"a=1%20&b"),
        ("/reverse?", b"reverse", b""),
        ("/reverse", b"reverse", b""),
        ("/a%20b%2Fc", b"a b/c", b""),
        ("/%FF", b"\xff", b""),
        ("//slashes", b"slashes", b""),
        ("http://127.0.0.1/absolute?workload=w", b"absolute", b"w"),
    ],
)
def test_get_carries_data_in_its_query(site: Site, path: str, function: bytes, workload: bytes) -> None:
    worker, wire = site.worker(function), site.wire()
    wire.send(get(path))
    job = worker.take()
    assert (job.function, job.workload) == (function, workload)
    worker.complete(job, b"done")
    assert wire.reply().body == b"done"


def test_the_query_of_a_post_is_not_part_of_the_name(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f?x=1", b"body"))
    job = worker.take()
    assert job.workload == b"body"
    worker.complete(job, b"")
    assert wire.reply().status == 200


def test_head_has_the_length_and_no_body(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(get("/f?workload=x", method="HEAD"))
    worker.complete(worker.take(), b"12345")
    reply = wire.reply(head_only=True)
    assert (reply.status, reply.get(b"content-length")) == (200, b"5")
    wire.send(get("/_gearman/api/health/live"))
    assert wire.reply().status == 200  # nothing was left on the connection


def test_headers_say_unique_priority_and_background(site: Site) -> None:
    wire, api = site.wire(), site.client()
    for number, priority in enumerate(("high", "LOW", "normal", "odd")):
        wire.send(post("/f", b"x", f"X-Gearman-Unique: u{number}", f"X-Gearman-Priority: {priority}",
                       "X-Gearman-Background: TRUE"))  # fmt: skip
        reply = wire.reply()
        assert (reply.get(b"x-gearman-command"), reply.body) == (b"JOB_CREATED", b"")
        job = api.get(f"/jobs/{(reply.get(b'x-gearman-job-handle') or b'').decode()}").json()
        wanted = priority.lower() if priority in ("high", "LOW") else "normal"
        assert (job["unique"], job["priority"], job["background"]) == (f"u{number}", wanted, True)


def test_equal_requests_are_one_job_and_each_gets_the_result(site: Site) -> None:
    worker = site.worker(b"f")
    wires = [site.wire().send(post("/f", b"same")) for _ in range(3)]
    job = worker.take()
    assert job.unique == b"-"
    api = site.client()
    wait_until(lambda: api.get(f"/jobs/{job.handle.decode()}").json()["clients"] == 3, "all three wait for the job")
    worker.complete(job, b"result")
    assert [wire.reply().body for wire in wires] == [b"result"] * 3
    assert api.get("/functions/f").json()["counters"]["submitted"] == 1


def test_both_ports_serve_the_same_jobs(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x", "X-Gearman-Unique: u"))
    job = worker.take()
    with socket.create_connection(("127.0.0.1", site.server.port)) as gearman:
        gearman.sendall(request(Command.SUBMIT_JOB, b"f", b"u", b"x"))
        created = gearman.recv(1000)
        assert created.endswith(job.handle)
        worker.complete(job, b"result")
        assert gearman.recv(1000).endswith(b"\0result")
    assert wire.reply().body == b"result"


def test_names_outside_of_gearman_reach_functions(site: Site) -> None:
    worker, wire = site.worker(b"metrics", b"_gearmanx", b"api"), site.wire()
    for name in ("metrics", "_gearmanx", "api"):
        wire.send(post(f"/{name}", b"w"))
        job = worker.take()
        assert job.function == name.encode()
        worker.complete(job, b"r")
        assert wire.reply().body == b"r"


# ---- what goes wrong


@pytest.mark.parametrize(
    ("bytes_sent", "status", "code"),
    [
        (post("/", b"x"), 404, "NO_FUNCTION"),
        (post("/%00", b"x"), 400, "INVALID_ARGUMENT"),
        (post("/f", b"", method="DELETE"), 405, "METHOD_NOT_ALLOWED"),
        (get("/f", method="TRACE"), 405, "METHOD_NOT_ALLOWED"),
        (post("/f", b"x", "X-Gearman-Unique: " + "u" * 65), 400, "ARGUMENT_TOO_LARGE"),
        (post("/f", b"x", "X-Gearman-Timeout: soon"), 400, "INVALID_ARGUMENT"),
        (post("/f", b"x", "X-Gearman-Timeout: -1"), 400, "INVALID_ARGUMENT"),
        (post("/f", b"x", "X-Gearman-Timeout: nan"), 400, "INVALID_ARGUMENT"),
        (b"BREW /f HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST"),
        (b"POST /a b HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET /f HTTP/1.1\r\n\r\n", 400, "NO_HOST"),
        (b"GET /f HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET /f\r\n\r\n", 505, "HTTP_VERSION"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "BAD_REQUEST"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(site: Site, bytes_sent: bytes, status: int, code: str) -> None:
    reply = site.wire().send(bytes_sent).reply()
    assert reply.status == status
    assert reply.get(b"content-type") == b"text/plain; charset=utf-8"
    assert len(reply.body) > 20
    if b"Host: 127.0.0.1\r\n" in bytes_sent and bytes_sent.count(b"Host") == 1:
        asked = bytes_sent.replace(b"Host: ", b"Accept: application/json\r\nHost: ")
        assert site.wire().send(asked).reply().json["error"]["code"] == code


def test_a_failed_job_is_an_error(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"1"))
    job = worker.take()
    worker.fail(job)
    reply = wire.reply()
    assert (reply.status, reply.get(b"x-gearman-command")) == (502, b"WORK_FAIL")
    assert reply.get(b"x-gearman-job-handle") == job.handle
    wire.send(post("/f", b"2", "Accept: application/json"))
    job = worker.take()
    worker.fail(job)
    error = wire.reply().json["error"]
    assert (error["code"], error["handle"]) == ("WORK_FAIL", job.handle.decode())


def test_an_exception_has_its_data(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    for accept, data in (("*/*", b"it\xffbroke"), ("application/json", b"it broke"), ("application/json", b"\xff")):
        wire.send(post("/f", data, f"Accept: {accept}"))
        worker.send((Command.WORK_EXCEPTION, worker.take().handle, data))
        reply = wire.reply()
        assert (reply.status, reply.get(b"x-gearman-command")) == (500, b"WORK_EXCEPTION")
        if accept == "*/*":
            assert reply.body == data
        elif data == b"\xff":
            assert reply.json["error"]["data_base64"] == "/w=="
        else:
            assert reply.json["error"]["data"] == "it broke"


def test_a_full_queue_says_so_and_when_to_come_again(site: Site) -> None:
    api, wire = site.client(), site.wire()
    assert api.put("/functions/f/maxqueue", json={"all": 1}).status_code == 200
    wire.send(post("/f", b"1", "X-Gearman-Background: true"))
    assert wire.reply().status == 200
    wire.send(post("/f", b"2", "X-Gearman-Background: true", "Accept: application/json"))
    reply = wire.reply()
    assert (reply.status, reply.get(b"retry-after")) == (503, b"1")
    assert reply.json["error"] == {"code": "QUEUE_ERROR", "message": "Job queue is full"}


def test_a_timeout_ends_the_waiting_and_a_queued_job(site: Site) -> None:
    wire, api = site.wire(), site.client()
    wire.send(post("/f", b"1", "X-Gearman-Timeout: 0.1"))
    assert wire.reply().status == 504
    assert api.get("/functions/f").json()["total"] == 0
    worker = site.worker(b"f")  # a job that runs goes on, and its late result harms nobody
    wire.send(post("/f", b"2", "X-Gearman-Timeout: 0.2"))
    job = worker.take()
    assert wire.reply().status == 504
    worker.complete(job, b"late")
    wire.send(post("/f", b"3", "X-Gearman-Timeout: 10"))
    worker.complete(worker.take(), b"in time")
    assert wire.reply().body == b"in time"


def test_a_client_that_hangs_up_frees_its_job(site: Site) -> None:
    wire, api = site.wire(), site.client()
    wire.send(post("/f", b"x"))
    wait_until(lambda: api.get("/functions/f").json().get("total") == 1, "the job waits")
    wire.sock.close()
    wait_until(lambda: api.get("/functions/f").json()["total"] == 0, "the job is gone")


# ---- long jobs


def test_data_streams_as_it_comes(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x"))
    job = worker.take()
    worker.send((Command.WORK_STATUS, job.handle, b"1", b"2"), (Command.WORK_WARNING, job.handle, b"beware"))
    worker.send((Command.WORK_DATA, job.handle, b"first"))
    head = wire.head()
    assert (head.status, head.get(b"transfer-encoding")) == (200, b"chunked")
    assert head.get(b"x-gearman-job-handle") == job.handle
    assert wire.chunk() == b"first"  # before the job has ended
    worker.send((Command.WORK_DATA, job.handle, b""), (Command.WORK_DATA, job.handle, b"s" * 100_000))
    assert wire.chunk() == b"s" * 100_000
    worker.complete(job, b"last")
    assert (wire.chunk(), wire.chunk()) == (b"last", b"")
    wire.send(get("/_gearman/api/health/live"))
    assert wire.reply().status == 200


def test_a_stream_that_fails_is_cut(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x"))
    job = worker.take()
    worker.send((Command.WORK_DATA, job.handle, b"half"))
    wire.head()
    assert wire.chunk() == b"half"
    worker.fail(job)
    assert wire.rest() == b""  # without the last chunk: every client knows that something is missing


def test_http_1_0_gets_all_data_at_the_end(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x", version="1.0"))
    job = worker.take()
    worker.send((Command.WORK_DATA, job.handle, b"one "), (Command.WORK_DATA, job.handle, b"two "))
    worker.complete(job, b"three")
    reply = wire.reply()
    assert (reply.get(b"content-length"), reply.body) == (b"13", b"one two three")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_events_tell_all_that_happens(site: Site, version: str) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x", "Accept: text/event-stream", version=version))
    job = worker.take()
    worker.send(
        (Command.WORK_STATUS, job.handle, b"1", b"3"),
        (Command.WORK_WARNING, job.handle, b"beware"),
        (Command.WORK_DATA, job.handle, b"\xff"),
    )
    worker.complete(job, b"done")
    reply = wire.reply()
    assert reply.get(b"content-type") == b"text/event-stream"
    events = [event.split("\n") for event in reply.body.decode().strip().split("\n\n")]
    assert [(name, json.loads(data.removeprefix("data: "))) for name, data in events] == [
        ("event: created", {"handle": job.handle.decode()}),
        ("event: status", {"numerator": 1, "denominator": 3}),
        ("event: warning", {"data": "beware"}),
        ("event: data", {"data_base64": "/w=="}),
        ("event: complete", {"data": "done"}),
    ]


@pytest.mark.parametrize(
    ("command", "parts", "name", "data"),
    [
        (Command.WORK_FAIL, (), "fail", {}),
        (Command.WORK_EXCEPTION, (b"why",), "exception", {"data": "why"}),
    ],
)
def test_events_end_with_the_failure(
    site: Site, command: Command, parts: tuple[bytes, ...], name: str, data: dict[str, str]
) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x", "Accept: text/event-stream"))
    worker.send((command, worker.take().handle, *parts))
    assert wire.reply().body.decode().split("\n\n")[1] == f"event: {name}\ndata: {json.dumps(data)}"


def test_events_of_a_refused_job_are_an_error_at_once(site: Site) -> None:
    wire = site.wire()
    wire.send(post("/f", b"x", "Accept: text/event-stream", "X-Gearman-Unique: " + "u" * 65))
    assert wire.reply().status == 400
    wire.send(post("/f", b"x", "Accept: text/event-stream", "X-Gearman-Timeout: 0.1"))
    assert b"event: timeout" in wire.reply().body


# ---- bodies


def test_large_bodies_and_results(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    data = bytes(range(256)) * 40_000
    wire.send(post("/f", data))
    job = worker.take()
    assert job.workload == data
    worker.complete(job, data[::-1])  # on the server's way it is in pipes
    assert wire.reply().body == data[::-1]


def test_chunked_bodies_and_100_continue(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    head = b"POST /f HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    wire.send(head)
    assert wire.head().line == b"HTTP/1.1 100 Continue"
    for piece in (b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n"):
        wire.send(piece)
    job = worker.take()
    assert job.workload == b"hello world"
    worker.complete(job, b"")
    assert wire.reply().status == 200


def test_a_request_may_come_byte_by_byte(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    for byte in post("/f", b"slow", "X-Gearman-Unique: u"):
        wire.send(bytes([byte]))
    job = worker.take()
    assert (job.workload, job.unique) == (b"slow", b"u")
    worker.complete(job, b"")
    assert wire.reply().status == 200


def test_an_upgrade_is_not_taken_but_the_request_is_answered(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"body", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"))
    job = worker.take()
    assert job.workload == b"body"
    worker.complete(job, b"result")
    assert wire.reply().body == b"result"
    wire.send(get("/_gearman/api/health/live", "Connection: Upgrade", "Upgrade: websocket"))
    assert wire.reply().json == {"live": True}


def test_results_do_not_run_in_browsers(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(get("/f?workload=<script>alert(1)</script>"))
    job = worker.take()
    worker.complete(job, job.workload)
    assert wire.reply().get(b"content-security-policy") == b"sandbox"


# ---- durable


def test_a_background_job_is_stored_before_its_answer(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "queue.db"
    site = start(sqlite=file)
    wire = site.wire()
    wire.send(post("/f", b"work", "X-Gearman-Background: true", "X-Gearman-Unique: u1"))
    assert wire.reply().get(b"x-gearman-command") == b"JOB_CREATED"
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT unique_key, function_name, data FROM gearman_queue").fetchall()
    database.close()
    assert rows == [("u1", "f", b"work")]


def test_it_works_on_other_loops(start: Start) -> None:
    pytest.importorskip("uvloop")
    site = start(loop="uvloop")
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"1"), get("/_gearman/api/health/live"), post("/f", b"2"))
    worker.complete(worker.take(), b"first")
    assert wire.reply().body == b"first"
    assert wire.reply().json == {"live": True}
    worker.complete(worker.take(), b"second")
    assert wire.reply().body == b"second"
