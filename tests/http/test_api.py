"""The API: everything that the text protocol can do, and what people asked for beside it."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from geartrain.protocol.commands import Command
from geartrain.protocol.packets import request
from geartrain.stores.base import StoredJob
from geartrain.stores.memory import MemoryStore
from tests.http.tools import Site, Wire, get, post
from tests.services import free_port, wait_until

Start = Callable[..., Site]


def submit(site: Site, **job: Any) -> str:
    answer = site.client().post("/jobs", json={"function": "f", **job})
    assert answer.status_code == 201, answer.text
    handle: str = answer.json()["handle"]
    return handle


# ---- the server


def test_about_the_server(site: Site) -> None:
    about = site.client().get("/server").json()
    assert about["version"].startswith("2.0.0+geartrain-")
    assert (about["pid"], about["host"]) == (os.getpid(), os.uname().nodename)
    assert about["addresses"] == [site.server.address]
    assert about["http"] == [site.url]
    assert (about["ready"], about["draining"], about["queue_type"], about["verbose"]) == (
        True,
        False,
        "builtin",
        "ERROR",
    )


def test_the_snapshot_is_the_dashboards(site: Site) -> None:
    submit(site)
    shown = site.client().get("/snapshot").json()
    assert shown["functions"][0]["name"] == "f"
    assert shown["totals"]["waiting"] == 1


def test_the_history_has_columns(site: Site) -> None:
    api = site.client()
    assert set(api.get("/history").json()) >= {"step", "time", "submitted", "waiting"}
    assert api.get("/history?step=10").json()["step"] == 10
    assert api.get("/history?step=7").status_code == 400


def test_events_are_pushed(site: Site) -> None:
    wire = site.wire().send(get("/_gearman/api/events", "Accept: text/event-stream"))
    assert (wire.head().get(b"content-type") or b"").startswith(b"text/event-stream")
    assert b"event: snapshot" in wire.chunk()
    submit(site, function="new")
    while b'"new"' not in wire.chunk():
        pass


class SlowStore(MemoryStore):
    """Loads its jobs when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_load = threading.Event()

    def load(self) -> Iterator[StoredJob]:
        self.may_load.wait(20)
        yield from super().load()


def test_health(start: Start) -> None:
    store = SlowStore()
    port = free_port()

    def status(path: str) -> int:
        with Wire(port) as wire:
            return wire.send(get(f"/_gearman/api/health/{path}")).reply().status

    def answers() -> bool:
        try:
            return status("live") == 200
        except ConnectionRefusedError:
            return False

    sites: list[Site] = []
    starter = threading.Thread(target=lambda: sites.append(start(store=store, http_port=port)))
    starter.start()  # it has started when all jobs are loaded
    wait_until(answers, "the server answers")
    assert status("ready") == 503
    store.may_load.set()
    starter.join(20)
    wait_until(lambda: status("ready") == 200, "it is ready")
    store.unavailable = "the disk is full"
    sites[0].wire().send(post("/f", b"x", "X-Gearman-Background: true"))
    wait_until(lambda: status("ready") == 503, "the store is found to be down")
    assert "the disk is full" in sites[0].client().get("/health/ready").json()["reasons"][0]
    metrics = sites[0].wire().send(get("/metrics")).reply().body
    assert b"\ngearman_ready 0.0\n" in metrics
    assert b"\ngearman_store_up 0.0\n" in metrics
    store.unavailable = ""
    wait_until(lambda: status("ready") == 200, "the store is found to work")


def test_shutdown_is_for_this_machine(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARMAND_HTTP_TOKEN", "t")
    site = start()
    api = site.client(headers={"Authorization": "Bearer t"})
    answer = api.post("/server/shutdown", json={"graceful": True})
    assert (answer.status_code, answer.json()) == (202, {"graceful": True})
    thread = site.server._thread
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()


# ---- functions


def test_functions_are_created_shown_and_dropped(site: Site) -> None:
    api = site.client()
    for name in ("plain", "sp ace", "sla/sh", "ünï", "per%cent"):
        path = "/functions/" + quote(name, safe="")
        assert api.get(path).status_code == 404
        assert api.put(path).json()["name"] == name
        shown = api.get(path).json()
        assert (shown["name"], shown["path"]) == (name, "/_gearman/api" + path)
        assert shown["waiting"] == {"high": 0, "normal": 0, "low": 0}
    assert api.get("/functions?name=sla").json()["total"] == 1
    assert len(api.get("/functions?limit=2&offset=4").json()["functions"]) == 1
    assert api.delete("/functions/plain").status_code == 204
    assert api.delete("/functions/plain").status_code == 404
    assert api.put("/functions/%00").status_code == 400


def test_names_of_any_bytes_can_be_asked_for(site: Site) -> None:
    worker, api = site.worker(b"\xff\xfe/"), site.client()
    wait_until(lambda: api.get("/functions").json()["total"] == 1, "the worker is registered")
    shown = api.get("/functions").json()["functions"][0]
    assert (shown["name"], shown["path"]) == ("\\xff\\xfe/", "/_gearman/api/functions/%FF%FE%2F")
    assert api.get("/functions/%FF%FE%2F").json()["workers"] == 1
    worker.send((Command.CANT_DO, b"\xff\xfe/"))


def test_a_function_in_use_is_not_dropped(site: Site) -> None:
    worker, api = site.worker(b"f"), site.client()
    wire = site.wire().send(post("/f", b"x"))
    job = worker.take()
    answer = api.delete("/functions/f")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "FUNCTION_IN_USE")
    worker.complete(job, b"")
    assert wire.reply().status == 200


def test_dropping_a_function_cancels_its_jobs(site: Site) -> None:
    wire = site.wire().send(post("/f", b"x"))
    api = site.client()
    wait_until(lambda: api.get("/functions/f").json().get("total") == 1, "the job waits")
    assert api.delete("/functions/f").status_code == 204
    assert wire.reply().status == 502


def test_limits_are_set_and_read(site: Site) -> None:
    api = site.client()
    assert api.get("/functions/f/maxqueue").status_code == 404
    assert api.put("/functions/f/maxqueue", json={"high": 3, "low": 1}).json() == {"high": 3, "normal": None, "low": 1}
    assert api.get("/functions/f/maxqueue").json() == {"high": 3, "normal": None, "low": 1}
    assert api.put("/functions/f/maxqueue", json={"all": 1}).json() == {"high": 1, "normal": 1, "low": 1}
    submit(site)
    refused = api.post("/jobs", json={"function": "f"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "QUEUE_ERROR")
    assert api.put("/functions/f/maxqueue", json={}).json() == {"high": None, "normal": None, "low": None}
    submit(site)
    for wrong in ({"high": -1}, {"high": "3"}, {"height": 1}, {"all": True}):
        assert api.put("/functions/f/maxqueue", json=wrong).status_code == 400


# ---- workers


def test_workers_and_what_they_run(site: Site) -> None:
    worker, api = site.worker(b"f"), site.client()
    worker.send((Command.SET_CLIENT_ID, b"the worker"), (Command.CAN_DO_TIMEOUT, b"slow", b"5000"))
    site.wire().send(post("/f", b"x"))
    job = worker.take()
    (shown,) = api.get("/workers").json()["workers"]
    assert shown["id"] == "the worker"
    assert shown["functions"] == [{"name": "f", "timeout": None}, {"name": "slow", "timeout": 5.0}]
    assert shown["jobs"][0]["handle"] == job.handle.decode()
    assert shown["jobs"][0]["since"] >= 0
    everybody = api.get("/workers?all=1").json()
    assert everybody["total"] == 3  # the worker, the caller, this client
    assert any(other["waits_for"] == 1 for other in everybody["workers"])
    assert api.get("/workers?function=nothing").json()["workers"] == []


# ---- jobs


def test_submit_inspect_and_cancel(site: Site) -> None:
    handle = submit(site, workload="wörk", unique="u", priority="high")
    api = site.client()
    job = api.get(f"/jobs/{handle}").json()
    assert (job["function"], job["unique"], job["priority"], job["state"]) == ("f", "u", "high", "queued")
    assert (job["workload"], job["size"], job["cut"], job["background"]) == ("wörk", 5, False, True)
    assert abs(job["submitted"] - time.time()) < 30
    assert api.delete(f"/jobs/{handle}").json()["handle"] == handle
    assert api.get(f"/jobs/{handle}").status_code == 404
    assert api.delete(f"/jobs/{handle}").json()["error"]["code"] == "UNKNOWN_JOB"
    assert api.get("/functions/f").json()["total"] == 0


def test_bytes_go_in_base64(site: Site) -> None:
    handle = submit(site, workload_base64="/wD/")
    assert site.client().get(f"/jobs/{handle}").json()["workload_base64"] == "/wD/"
    assert site.worker(b"f").take().workload == b"\xff\x00\xff"


def test_a_large_workload_is_shown_in_part(site: Site) -> None:
    handle = submit(site, workload="x" * 1_500_000)
    job = site.client().get(f"/jobs/{handle}").json()
    assert (job["cut"], len(job["workload"]), job["size"]) == (True, 1 << 20, 1_500_000)


def test_submissions_join_by_their_unique(site: Site) -> None:
    assert submit(site, unique="u") == submit(site, unique="u")
    assert submit(site) != submit(site)


def test_jobs_for_later(site: Site) -> None:
    api = site.client()
    at = int(time.time()) + 1000
    delayed = api.get(f"/jobs/{submit(site, at=at, priority='low')}").json()
    assert (delayed["state"], delayed["at"], delayed["priority"]) == ("delayed", at, "low")
    soon = api.get(f"/jobs/{submit(site, delay=500)}").json()
    assert 490 < soon["at"] - time.time() < 510
    planned = api.get(f"/jobs/{submit(site, schedule={'minute': 0, 'hour': 3})}").json()
    assert time.localtime(planned["at"])[3:5] == (3, 0)
    handle = submit(site, delay=0.2)
    assert site.worker(b"f").take().handle == handle.encode()


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"function": ""},
        {"function": 1},
        {"function": "a\0b"},
        {"function": "f", "unique": "a\0b"},
        {"function": "f", "unique": "u" * 65},
        {"function": "f", "priority": "urgent"},
        {"function": "f", "workload": {"a": 1}},
        {"function": "f", "workload_base64": "!"},
        {"function": "f", "at": "tomorrow"},
        {"function": "f", "at": True},
        {"function": "f", "at": 1, "delay": 1},
        {"function": "f", "schedule": {"minute": 61}},
        {"function": "f", "schedule": {"second": 1}},
    ],
)
def test_wrong_jobs_are_refused(site: Site, job: dict[str, Any]) -> None:
    answer = site.client().post("/jobs", json=job)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_what_is_no_json_object(site: Site) -> None:
    api = site.client()
    for body in (b"{", b"[]", b"1", b"\xff"):
        answer = api.post("/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.json()["error"]["code"] == "INVALID_JSON"


def test_another_priority_while_it_waits(site: Site) -> None:
    first, second = submit(site), submit(site)
    api = site.client()
    assert api.patch(f"/jobs/{second}", json={"priority": "high"}).json()["priority"] == "high"
    worker = site.worker(b"f")
    job = worker.take()
    assert job.handle == second.encode()
    assert api.patch(f"/jobs/{second}", json={"priority": "low"}).status_code == 409
    assert api.patch(f"/jobs/{first}", json={"priority": "urgent"}).status_code == 400
    assert api.patch(f"/jobs/{first}", json={}).status_code == 400


def test_a_running_job_that_is_cancelled_fails_for_its_client(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x"))
    job = worker.take()
    assert site.client().delete(f"/jobs/{job.handle.decode()}").status_code == 200
    assert wire.reply().status == 502


def test_search(site: Site) -> None:
    submit(site, function="a", unique="one", priority="high")
    submit(site, function="a", unique="two")
    submit(site, function="b", unique="three", delay=1000)
    api = site.client()

    def uniques(**query: str) -> list[str]:
        return [job["unique"] for job in api.get("/jobs", params=query).json()["jobs"]]

    assert uniques() == ["one", "two", "three"]
    assert uniques(order="newest") == ["three", "two", "one"]
    assert uniques(function="a") == ["one", "two"]
    assert uniques(unique="t") == ["two", "three"]
    assert uniques(state="delayed") == ["three"]
    assert uniques(priority="high") == ["one"]
    assert uniques(handle=":2") == ["two"]
    assert uniques(function="c") == []
    for wrong in ({"state": "odd"}, {"priority": "x"}, {"limit": "many"}):
        assert api.get("/jobs", params=wrong).status_code == 400


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_search_in_pages(site: Site, order: str) -> None:
    handles = [submit(site) for _ in range(7)]
    if order == "newest":
        handles.reverse()
    api = site.client()
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = api.get("/jobs", params={"limit": 3, "after": after, "order": order}).json()
        found += [job["handle"] for job in page["jobs"]]
        after = page["after"]
        if after == handles[2]:
            api.delete(f"/jobs/{after}")  # the place to go on from may be gone by then
    assert found == handles


def test_search_in_a_large_queue_lets_others_work(site: Site) -> None:
    worker = site.worker(b"g")
    batch = b"".join(request(Command.SUBMIT_JOB_BG, b"f", b"%d" % number, b"work") for number in range(50_000))
    with socket.create_connection(("127.0.0.1", site.server.port)) as client:
        client.sendall(batch)
        api = site.client()
        wait_until(
            lambda: (client.recv(1 << 20) or True) and api.get("/server").json()["jobs"] == 50_000, "all wait", 60
        )
    results: list[Any] = []
    search = threading.Thread(target=lambda: results.append(site.client().get("/jobs?unique=nothing").json()))
    search.start()
    wire = site.wire()
    wire.send(post("/g", b"x"))
    worker.complete(worker.take(), b"meanwhile")
    assert wire.reply().body == b"meanwhile"
    search.join(30)
    assert results == [{"jobs": [], "after": None}]


def test_status_by_handle_and_by_unique(site: Site) -> None:
    worker, wire, api = site.worker(b"f"), site.wire(), site.client()
    wire.send(post("/f", b"x", "X-Gearman-Unique: u"))
    job = worker.take()
    worker.send((Command.WORK_STATUS, job.handle, b"3", b"4"))
    handle = job.handle.decode()
    wait_until(lambda: api.get("/status", params={"handle": handle}).json()["numerator"] == 3, "the progress is known")
    wanted = {
        "handle": handle,
        "unique": "u",
        "known": True,
        "running": True,
        "numerator": 3,
        "denominator": 4,
        "clients": 1,
    }
    assert api.get("/status", params={"handle": handle}).json() == wanted
    assert api.get("/status", params={"unique": "u"}).json() == wanted
    worker.complete(job, b"")
    wire.reply()
    assert api.get("/status", params={"unique": "u"}).json()["known"] is False
    assert api.get("/status").status_code == 400


# ---- the description


def test_every_path_is_described_and_answers(site: Site) -> None:
    api = site.client()
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    names = set(document["components"]["schemas"])
    assert {"/_gearman/api/events", "/_gearman/api/jobs"} <= set(document["paths"])

    def refs(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    assert value.removeprefix("#/components/schemas/") in names
                refs(value)
        elif isinstance(node, list):
            for value in node:
                refs(value)

    refs(document)
    identifiers = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(identifiers) == len(set(identifiers)) > 20
    submit(site)
    handle = api.get("/jobs").json()["jobs"][0]["handle"]
    for path, operations in document["paths"].items():
        if "get" in operations and not path.endswith("/events"):
            url = site.url.rstrip("/") + path.replace("{name}", "f").replace("{handle}", handle)
            answer = api.get(url, params={"handle": handle} if path.endswith("/status") else None)
            assert answer.status_code == 200, url
            schema = operations["get"]["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
            if schema is not None:
                wanted = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                content = answer.json()
                assert set(wanted.get("required", ())) <= set(content), path
                if "properties" in wanted:
                    assert set(content) <= set(wanted["properties"]), path


def test_wrong_paths_and_methods(site: Site) -> None:
    api = site.client()
    assert api.get("/nothing").json()["error"]["code"] == "NOT_FOUND"
    assert api.get("/functions/a/b/c").status_code == 404
    assert api.post("/server", json={}).status_code == 405
    assert api.head("/server").status_code == 200
    assert api.options("/jobs").headers["allow"] == "GET, POST"
    assert api.get(f"{site.url}_gearman/nothing-here").status_code == 404
