"""Who may: this machine's user, but not the pages that are open in the user's browser, and others with the token."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from geartrain.errors import ConfigError
from geartrain.http.access import Access, Need, read_token
from geartrain.http.request import Request
from geartrain.server.config import Config
from geartrain.testing import Server
from tests.http.tools import Site, get, post

Start = Callable[..., Site]
OTHER_MACHINE = "X-Forwarded-For: 192.0.2.1"
"""What a proxy says: such a request counts as one from another machine."""
JSON = "Content-Type: application/json"
NEW_JOB = b'{"function": "f"}'


def ask(access: Access, bytes_sent: bytes, local: bool = True) -> str:
    """The code of the refusal, empty for none."""
    line, *lines = bytes_sent.split(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, version = line.split(b" ")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    fields = {name.lower(): value for name, value in headers}
    request = Request(method, target, version.decode().removeprefix("HTTP/"), headers, fields, True)
    refusal = access.refusal(request, local)
    if refusal is None:
        return ""
    assert not access.free(fields) or request.ours or access.forbids(Need.CALL, fields, local)
    return refusal.code


# ---- hosts


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.0.2.7:8080", True),
        ("localhost:8080", True),
        ("LocalHost", True),
        ("localhost.", True),
        ("gear.localhost:8080", True),
        (os.uname().nodename + ":8080", True),
        ("gearmand:8080", True),
        ("jobs.example.org", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8080", False),
        ("evillocalhost", False),
        ("", False),
        ("[::1", False),
        ("127.0.0.1@evil.example", False),
    ],
)
def test_only_known_names_are_answered(host: str, known: bool) -> None:
    access = Access(Config(http_names=("gearmand", "jobs.example.org")), b"")
    asked = f"GET /f HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    assert (ask(access, asked) == "") == known
    assert (ask(access, asked) == "") == known  # the second time from memory


def test_a_rebound_name_reaches_nothing(site: Site) -> None:
    for path in ("/", "/_gearman/", "/_gearman/api/server", "/metrics", "/f"):
        reply = site.wire().send(f"GET {path} HTTP/1.1\r\nHost: evil.example:{site.port}\r\n\r\n".encode()).reply()
        assert reply.status == 403
        assert b"--http-names" in reply.body


def test_any_name_where_that_is_asked_for() -> None:
    assert ask(Access(Config(http_names=("*",)), b""), b"GET /f HTTP/1.1\r\nHost: evil.example\r\n\r\n") == ""


# ---- origins


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        (("Origin: http://127.0.0.1",), True),
        (("Origin: HTTP://127.0.0.1",), True),
        (("Origin: http://127.0.0.1:8080",), False),
        (("Origin: http://evil.example",), False),
        (("Origin: null",), False),
        (("Origin: https://trusted.example",), True),
        (("Sec-Fetch-Site: same-origin",), True),
        (("Sec-Fetch-Site: none",), True),
        (("Sec-Fetch-Site: cross-site",), False),
        (("Sec-Fetch-Site: same-site",), False),
        (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), False),
    ],
)
@pytest.mark.parametrize("request_for", [post("/f", b"x"), get("/f?workload=x"), post("/_gearman/api/jobs", NEW_JOB)])
def test_other_sites_cannot_submit(headers: tuple[str, ...], allowed: bool, request_for: bytes) -> None:
    access = Access(Config(http_origins=("https://trusted.example/",)), b"")
    head = request_for.split(b"\r\n\r\n")[0] + "".join(f"\r\n{header}" for header in headers).encode() + b"\r\n\r\n"
    assert (ask(access, head) == "") == allowed


def test_links_from_other_sites_lead_to_the_dashboard(site: Site) -> None:
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert site.wire().send(get("/", *link)).reply().status == 307
    assert site.wire().send(get("/metrics", *link)).reply().status == 200
    assert site.wire().send(get("/metrics", "Sec-Fetch-Site: cross-site")).reply().status == 403


def test_forms_of_other_sites_cannot_use_the_api(site: Site) -> None:
    for header in ("Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded"):
        assert site.wire().send(post("/_gearman/api/jobs", NEW_JOB, header)).reply().status == 415
    assert site.client().get("/jobs").json()["jobs"] == []


def test_trusted_sites_may_read_the_answers(start: Start) -> None:
    site = start(http_origins=("https://trusted.example",))
    origin = "Origin: https://trusted.example"
    for bytes_sent in (
        get("/_gearman/api/server", origin),
        post("/f", b"x", origin, "X-Gearman-Background: true"),
        get("/_gearman/api/server", origin, "Access-Control-Request-Method: GET", method="OPTIONS"),
        get("/f", origin, "Access-Control-Request-Method: POST", method="OPTIONS"),
    ):
        reply = site.wire().send(bytes_sent).reply()
        assert reply.status in (200, 204)
        assert reply.get(b"access-control-allow-origin") == b"https://trusted.example"
        assert reply.get(b"vary") == b"Origin"
    assert site.wire().send(get("/_gearman/api/server")).reply().get(b"access-control-allow-origin") is None


# ---- the token


def test_this_machine_needs_no_token(site: Site) -> None:
    api = site.client()
    assert api.get("/session").json() == {"token": False, "read": True, "change": True, "call": True}
    assert api.post("/jobs", json={"function": "f"}).status_code == 201


def test_other_machines_change_nothing_where_there_is_no_token(site: Site) -> None:
    wire = site.wire()
    reply = wire.send(get("/_gearman/api/jobs", OTHER_MACHINE)).reply()
    assert reply.status == 403
    assert b"--http-token-file" in reply.body
    assert json.loads(reply.body)["error"]["code"] == "NO_TOKEN"  # as everything from the API
    assert site.wire().send(post("/_gearman/api/jobs", NEW_JOB, JSON, OTHER_MACHINE)).reply().status == 403


def test_the_token_opens(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  open-sesame \n")
    site = start(http_token_file=str(file))

    def statuses(*headers: str) -> list[int]:
        return [
            site.wire().send(bytes_sent).reply().status
            for bytes_sent in (
                get("/_gearman/api/server", *headers),
                get("/metrics", *headers),
                get("/_gearman/api/jobs", *headers),
                post("/_gearman/api/jobs", NEW_JOB, JSON, *headers),
                get("/_gearman/api/health/ready", *headers),
                post("/f", b"x", "X-Gearman-Background: true", *headers),
            )
        ]

    right, wrong = "Authorization: Bearer open-sesame", "Authorization: Bearer open-sesam"
    assert statuses(OTHER_MACHINE) == [401, 401, 401, 401, 200, 200]
    assert statuses(OTHER_MACHINE, wrong) == [401, 401, 401, 401, 200, 200]
    assert statuses(OTHER_MACHINE, right) == [200, 200, 200, 201, 200, 200]
    assert statuses() == [200, 200, 200, 401, 200, 200]  # with a token, this machine's changes need it too
    assert statuses(right) == [200, 200, 200, 201, 200, 200]
    refused = site.wire().send(get("/metrics", OTHER_MACHINE)).reply()
    assert refused.get(b"www-authenticate") == b'Bearer realm="geartrain"'


def test_the_token_may_come_from_the_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARMAND_HTTP_TOKEN", "from-the-environment")
    site = start()
    api = site.client(headers={"Authorization": "bearer from-the-environment"})
    assert api.post("/jobs", json={"function": "f"}).status_code == 201


def test_browsers_show_the_token_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    site = start(http_token_file=str(tmp_path / "token"))
    api = site.client(headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"})
    assert api.get("/session").json() == {"token": True, "read": False, "change": False, "call": True}
    wrong = api.post("/session", json={"token": "guess"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "WRONG_TOKEN")
    answer = api.post("/session", json={"token": "secret"})
    assert answer.json()["change"] is True
    cookie = answer.headers["set-cookie"]
    assert "secret" not in cookie
    assert {"HttpOnly", "SameSite=strict", "Secure"} <= set(cookie.split("; "))
    session = {"Cookie": cookie.split(";")[0]}
    assert api.get("/jobs", headers=session).status_code == 200
    assert api.post("/jobs", json={"function": "f"}, headers=session).status_code == 201
    assert api.get("/jobs", headers={"Cookie": "geartrain-session=forged"}).status_code == 401
    assert api.request("DELETE", "/session", headers=session).status_code == 204


def test_a_new_token_ends_the_old_sessions(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    site = start(http_token_file=str(file))
    api = site.client(headers={"X-Forwarded-For": "192.0.2.1"})
    session = {"Cookie": api.post("/session", json={"token": "old"}).headers["set-cookie"].split(";")[0]}
    file.write_text("new")
    http = site.server.job_server.http
    assert http is not None
    http.reload()
    assert api.get("/jobs", headers=session).status_code == 401
    assert api.get("/jobs", headers={"Authorization": "Bearer new"}).status_code == 200
    file.unlink()
    http.reload()  # what cannot be read changes nothing
    assert api.get("/jobs", headers={"Authorization": "Bearer new"}).status_code == 200


def test_other_doors() -> None:
    call, read, change = post("/f", b"x"), get("/metrics"), post("/_gearman/api/jobs", NEW_JOB)

    def codes(token: bytes, **settings: str) -> list[str]:
        access = Access(Config(**settings), token)  # type: ignore[arg-type]
        return [ask(access, bytes_sent, local=False) for bytes_sent in (call, read, change)]

    assert codes(b"") == ["", "NO_TOKEN", "NO_TOKEN"]
    assert codes(b"t") == ["", "TOKEN_NEEDED", "TOKEN_NEEDED"]
    assert codes(b"t", http_read="open") == ["", "", "TOKEN_NEEDED"]
    assert codes(b"t", http_read="off") == ["", "CLOSED", "TOKEN_NEEDED"]
    assert codes(b"t", http_gateway="token") == ["TOKEN_NEEDED", "TOKEN_NEEDED", "TOKEN_NEEDED"]
    assert codes(b"t", http_gateway="off") == ["CLOSED", "TOKEN_NEEDED", "TOKEN_NEEDED"]


def test_a_closed_gateway_is_closed_on_the_wire(start: Start) -> None:
    site = start(http_gateway="off")
    assert site.wire().send(post("/f", b"x", OTHER_MACHINE)).reply().status == 403
    assert site.wire().send(post("/f", b"x", "X-Gearman-Background: true")).reply().status == 200  # this machine


def test_bodies_of_the_refused_are_not_waited_for(start: Start) -> None:
    site = start(http_gateway="off")
    wire = site.wire()
    wire.send(f"POST /f HTTP/1.1\r\nHost: 127.0.0.1\r\n{OTHER_MACHINE}\r\nContent-Length: 1000000\r\n\r\n".encode())
    assert wire.reply().status == 403


@pytest.mark.parametrize("content", ["", " \n", "two words", "tökén"])
def test_a_file_without_a_usable_token_refuses_to_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(ConfigError, match="token"), Server(http=True, http_port=0, http_token_file=str(file)):
        pass


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http-token-file .*nowhere cannot be read: No such file"):
        read_token(Config(http_token_file=str(tmp_path / "nowhere")), {})


def test_http_listens_on_this_machine_alone_unless_told(start: Start) -> None:
    assert start(listen=("*:0",)).url.startswith("http://127.0.0.1:")
    assert start(http_host="0.0.0.0").url.startswith("http://0.0.0.0:")
