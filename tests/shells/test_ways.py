"""The ways to a server: TCP over IPv4 and IPv6, unix sockets, TLS; and that TLS never becomes plain text."""

import contextlib
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from geartrain import AdminClient, ConfigError, Job, NoServersAvailable
from geartrain.errors import ConnectionLost
from geartrain.testing import Server

from .conftest import World
from .fakes import Peer, Scripted
from .worlds import PATIENCE


def reverse(job: Job) -> bytes:
    return job.workload[::-1]


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def both_ways(world: World, server: Server, function: str, **tls: object) -> None:
    """A job there and back, and a look at the server, by the server's first address."""
    with world.worker(server.address, **tls) as worker, world.client(server.address, **tls) as client:
        worker.register(function, reverse)
        assert client.do(function, b"abc" * 100_000) == b"cba" * 100_000
    with AdminClient(server.address, **tls) as admin:  # type: ignore[arg-type]
        assert function in {status.function for status in admin.status()}


def test_unix_sockets(world: World, function: str, tmp_path: Path) -> None:
    with Server(listen=(f"unix:{tmp_path / 'g.sock'}",)) as server:
        assert server.address == f"unix:{tmp_path / 'g.sock'}"
        both_ways(world, server, function)


def test_ipv6(world: World, function: str) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with Server(listen=("[::1]:0",)) as server:
        assert server.address.startswith("[::1]:")
        both_ways(world, server, function)


def test_names_are_looked_up(world: World, function: str) -> None:
    with Server() as server, world.client(f"localhost:{server.port}") as client:
        assert client.echo(b"x") == b"x"
    with (
        world.client("no-such-host.invalid", connect_timeout=5) as client,
        pytest.raises(NoServersAvailable, match=r"no-such-host\.invalid:4730"),
    ):
        client.echo()


class Certificates:
    """An authority, and what it signed, as files."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.server = self.issue(folder, "server", "localhost", "127.0.0.1")
        self.client = self.issue(folder, "client", "client@example.org")

    def issue(self, folder: Path, name: str, *identities: str) -> dict[str, str]:
        issued = self.authority.issue_cert(*identities)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return {"ssl_certificate": str(certificate), "ssl_key": str(key)}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_tls(world: World, function: str, certificates: Certificates) -> None:
    with Server(ssl=True, **certificates.server) as server:
        both_ways(world, server, function, ssl_ca_file=certificates.ca)


def test_tls_with_a_context_of_ones_own(world: World, function: str, certificates: Certificates) -> None:
    context = ssl.create_default_context()
    certificates.authority.configure_trust(context)
    with Server(ssl=True, **certificates.server) as server:
        both_ways(world, server, function, ssl=context)


def test_tls_with_a_certificate_of_the_clients(world: World, function: str, certificates: Certificates) -> None:
    settings = {**certificates.server, "ssl": True, "ssl_ca_file": certificates.ca, "ssl_verify_client": True}
    with Server(**settings) as server:
        both_ways(world, server, function, ssl_ca_file=certificates.ca, **certificates.client)
        with world.client(server.address, ssl_ca_file=certificates.ca) as client, pytest.raises(ConnectionLost):
            client.echo()


def test_many_jobs_over_tls(world: World, function: str, certificates: Certificates) -> None:
    tls = {"ssl_ca_file": certificates.ca}
    with (
        Server(ssl=True, **certificates.server) as server,
        world.worker(server.address, concurrency=3, **tls) as worker,
        world.client(server.address, **tls) as client,
    ):
        worker.register(function, reverse)
        tasks = client.submit_many(function, [b"%d" % n * 2000 for n in range(300)])
        assert all(task.result() == (b"%d" % n * 2000)[::-1] for n, task in enumerate(tasks))


def test_an_unknown_authority_is_refused(
    world: World, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = str(tmp_path / "stranger.pem")
    trustme.CA().cert_pem.write_to_path(stranger)
    with Server(ssl=True, **certificates.server) as server:
        with (
            world.client(server.address, ssl_ca_file=stranger) as client,
            pytest.raises(NoServersAvailable, match="certificate was refused"),
        ):
            client.echo()
        with pytest.raises(ConnectionLost, match="certificate was refused"):
            AdminClient(server.address, ssl_ca_file=stranger).version()


def test_a_certificate_for_another_host_is_refused_unless_told_otherwise(
    world: World, certificates: Certificates, tmp_path: Path
) -> None:
    other = certificates.issue(tmp_path, "other", "other.example")
    with Server(ssl=True, **other) as server:
        with (
            world.client(server.address, ssl_ca_file=certificates.ca) as client,
            pytest.raises(NoServersAvailable, match="certificate was refused"),
        ):
            client.echo()
        with world.client(server.address, ssl_ca_file=certificates.ca, ssl_check_hostname=False) as client:
            assert client.echo(b"x") == b"x"


def test_tls_never_falls_back_to_plain_text(world: World, function: str, certificates: Certificates) -> None:
    heard: list[bytes] = []

    def plain(peer: Peer) -> None:
        heard.append(peer.sock.recv(65536))
        peer.send(b"ERR UNKNOWN_COMMAND\r\n")
        while peer.sock.recv(65536):
            pass

    with (
        Scripted(plain) as server,
        world.client(server.address, ssl_ca_file=certificates.ca, connect_timeout=2) as client,
        pytest.raises(NoServersAvailable),
    ):
        client.do(function, b"secret")
    assert heard[0][:1] == b"\x16"  # a TLS handshake
    assert b"REQ" not in heard[0]


def test_a_server_that_never_shakes_hands_bounds_the_wait(world: World, certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            world.client(address, ssl_ca_file=certificates.ca, connect_timeout=0.3) as client,
            pytest.raises(NoServersAvailable, match="no answer in time"),
        ):
            client.echo()


def test_half_a_tls_configuration_is_refused(world: World, certificates: Certificates, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for settings, text in (
        ({"ssl_key": certificates.client["ssl_key"]}, "without ssl_certificate"),
        ({"ssl_ca_file": str(tmp_path / "none.pem")}, r"none\.pem.*No such file"),
        ({"ssl_ca_file": str(broken)}, r"broken\.pem cannot be used"),
        ({"ssl_certificate": str(broken)}, r"broken\.pem.*cannot be used"),
        ({"ssl": ssl.create_default_context(), "ssl_ca_file": certificates.ca}, "exclude"),
    ):
        for make in (world.client, world.worker, AdminClient):
            with pytest.raises(ConfigError, match=text):
                make("localhost", **settings)


def test_a_worker_says_why_it_cannot_connect(
    world: World, function: str, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    from ..services import wait_until

    with Server(ssl=True, **certificates.server) as server:
        working = world.worker(server.address, ssl=True)  # the system's authorities do not know ours
        with working:
            wait_until(lambda: "certificate was refused" in caplog.text, "the complaint", PATIENCE)
