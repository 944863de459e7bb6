"""What Prometheus reads."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from geartrain.http import metrics
from geartrain.protocol.commands import Command
from tests.http.tools import Site, get, post

Start = Callable[..., Site]
PROMTOOL = shutil.which("promtool") or ""


def scrape(site: Site) -> dict[tuple[str, ...], float]:
    """Every sample: its name and the values of its labels."""
    reply = site.wire().send(get("/metrics")).reply()
    assert (reply.get(b"content-type") or b"").startswith(b"text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(reply.body.decode())
        for sample in family.samples
    }


def test_the_names_that_dashboards_know(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    for priority in ("high", "normal", "normal", "low"):
        wire.send(post("/f", b"x", f"X-Gearman-Priority: {priority}", "X-Gearman-Background: true",
                       "X-Gearman-Unique:"))  # fmt: skip
        wire.reply()
    job = worker.take()
    found = scrape(site)
    assert found["gearman_up",] == 1
    assert any(key[0] == "gearman_version_info" and "geartrain" in key[1] for key in found)
    assert [found[f"gearman_{name}", "f"] for name in ("jobs", "jobs_running", "jobs_waiting", "workers")] == [
        4,
        1,
        3,
        1,
    ]
    assert [found["gearman_jobs_ready", "f", priority] for priority in ("high", "normal", "low")] == [0, 2, 1]
    assert found["gearman_oldest_job_seconds", "f"] > 0
    assert found["gearman_jobs_submitted_total", "f"] == 4
    worker.complete(job, b"")
    worker.fail(worker.take())
    worker.take()
    found = scrape(site)
    assert [found[f"gearman_jobs_{name}_total", "f"] for name in ("started", "completed", "failed")] == [3, 1, 1]
    assert found["gearman_job_wait_seconds_count", "f"] == 3
    assert found["gearman_job_run_seconds_count", "f"] == 2
    assert found["gearman_job_run_seconds_bucket", "f", "+Inf"] == 2
    assert 0 < found["gearman_job_run_seconds_sum", "f"] < 60


def test_the_server_the_wire_and_http(site: Site) -> None:
    wire = site.wire().send(get("/f", method="DELETE"), post("/f", b"", "X-Gearman-Unique: " + "u" * 65))
    assert (wire.reply().status, wire.reply().status) == (405, 400)
    found = scrape(site)
    assert found["gearman_ready",] == found["gearman_store_up",] == 1
    assert found["gearman_connections",] == 2
    assert found["gearman_received_bytes_total",] > 100 < found["gearman_sent_bytes_total",]
    assert found["gearman_errors_total", "ARGUMENT_TOO_LARGE"] == 1
    assert found["gearman_http_requests_total", "405"] == 1
    assert found["process_open_fds",] > 3


def test_the_first_error_is_an_increase(site: Site) -> None:
    """Prometheus' rate() and increase() see nothing in a series that begins with a 1."""
    found = scrape(site)
    for code in ("ARGUMENT_TOO_LARGE", "JOB_NOT_FOUND", "QUEUE_ERROR", "UNKNOWN_OPTION"):
        assert found["gearman_errors_total", code] == 0
    for status in ("401", "404", "500", "503"):
        assert found["gearman_http_requests_total", status] == 0


def test_the_store(start: Start, tmp_path: Path) -> None:
    site = start(sqlite=tmp_path / "queue.db")
    wire = site.wire().send(post("/f", b"x", "X-Gearman-Background: true"))
    assert wire.reply().status == 200
    found = scrape(site)
    assert found["gearman_store_committed_jobs_total",] == 1
    assert found["gearman_store_commits_total",] == found["gearman_store_commit_seconds_count",] >= 1
    assert found["gearman_store_batch_size_bucket", "1.0"] >= 1


def test_open_metrics_for_those_who_ask(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x"))
    worker.complete(worker.take(), b"")
    wire.reply()
    reply = wire.send(get("/metrics", "Accept: application/openmetrics-text; version=1.0.0")).reply()
    assert (reply.get(b"content-type") or b"").startswith(b"application/openmetrics-text")
    assert "gearman_jobs" in {family.name for family in parse_open(reply.body.decode())}


def test_names_of_any_bytes_do_no_harm(site: Site) -> None:
    worker = site.worker(b'quote"back\\slash\xff', b"line\nbreak")
    worker.send((Command.ECHO_REQ, b""))
    worker.receive()
    names = {key[1] for key in scrape(site) if key[0] == "gearman_workers"}
    assert names == {'quote"back\\slash\\xff', "line\nbreak"}


def test_many_functions_stay_few_lines(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_FUNCTIONS", 5)
    monkeypatch.setattr(metrics, "MAX_HISTOGRAMS", 2)
    worker = site.worker(*(b"f%d" % number for number in range(20)))
    wire = site.wire()
    for number in range(20):
        wire.send(post(f"/f{number}", b"x"))
        worker.complete(worker.take(), b"")
        wire.reply()
    found = scrape(site)
    names = [key[1] for key in found if key[0] == "gearman_jobs"]
    assert len(names) == 6
    assert found["gearman_jobs_completed_total", metrics.OTHERS] == 15
    assert found["gearman_workers", metrics.OTHERS] == 15
    assert found["gearman_job_run_seconds_count", metrics.OTHERS] == 18


def test_the_dashboard_for_grafana_asks_for_names_that_are_there(site: Site) -> None:
    worker, wire = site.worker(b"f"), site.wire()
    wire.send(post("/f", b"x"), post("/f", b"", "X-Gearman-Unique: " + "u" * 65))
    worker.complete(worker.take(), b"")
    assert (wire.reply().status, wire.reply().status) == (200, 400)
    there = {key[0] for key in scrape(site)}
    dashboard = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"\b(?:gearman|process)_\w+", expression)}
    assert len(names) > 20
    alerts = (Path(__file__).parents[2] / "docs" / "alerts.yml").read_text()
    names |= set(re.findall(r"\bgearman_\w+", alerts))
    assert names <= there


@pytest.mark.skipif(not PROMTOOL, reason="needs promtool, of Debian's package prometheus")
def test_prometheus_accepts_what_it_gets(site: Site) -> None:
    site.worker(b'odd "name"\\ \xc3\xa9')
    metrics = site.wire().send(get("/metrics")).reply().body
    assert subprocess.run([PROMTOOL, "check", "metrics"], input=metrics, capture_output=True, check=False).stderr == b""
    rules = Path(__file__).parents[2] / "docs" / "alerts.yml"
    checked = subprocess.run([PROMTOOL, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, ""), checked
