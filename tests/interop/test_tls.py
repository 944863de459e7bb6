"""TLS: other people's libraries and tools over our server.

Debian builds gearmand, libgearman and the tools without TLS: with `--ssl` and `-S` they talk in plain text and say
nothing. So there is no oracle here, and Debian's tools come through a tunnel, as people put stunnel before them.
"""

import contextlib
import dataclasses
import importlib.util
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.services import free_port, wait_until

from .conftest import Run, Spawn
from .languages import perl, python
from .programs import Program, compiled, find
from .servers import Server, resident_kib, start

pytestmark = pytest.mark.timeout(40)


@dataclasses.dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one authority: the server's and a client's certificate, and those of a stranger's authority."""

    folder: Path

    def options(self, server: str = "server") -> list[str]:
        """What the server is started with."""
        names = {"ca-file": "ca.pem", "certificate": f"{server}.pem", "key": f"{server}.key"}
        return ["--ssl", *(f"--ssl-{option}={self.folder / name}" for option, name in names.items())]

    def environment(self, client: str = "client") -> dict[str, str]:
        """What gearman's tools, and our guests, take from the environment."""
        return {
            "GEARMAND_CA_CERTIFICATE": str(self.folder / "ca.pem"),
            "GEARMAN_CLIENT_PEM": str(self.folder / f"{client}.pem"),
            "GEARMAN_CLIENT_KEY": str(self.folder / f"{client}.key"),
        }

    def context(self, client: str | None = "client") -> ssl.SSLContext:
        """A client's context, with a certificate or without."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if client is not None:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        return context

    def issue(self, authority: trustme.CA, name: str, *identities: str) -> None:
        certificate = authority.issue_cert(*identities)
        certificate.private_key_pem.write_to_path(self.folder / f"{name}.key")
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.folder / f"{name}.pem").write_bytes(chain)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificates(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    authority.cert_pem.write_to_path(made.folder / "ca.pem")
    made.issue(authority, "server", "localhost", "127.0.0.1")
    made.issue(authority, "client", "client@example.org")
    made.issue(trustme.CA(), "stranger", "client@example.org")
    return made


@pytest.fixture
def launch(certificates: Certificates) -> Iterator[object]:
    """Starts our server with TLS; it ends with the test."""
    with contextlib.ExitStack() as started:

        def launch(*options: str) -> Server:
            server = start("geartrain", [*certificates.options(), *options], tls=certificates.context())
            started.callback(server.process.close)
            return server

        yield launch


@pytest.fixture(params=[(), ("--ssl-verify-client",)], ids=["any-client", "known-clients"])
def server(request: pytest.FixtureRequest, launch) -> Server:
    """Our server with TLS, without and with the demand for a client's certificate."""
    return launch(*request.param)


class TestLibraries:
    """Client and worker of each library that speaks TLS."""

    @pytest.mark.parametrize("library", ["perl", "gear", "pygearman", "libgearman"])
    def test_a_job_there_and_back(self, spawn: Spawn, run: Run, server, certificates, library):
        worker, call = _commands(library, server.address)
        environment = certificates.environment()
        program = spawn([*worker, "reverse"], **environment)
        server.wait_for_workers("reverse", 1, program)
        words = ["normal", "", "reverse=Hello"] if library in ("gear", "pygearman") else ["reverse", "Hello"]
        done = run([*call, *words], **environment)
        assert done.lines[-1].endswith("olleH"), done

    @pytest.mark.parametrize("library", ["perl", "gear", "pygearman"])
    def test_a_large_workload(self, spawn: Spawn, run: Run, server, certificates, library):
        worker, call = _commands(library, server.address)
        environment = certificates.environment()
        program = spawn([*worker, "reverse"], **environment)
        server.wait_for_workers("reverse", 1, program)
        text = "x" * 100_000
        words = ["normal", "", f"reverse={text}"] if library in ("gear", "pygearman") else ["reverse", text]
        done = run([*call, *words], **environment)
        assert done.lines[-1].endswith(text), done

    @pytest.mark.parametrize("library", ["perl", "gear"])
    def test_a_stranger_is_not_served(self, run: Run, launch, certificates, library):
        server = launch("--ssl-verify-client")
        _, call = _commands(library, server.address)
        words = ["normal", "", "reverse=Hello"] if library == "gear" else ["-t", "2", "reverse", "Hello"]
        if library == "perl":
            call, words = [*call[:-1], "-t", "2", call[-1]], ["reverse", "Hello"]
        done = run([*call, *words], **certificates.environment("stranger"))
        assert b"olleH" not in done.output
        assert server.status() == {}


def _commands(library: str, address: str) -> tuple[list[str], list[str]]:
    """The command lines of a library's worker and caller, up to their servers."""
    if library == "libgearman":
        _need_tls_in_libgearman()
        return [compiled("worker"), address], [compiled("call"), address]
    if library == "perl":
        perl("call", "IO::Socket::SSL")
        return [*perl("worker"), address], [*perl("call"), address]
    return [*python(library), "worker", address], [*python(library), "call", address]


def _need_tls_in_libgearman() -> None:
    linked = subprocess.run(["ldd", compiled("call")], capture_output=True, text=True, check=True).stdout
    library = next(line.split()[2] for line in linked.splitlines() if "libgearman" in line)
    linked = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    if "libssl" not in linked and "libcyassl" not in linked and "libwolfssl" not in linked:
        pytest.skip("this libgearman was built without TLS, as Debian's is")


class TestDebiansTools:
    def test_through_a_tunnel(self, spawn: Spawn, run: Run, server, certificates):
        port = _tunnel(spawn, server, certificates)
        base = ["-h", "127.0.0.1", "-p", str(port)]
        program = spawn([find("gearman"), *base, "-w", "-f", "rev", "--", find("rev")])
        server.wait_for_workers("rev", 1, program)
        assert run([find("gearman"), *base, "-f", "rev", "Hello"]).output == b"olleH"
        assert "rev\t0\t0\t1" in run([find("gearadmin"), *base, "--status"]).lines

    def test_they_do_not_reach_a_tls_port_in_plain_text(self, run: Run, server):
        base = ["-h", "127.0.0.1", "-p", str(server.port)]
        done = run([find("gearman"), *base, "-t", "2000", "-f", "rev", "Hello"])
        assert done.output == b""
        assert b"LOST_CONNECTION" in done.errors
        assert server.status() == {}

    def test_gearmand_with_ssl_speaks_plain_text(self, certificates):
        # This is why there is no oracle. If it fails, Debian has built its gearmand with TLS: compare with it then.
        with contextlib.ExitStack() as started:
            gearmand = start("gearmand", certificates.options())
            started.callback(gearmand.process.close)
            assert gearmand.tell("version").startswith("OK ")


def _tunnel(spawn: Spawn, server: Server, certificates: Certificates) -> int:
    """A plain port that leads to the server's TLS port, with a client's certificate."""
    port = free_port()
    folder = certificates.folder
    files = f"cafile={folder}/ca.pem,cert={folder}/client.pem,key={folder}/client.key"
    spawn(
        [find("socat"), f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"OPENSSL:127.0.0.1:{server.port},{files}"]
    )

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(listens, "the tunnel")
    return port


class TestOpenssl:
    """What any TLS client sees, with openssl as the one that says most."""

    @pytest.fixture
    def s_client(self, spawn: Spawn, server: Server, certificates: Certificates):
        def s_client(*options: str) -> Program:
            files = ["-CAfile", "ca.pem", "-cert", "client.pem", "-key", "client.key"]
            paths = [word if word.startswith("-") else str(certificates.folder / word) for word in files]
            argv = [find("openssl"), "s_client", "-connect", server.address, "-quiet", "-verify_return_error"]
            return spawn([*argv, *paths, *options], stdin=b"version\n")

        return s_client

    def test_text_commands(self, s_client):
        program = s_client()
        wait_until(lambda: program.output().startswith(b"OK "), "the server's version")

    def test_old_versions_are_refused(self, s_client):
        done = s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0").finish()
        assert done.code != 0
        assert done.output == b""


class TestClientCertificates:
    @pytest.mark.parametrize("client", [None, "stranger"])
    def test_without_a_good_one_nothing_is_answered(self, launch, certificates, client):
        server = launch("--ssl-verify-client")
        context = certificates.context(client)

        def talk() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as connection,
            ):
                connection.sendall(b"version\n")
                return connection.recv(100)

        with pytest.raises((ssl.SSLError, ConnectionError)):  # with TLS 1.3 the refusal comes at the first read
            talk()
        assert server.tell("version").startswith("OK ")

    def test_nobody_is_asked_without_the_option(self, launch, certificates):
        server = launch()
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
            certificates.context(None).wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"version\n")
            assert connection.recv(100).startswith(b"OK ")


def test_new_certificates_on_sighup(authority, certificates, tmp_path):
    own = Certificates(tmp_path)
    shutil.copy(certificates.folder / "ca.pem", tmp_path)
    own.issue(authority, "server", "localhost", "127.0.0.1")
    with contextlib.ExitStack() as started:
        server = start("geartrain", own.options(), tls=own.context(None))
        started.callback(server.process.close)

        def serial() -> object:
            with server.connection() as connection:
                assert isinstance(connection, ssl.SSLSocket)
                return (connection.getpeercert() or {})["serialNumber"]

        with server.connection() as older:
            before = serial()
            own.issue(authority, "server", "localhost", "127.0.0.1")
            assert serial() == before
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: serial() != before, "the new certificate")
            older.sendall(b"version\n")  # who was there stays
            assert older.recv(100).startswith(b"OK ")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_memory_stays_over_many_connections(launch, certificates, request, loop):
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed: pip install 'geartrain[fast]'")
    slow = request.config.getoption("--slow", default=False)
    count = 20_000 if slow else 1_000
    server = launch(f"--loop={loop}")
    context = certificates.context(None)

    def connect(number: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = context.wrap_socket(raw, server_hostname="localhost")
            connection.sendall(b"version\n")
            assert connection.recv(100).startswith(b"OK ")
            if number % 2:  # one half says goodbye, the other just goes
                with contextlib.suppress(OSError):
                    connection.unwrap()
            connection.close()

    warm = count // 4
    for number in range(warm):
        connect(number)
    before = resident_kib(server)
    for number in range(count - warm):
        connect(number)
    wait_until(lambda: len(server.ask("workers")) == 1, "all connections are gone")
    grown = resident_kib(server) - before
    per_connection = grown * 1024 / (count - warm)
    assert grown < 4096, f"{grown} KiB more after {count - warm} connections: {per_connection:.0f} bytes each"


def test_our_own_tools_speak_it_too(spawn: Spawn, run: Run, server, certificates):
    environment = certificates.environment()
    gearman = [sys.executable, "-m", "geartrain.cli.gearman", "-S", "-h", "localhost", "-p", str(server.port)]
    program: Program = spawn([*gearman, "-w", "-f", "rev", "--", find("rev")], **environment)
    server.wait_for_workers("rev", 1, program)
    assert run([*gearman, "-f", "rev", "Hello"], **environment).output == b"olleH"
    gearadmin = [sys.executable, "-m", "geartrain.cli.gearadmin", "-S", "-h", "localhost", "-p", str(server.port)]
    assert "rev\t0\t0\t1" in run([*gearadmin, "--status"], **environment).lines
