"""Access: who may ask for what over HTTP.

Owns the token, the hosts and origins that are trusted, and the one table of what each part of the server needs.
Every request passes `refusal` before anything else looks at it.

Two dangers, two rules. From other machines: the API's and the dashboard's changing actions need the token, and reading
and calling are as the settings say. From this machine: a web page in the user's browser, whatever site it comes from,
can reach 127.0.0.1. So the name in Host must be one of ours (a page that had its own name point here, "DNS
rebinding", asks for that name), and a browser that says where a call comes from (Origin, Sec-Fetch-Site) must say:
from here.
"""

import hmac
import os
import re
from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from geartrain.errors import ConfigError
from geartrain.http.request import OURS

if TYPE_CHECKING:
    from geartrain.http.request import Request
    from geartrain.server.config import Config

__all__ = ["COOKIE", "Access", "Need", "Refusal", "read_token"]

VARIABLE: Final = "GEARMAND_HTTP_TOKEN"
COOKIE: Final = "geartrain-session"
_READS: Final = (b"GET", b"HEAD")
_OPEN_API: Final = (OURS + b"/api/health", OURS + b"/api/session", OURS + b"/api/openapi.json")
"""What must answer before anybody has shown a token: probes, and what a dashboard asks first."""
_FORWARDED: Final = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via")
_MOST_HOSTS: Final = 1000
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+")


class Need(Enum):
    """What a request needs."""

    NOTHING = "nothing"
    READ = "read"
    CHANGE = "change"
    CALL = "call"


class Refusal(NamedTuple):
    """A request that is not allowed.

    Attributes:
        status: of HTTP.
        code: for programs.
        text: for people.
    """

    status: int
    code: str
    text: str


def read_token(config: "Config", environ: Mapping[str, str]) -> bytes:
    """The token from its file, or else from the environment. Empty for none.

    Raises:
        ConfigError: the file cannot be read, or holds no token.
    """
    path = config.http_token_file
    if path:
        try:
            token = Path(path).read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"http-token-file {path} cannot be read: {error.strerror}") from error
        where = f"http-token-file {path}"
        if not token:
            raise ConfigError(f"{where} is empty. Make a token: openssl rand -hex 32 > {path}")
    else:
        token = environ.get(VARIABLE, "").strip().encode()
        where = f"${VARIABLE}"
    if token and not _TOKEN.fullmatch(token):
        raise ConfigError(f"The token in {where} must be one line of printable ASCII without blanks.")
    return token


class Access:
    """The rules of one server.

    Args:
        config: the settings.
        token: from `read_token`.
    """

    def __init__(self, config: "Config", token: bytes) -> None:
        self._read = config.http_read
        self._gateway = config.http_gateway
        self._origins = {origin.lower().rstrip("/").encode() for origin in config.http_origins}
        names = {"localhost", os.uname().nodename.lower(), *(name.lower() for name in config.http_names)}
        names.update(host.strip().lower() for host in config.http_host.split(","))
        self._names = {name.encode() for name in names if name}
        self._hosts: dict[bytes, bool] = {}
        self.token = token

    @property
    def session(self) -> bytes:
        """What a browser shows instead of the token: worthless when the token is changed, and not the token itself."""
        return hmac.new(self.token, b"geartrain session", "sha256").hexdigest().encode() if self.token else b""

    def need(self, request: "Request") -> Need:
        """What a request needs."""
        if not request.ours:
            return Need.CALL
        name = request.function
        if request.method == b"OPTIONS":
            return Need.NOTHING
        if name == b"metrics":
            return Need.READ
        if not name.startswith(OURS + b"/api/") or name.startswith(_OPEN_API):
            return Need.NOTHING
        return Need.READ if request.method in _READS else Need.CHANGE

    def refusal(self, request: "Request", local: bool) -> Refusal | None:
        """Why a request is not allowed; None if it is.

        Args:
            request: with its headers, perhaps without its body yet.
            local: whether it came over an address that other machines cannot reach.
        """
        fields = request.fields
        host = fields.get(b"host")
        if host is None:
            if request.version != "1.0":
                return Refusal(400, "NO_HOST", "An HTTP/1.1 request needs one Host header.")
        elif not self.knows_host(host):
            return Refusal(
                403,
                "UNKNOWN_HOST",
                f"This server does not go by the name {_shown(host)}. "
                "If it should, start it with --http-names and that name.",
            )
        need = self.need(request)
        if need is Need.NOTHING and request.method in _READS:
            return None
        return self._cross_site(request, need) or self.forbids(need, request.fields, local)

    def free(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a call is allowed at a glance: no browser, a known name, and a gateway that is open to all.

        Most calls are like that; `refusal` says the same of them, and more of the others.
        """
        return (
            self._gateway == "open"
            and b"origin" not in fields
            and b"sec-fetch-site" not in fields
            and self._hosts.get(fields.get(b"host", b""), False)
        )

    def knows_host(self, host: bytes) -> bool:
        """Whether a Host header names this server. A number always does: no page's own name can be one."""
        known = self._hosts.get(host)
        if known is None:
            known = self._judge_host(host)
            if len(self._hosts) >= _MOST_HOSTS:
                self._hosts.clear()
            self._hosts[host] = known
        return known

    def _judge_host(self, host: bytes) -> bool:
        name = _without_port(host.lower()).removesuffix(b".")
        if b"*" in self._names or name in self._names or name.endswith(b".localhost"):
            return True
        try:
            ip_address(name.removeprefix(b"[").decode("ascii"))
        except ValueError:
            return False
        return True

    def _cross_site(self, request: "Request", need: Need) -> Refusal | None:
        """A page of another site must not call, and not read either, but a link from there may be followed."""
        fields = request.fields
        origin = fields.get(b"origin")
        if origin is not None:
            origin = origin.lower()
            if origin in self._origins:
                return None
            host = fields.get(b"host", b"").lower()
            if host and origin.partition(b"://")[2] == host:
                return None
            return Refusal(
                403,
                "OTHER_ORIGIN",
                f"A page from {_shown(origin)} may not call this server. Start it with --http-origins to allow that.",
            )
        site = fields.get(b"sec-fetch-site", b"none").lower()
        if site in (b"none", b"same-origin"):
            return None
        if need is not Need.CALL and request.method in _READS and fields.get(b"sec-fetch-mode") == b"navigate":
            return None
        return Refusal(403, "OTHER_ORIGIN", "A page of another site may not call this server.")

    def allows_origin(self, origin: bytes) -> bool:
        """Whether pages of another site may read the answers (CORS)."""
        return origin.lower() in self._origins

    def forbids(self, need: Need, fields: Mapping[bytes, bytes], local: bool) -> Refusal | None:
        """Why a need is not met by what the headers show; None if it is. A proxy's headers mean another machine."""
        local = local and not any(name in fields for name in _FORWARDED)
        door = "token"
        if need is Need.NOTHING:
            door = "open"
        elif need is Need.CALL:
            door = "open" if local else self._gateway
        elif need is Need.READ:
            door = "open" if local else self._read
        elif local and not self.token:
            door = "open"
        if door == "open" or (door == "token" and self.shown(fields)):
            return None
        if door == "off":
            return Refusal(403, "CLOSED", "This is closed for other machines (--http-read, --http-gateway).")
        if not self.token:
            return Refusal(
                403,
                "NO_TOKEN",
                "From other machines this needs a token, and the server has none. "
                f"Start it with --http-token-file, or with the token in ${VARIABLE}.",
            )
        return Refusal(401, "TOKEN_NEEDED", "This needs the server's token: send Authorization: Bearer and the token.")

    def shown(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether the headers show the token or a session made with it."""
        if not self.token:
            return False
        scheme, _, given = fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and self.is_token(given.strip()):
            return True
        cookie = _cookie(fields.get(b"cookie", b""))
        return bool(cookie) and hmac.compare_digest(cookie, self.session)

    def is_token(self, given: bytes) -> bool:
        """Compares in a time that says nothing of how much was right."""
        return bool(self.token) and hmac.compare_digest(given, self.token)


def _without_port(host: bytes) -> bytes:
    if host.startswith(b"["):
        return host.partition(b"]")[0] if b"]" in host else b""
    return host.partition(b":")[0]


def _cookie(header: bytes) -> bytes:
    for pair in header.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == COOKIE.encode():
            return value
    return b""


def _shown(name: bytes) -> str:
    return name[:100].decode("ascii", "backslashreplace")
