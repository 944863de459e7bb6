"""`geartrain top` on a terminal."""

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from geartrain import Client
from geartrain.cli.http_source import HttpSource, guess, parse_url
from geartrain.cli.snapshot import Look, Source, TextSource
from geartrain.client.address import Server as Address
from geartrain.client.tls import Tls
from geartrain.errors import ConfigError, GeartrainError, RemoteProtocolError, ServerError
from geartrain.protocol.commands import Command
from geartrain.testing import Server as OwnServer
from tests.http.tools import Site

from .programs import GEARTRAIN, Outcome, Server, free_port, run, start_server, wait_until
from .terminal import Terminal

Geartrain = Callable[..., Outcome]


@pytest.fixture
def top(server: Server, terminal: Callable[..., Terminal]) -> Callable[..., Terminal]:
    def call(*words: str, **more: object) -> Terminal:
        return terminal([*GEARTRAIN, "top", "-s", server.address, "--interval", "100ms", *words], lines=60, **more)

    return call


def test_functions_and_a_warning(geartrain: Geartrain, top: Callable[..., Terminal], function: str) -> None:
    screen = top()
    screen.wait_for("text protocol")
    geartrain("submit", function, "x", "-b")
    geartrain("submit", function, "x", "-b", "--priority", "high")
    screen.wait_for(function)
    screen.wait_for("CHANGE/S")
    screen.wait_for("no worker: ")
    screen.press("q")
    assert screen.wait() == 0
    assert screen.restored()


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_other_ways_out(top: Callable[..., Terminal], how: str) -> None:
    screen = top()
    screen.wait_for("q quit")
    if how == "ctrl-c":
        screen.press("\x03")
    else:
        screen.process.send_signal(signal.SIGTERM)
    assert screen.wait() == 0
    assert screen.restored()
    assert "Traceback" not in screen.text


def test_sorting_and_a_narrow_window(geartrain: Geartrain, top: Callable[..., Terminal], function: str) -> None:
    geartrain("submit", function, "x", "-b")
    screen = top()
    screen.wait_for("sorted by waiting")
    screen.press("n")
    screen.wait_for("sorted by name")
    screen.wait_for("NORMAL")
    screen.resize(20, 60)
    screen.forget()
    screen.wait_for("WAITING")
    screen.press("q")
    assert screen.wait() == 0


def test_more_functions_than_lines(
    gearman: Callable[..., Outcome], terminal: Callable[..., Terminal], server: Server, function: str
) -> None:
    """The last line stays in the window, whatever is above it; keys lead to the rest."""
    names = [word for number in range(40) for word in ("-f", f"{function}-with-a-long-name-{number:02}")]
    assert gearman("-b", *names, "x").status == 0
    screen = terminal([*GEARTRAIN, "top", "-s", server.address], lines=20, columns=70)
    screen.wait_for("functions 1-15 of ")
    screen.wait_for("q quit")
    for keys, shown in (
        ("\x1b[B", "2-16"),
        ("\x1b[6~", "17-31"),
        ("\x1b[A\x1b[A", "15-29"),
        ("\x1bOH", "1-15"),
        ("\x1b[5~", "1-15"),
    ):
        screen.forget()
        screen.press(keys)
        screen.wait_for(f"functions {shown} of ")
    screen.forget()
    screen.press("\x1b[F")
    wait_until(lambda: re.search(r"functions \d+-(\d+) of \1\b", screen.text), "the last functions")
    screen.press("q")
    assert screen.wait() == 0


def test_two_servers_and_one_that_goes_away(top: Callable[..., Terminal]) -> None:
    other = start_server("debian")
    try:
        screen = top("-s", other.address)
        screen.wait_for(f"{other.address}  version 1.1")
    finally:
        other.program.kill()
    screen.wait_for(f"{other.address}: ")
    assert screen.process.poll() is None
    screen.press("q")
    assert screen.wait() == 0


def test_no_terminal() -> None:
    done = run([*GEARTRAIN, "top", "-s", f"127.0.0.1:{free_port()}"])
    assert done.status == 2
    assert "needs a terminal" in done.said


def test_the_extra_is_missing(tmp_path: Path) -> None:
    """rich is hidden from the program as a missing package would be."""
    script = "import sys; sys.modules['rich'] = None; from geartrain.cli.geartrain import main; sys.exit(main(['top']))"
    done = run([sys.executable, "-c", script])
    assert done.status == 2
    assert "pip install 'geartrain[top]'" in done.said


# Over HTTP.


@pytest.fixture
def site() -> Iterator[Site]:
    """Our server with HTTP and a token, in this process."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("GEARMAND_HTTP_TOKEN", "open-sesame")
        yield Site(stack.enter_context(OwnServer(http=True, http_port=0)), stack)


@contextmanager
def proxy(site: Site) -> Iterator[str]:
    """Another machine, as far as the server can tell: what is forwarded needs the token. Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            link = HTTPConnection("127.0.0.1", site.port, timeout=10)
            link.request(self.command, self.path, headers={**self.headers, "X-Forwarded-For": "192.0.2.1"})
            answer = link.getresponse()
            body = answer.read()
            link.close()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_OPTIONS = do_GET

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def http(url: str, token: str = "", guessed: Address | None = None) -> HttpSource:
    return HttpSource("queue", parse_url(url), token, Tls(), 10.0, guessed)


def look(source: HttpSource) -> Look:
    try:
        return source.look()
    finally:
        source.close()


def test_more_over_http(site: Site, terminal: Callable[..., Terminal]) -> None:
    worker = site.worker(b"resize")
    worker.send((Command.SET_CLIENT_ID, b"carl"))
    with Client(site.server.address) as client:
        for _ in range(3):
            client.submit("resize", b"x", background=True)
        worker.complete(worker.take(), b"")
        job = worker.take()
        worker.send((Command.WORK_STATUS, job.handle, b"1", b"4"))
        words = ["-s", site.server.address, "--http", site.url, "-i", "100ms"]
        screen = terminal([*GEARTRAIN, "top", *words], lines=30, columns=120)
        for text in ("geartrain ", site.url.rstrip("/"), "queue in memory", "1 completed", "RUN P99", "DONE/S"):
            screen.wait_for(text)
        for text in ("RUNNING JOB", job.handle.decode(), "carl", "25%"):
            screen.wait_for(text)
        assert "text protocol" not in screen.text
        screen.press("d")
        screen.wait_for("sorted by done")
        screen.press("q")
        assert screen.wait() == 0


def test_rates_and_latencies(site: Site) -> None:
    worker = site.worker(b"resize")
    source = http(site.url)
    with Client(site.server.address) as client:
        client.submit("resize", b"x", background=True)
        worker.complete(worker.take(), b"")
        wait_until(lambda: source.look().rows[0].detail.ran_p50, "the first job's end")
        (row,) = look(source).rows
        assert row.detail is not None
        assert row.detail.done is not None
        (row,) = source.look().rows  # the first look of a new connection
        assert row.detail is not None
        assert (row.detail.done, row.change) == (None, None)
        for end in (worker.complete, lambda job, _: worker.fail(job)):
            client.submit("resize", b"x", background=True)
            end(worker.take(), b"")
        client.submit("resize", b"x", background=True)
        wait_until(lambda: site.server.job_server.engine.functions[b"resize"].stats.failed, "the failure")
        (row,) = look(source).rows
        assert row.detail is not None
        assert row.detail.done > 0
        assert row.detail.failed > 0
        assert row.detail.waited_p99 > 0
        assert row.detail.oldest >= 0
        assert (row.waiting, row.running, row.workers) == (1, 0, 1)


def test_the_token(site: Site) -> None:
    with proxy(site) as url:
        with pytest.raises(ServerError, match="needs a token; give it in"):
            look(http(url))
        with pytest.raises(ServerError, match="refuses this token"):
            look(http(url, "abracadabra"))
        assert look(http(url, "open-sesame")).state.way == url
        # To an address that was guessed it goes only when asked for.
        assert look(http(url, "open-sesame", Address("127.0.0.1", site.server.port))).state.way == url


def test_a_token_from_a_file(site: Site, terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("open-sesame\n")
    with proxy(site) as url:
        words = ["-s", site.server.address, "--http", url, "-i", "100ms"]
        screen = terminal([*GEARTRAIN, "top", *words, "--token-file", str(file)])
        screen.wait_for("queue in memory")
        screen.press("q")
        assert screen.wait() == 0
        screen = terminal([*GEARTRAIN, "top", *words], columns=200)
        screen.wait_for("text protocol; TOKEN_NEEDED: ")
        screen.press("q")
        assert screen.wait() == 0


def test_a_guessed_address_of_another_server(site: Site) -> None:
    """Two servers on one machine, and the HTTP of the other at the usual port."""
    assert look(http(site.url, guessed=Address("localhost", site.server.port))).rows == ()
    with pytest.raises(RemoteProtocolError, match="another server's"):
        look(http(site.url, guessed=Address("localhost", free_port())))


def test_the_text_protocol_where_http_does_not_answer(site: Site) -> None:
    text = TextSource(Address("127.0.0.1", site.server.port), Tls(), 10.0)
    source = Source(text, http(f"http://127.0.0.1:{free_port()}"))
    try:
        state = source.look().state
    finally:
        source.close()
    assert state.way.startswith("text protocol; no HTTP at http://127.0.0.1:")
    assert not state.error


def test_what_is_no_http_of_ours(site: Site) -> None:
    """The Gearman port speaks no HTTP; and below another path a geartrain server has no snapshot."""
    with pytest.raises(GeartrainError):
        look(http(f"http://127.0.0.1:{site.server.port}"))
    with pytest.raises(GeartrainError, match="has no API; write http://127"):
        look(http(f"{site.url}dashboard"))
    assert not site.server.job_server.engine.functions


def test_the_c_servers_http_gets_no_job() -> None:
    """It takes any GET for one, and 8080 is its port too."""
    port = free_port()
    server = start_server("debian", "--protocol=http", f"--http-port={port}")
    try:
        for guessed in (None, Address("127.0.0.1", server.port)):
            with pytest.raises(GeartrainError, match="no HTTP at"):
                look(http(f"http://127.0.0.1:{port}", guessed=guessed))
        assert server.ask("status") == []
    finally:
        server.program.kill()


def test_the_server_comes_back(terminal: Callable[..., Terminal]) -> None:
    """While it is away the screen says so; when it is back, so is HTTP, at once and with rates that start anew."""
    with ExitStack() as stack:
        ports = {"port": free_port(), "http_port": free_port()}
        server = stack.enter_context(OwnServer(http=True, **ports))
        words = ["-s", server.address, "--http", f"127.0.0.1:{ports['http_port']}", "-i", "100ms"]
        screen = terminal([*GEARTRAIN, "top", *words], columns=150)
        screen.wait_for("queue in memory")
        server.stop()
        screen.wait_for("; no HTTP at http://127.0.0.1:")
        screen.forget()
        server.start()
        screen.wait_for("queue in memory")
        screen.press("q")
        assert screen.wait() == 0


def test_names_do_not_steer_the_terminal(site: Site, terminal: Callable[..., Terminal]) -> None:
    with Client(site.server.address) as client:
        client.submit(b"evil\x1b[31mname", b"x", background=True)
    for way in (site.url, "off"):
        screen = terminal([*GEARTRAIN, "top", "-s", site.server.address, "--http", way], columns=120)
        screen.wait_for("evil\\x1b[31mname")
        assert "evil\x1b" not in screen.raw
        screen.press("q")
        assert screen.wait() == 0


def test_urls() -> None:
    assert str(parse_url("queue:8080")) == "http://queue:8080"
    assert str(parse_url("https://queue.example.org/gearman/")) == "https://queue.example.org:443/gearman"
    assert str(parse_url("http://[::1]:8080/_gearman/")) == "http://[::1]:8080"
    assert str(guess(Address("queue", 4731))) == "http://queue:8080"
    for text in ("ftp://queue", "http://", "http://me:secret@queue", "queue:port"):
        with pytest.raises(ConfigError, match="--http"):
            parse_url(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-s", "a,b", "--http", "http://a:8080"], "given 1 times for 2 servers"),
        (["--token-file", "/no/such/file"], "cannot be read"),
    ],
)
def test_wrong_words(terminal: Callable[..., Terminal], words: list[str], said: str) -> None:
    screen = terminal([*GEARTRAIN, "top", *words])
    screen.wait_for(said)
    assert screen.wait() == 2


def test_two_tables_that_scroll(site: Site, terminal: Callable[..., Terminal]) -> None:
    """Tab chooses which of them the keys move."""
    workers = [site.worker(b"resize") for _ in range(12)]
    with Client(site.server.address) as client:
        for number in range(12):
            client.submit("resize", b"x", background=True)
            client.submit(f"report-{number}", b"x", background=True)
        for worker in workers:
            worker.take()
        words = ["-s", site.server.address, "--http", site.url, "-i", "100ms"]
        screen = terminal([*GEARTRAIN, "top", *words], lines=20, columns=100)
        screen.wait_for("functions 1-8 of 13")
        screen.wait_for("running jobs 1-4 of 12")
        screen.press("\t\x1b[B")
        screen.wait_for("running jobs 2-5 of 12")
        screen.press("\t\x1b[6~")
        screen.wait_for("functions 6-13 of 13")
        screen.press("q")
        assert screen.wait() == 0
