"""A server's snapshot over HTTP, as its dashboard has it.

Owns where a server's HTTP may be, when the token is shown, and how the API's snapshot becomes rows. Uses the standard
library alone. The snapshot's names are http/snapshot.py's.
"""

import json
import os
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from geartrain.cli.snapshot import Detail, Job, Look, Row, ServerState
from geartrain.cli.spans import span
from geartrain.client.address import Server
from geartrain.client.tls import Tls
from geartrain.errors import ConfigError, ConnectionLost, RemoteProtocolError, RequestTimeout, ServerError

__all__ = ["HttpSource", "Url", "guess", "parse_url", "read_token"]

VARIABLE: Final = "GEARMAND_HTTP_TOKEN"
_PORT: Final = 8080
_PATH: Final = "/_gearman/api/snapshot"
_MOST: Final = 256 << 20
"""Bytes of an answer: 1,000 functions are half a megabyte."""


class Url(NamedTuple):
    """Where a server's HTTP is."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def address(self) -> str:
        """Host and port."""
        return str(Server(self.host, self.port))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}{self.path}"


def parse_url(text: str) -> Url:
    """Reads ``http://host:port``, ``https://host/path`` or ``host:port``.

    Raises:
        ConfigError: it has none of these forms.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--http {text}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(f"--http {text}: write http://HOST:PORT, for example http://127.0.0.1:8080")
    path = parts.path.rstrip("/").removesuffix("/_gearman")  # the dashboard's own address is what people copy
    return Url(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), path)


def guess(server: Server) -> Url:
    """Where a server's HTTP is if nobody chose another place."""
    return Url("http", server.host or "127.0.0.1", _PORT)


def read_token(path: str | None) -> str:
    """The token from its file, or else from GEARMAND_HTTP_TOKEN; empty for none.

    Raises:
        ConfigError: the file cannot be read, or holds none; or it cannot stand in a header.
    """
    try:
        token = os.environ.get(VARIABLE, "") if path is None else Path(path).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"--token-file {path} cannot be read: {reason}") from error
    token = token.strip()
    if (path is not None and not token) or not token.isascii() or not token.isprintable() or " " in token:
        where = f"${VARIABLE}" if path is None else f"--token-file {path}"
        raise ConfigError(f"{where}: a token is one line of printable ASCII without blanks")
    return token


class HttpSource:
    """Asks one server over HTTP, on one connection that is kept.

    Args:
        name: what the server is called on the screen.
        url: where its HTTP is.
        token: empty for none.
        tls: whose authorities count for https.
        timeout: seconds for each answer.
        guessed: the Gearman server in question, where nobody named the URL: then the answer must come from that
            server, and the token is shown only to one who asks for it as ours does. None for a URL that a user chose.
    """

    def __init__(
        self, name: str, url: Url, token: str, tls: Tls, timeout: float, guessed: Server | None = None
    ) -> None:
        self._name = name
        self._url = url
        self._token = token
        self._guessed = guessed
        self._shows = guessed is None and bool(token)
        if url.scheme == "https":
            context = tls.context() or ssl.create_default_context()
            self._connection: HTTPConnection = HTTPSConnection(url.host, url.port, timeout=timeout, context=context)
        else:
            self._connection = HTTPConnection(url.host, url.port, timeout=timeout)
        self._before: dict[str, tuple[int, int, int]] = {}
        self._uptime: float | None = None
        self._known = False
        self._server = ""

    def look(self) -> Look:
        """The server now. See `Eye`."""
        if not self._known:
            self._knock()
        status, body = self._ask()
        if status == 401 and self._token and not self._shows and _code(body) == "TOKEN_NEEDED":
            self._shows = True
            status, body = self._ask()
        if status != 200:
            raise self._refusal(status, body)
        try:
            return self._read(json.loads(body))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RemoteProtocolError(f"{self._url} is not the HTTP of a geartrain server") from error

    def close(self) -> None:
        """Ends the connection. The next look is a first one."""
        self._uptime = None
        self._known = False
        self._connection.close()

    def _knock(self) -> None:
        """The C gearmand's HTTP takes every GET for a job: a request that is none there comes first."""
        status, body = self._ask("OPTIONS")
        if self._guessed is not None and status != 204:
            raise self._refusal(status, body)
        if status == 405 and "geartrain" in self._server:  # without a proxy in front, a longer path is a function's
            raise RemoteProtocolError(f"{self._url} has no API; write {self._url._replace(path='')}")
        self._known = True

    def _ask(self, method: str = "GET") -> tuple[int, bytes]:
        headers = {"Accept": "application/json"}
        if self._shows:
            headers["Authorization"] = f"Bearer {self._token}"
        for again in (self._connection.sock is not None, False):
            try:
                self._connection.request(method, self._url.path + _PATH, headers=headers)
                answer = self._connection.getresponse()
                body = answer.read(_MOST)
            except TimeoutError as error:
                self._connection.close()
                raise RequestTimeout(f"no answer from {self._url} in {self._connection.timeout:g} s") from error
            except (OSError, HTTPException) as error:
                self._connection.close()
                if not again:  # a kept connection may have been ended meanwhile: that says nothing of the server
                    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                    raise ConnectionLost(f"no HTTP at {self._url}: {reason}") from error
            else:
                self._server = answer.getheader("Server", "")
                return answer.status, body
        raise AssertionError  # the last round returns or raises

    def _refusal(self, status: int, body: bytes) -> Exception:
        code = _code(body)
        if code is None:
            return RemoteProtocolError(f"{self._url} is not the HTTP of a geartrain server (status {status})")
        if code == "TOKEN_NEEDED":
            what = "refuses this token" if self._shows else "needs a token"
            return ServerError(code, f"{self._url} {what}; give it in ${VARIABLE} or with --token-file")
        return ServerError(code, f"{self._url}: {json.loads(body)['error'].get('message', '')}")

    def _read(self, data: dict[str, Any]) -> Look:
        about = data["server"]
        if self._guessed is not None and not _is(self._guessed, about["addresses"]):
            raise RemoteProtocolError(f"{self._url} is another server's; name this one's with --http")
        uptime = float(about["uptime"])
        # By the server's own clock. A server that was started anew counts from 0: that is a first look again.
        elapsed = None if self._uptime is None or uptime <= self._uptime else uptime - self._uptime
        rows, counts = [], {}
        for function in data["functions"]:
            now = (function["completed"], function["failed"], function["total"])
            counts[function["name"]] = now
            rows.append(self._row(function, now, elapsed))
        self._before, self._uptime = counts, uptime
        jobs = tuple(
            Job(
                self._name, job["handle"], job["function"], job["worker"].strip("-") or job["address"],
                job["since"], job["numerator"], job["denominator"],
            )
            for job in data["running"]
        )  # fmt: skip
        facts = (f"up {span(uptime)}", _store(data["store"]), _totals(data["totals"]))
        state = ServerState(
            self._name, f"geartrain {about['version']}", about["connections"], data["totals"]["workers"], facts,
            str(self._url), _trouble(about, data["store"]),
        )  # fmt: skip
        return Look(state, tuple(rows), jobs)

    def _row(self, function: dict[str, Any], now: tuple[int, int, int], elapsed: float | None) -> Row:
        name = function["name"]
        done = failed = change = None
        if elapsed is not None:
            before = self._before.get(name, (0, 0, 0))
            # Below 0 where a function was dropped and made anew.
            done, failed = (max(0, new - old) / elapsed for new, old in zip(now[:2], before[:2], strict=True))
            change = (now[2] - before[2]) / elapsed
        detail = Detail(
            done, failed, function["delayed"], function["oldest"], function["waited_p50"], function["waited_p99"],
            function["ran_p50"], function["ran_p99"],
        )  # fmt: skip
        high, normal, low = function["waiting"]
        return Row(
            self._name, name, high + normal + low, high, normal, low, function["running"], function["workers"], change,
            detail,
        )  # fmt: skip


def _is(server: Server, addresses: list[str]) -> bool:
    """Whether a server that listens there may be this one. By port: a name has many addresses."""
    if server.path:
        return any(address.endswith(server.path) for address in addresses)
    return any(address.rpartition(":")[2] == str(server.port) for address in addresses)


def _code(body: bytes) -> str | None:
    """The API's word for an error; None where the answer is not the API's."""
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        return None
    return code if isinstance(code, str) else None


def _totals(totals: dict[str, Any]) -> str:
    return (
        f"{totals['waiting']} waiting  {totals['delayed']} delayed  {totals['running']} running  "
        f"{totals['completed']} completed  {totals['failed']} failed"
    )


def _store(store: dict[str, Any]) -> str:
    if not store["durable"]:
        return "queue in memory"
    commit = "" if store["commit_p99"] is None else f"  commit p99 {span(store['commit_p99'])}"
    return f"store {store['type']}  {store['unsettled']} unsettled{commit}"


def _trouble(about: dict[str, Any], store: dict[str, Any]) -> str:
    found = [f"store down: {store['down']}"] if store["down"] else []
    found += ["is about to stop"] if about["draining"] else []
    found += ["loads stored jobs"] if about["replaying"] else []
    return ", ".join(found)
