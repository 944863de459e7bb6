"""TLS on the Gearman port, as clients meet it: real certificates, real connections."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGHUP

import pytest
import trustme

from geartrain.client.admin import AdminClient
from geartrain.errors import ConfigError, ConnectionLost
from geartrain.server.config import Config
from geartrain.server.tls import server_context
from tests.cli.programs import Running, argv_of, free_port, wait_until


class Files:
    """An authority and what it signed, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        self.write()

    def write(self) -> None:
        """A new certificate under the same names."""
        self.authority.cert_pem.write_to_path(self.ca_file)
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    @property
    def flags(self) -> list[str]:
        return ["--ssl", f"--ssl-certificate={self.certificate}", f"--ssl-key={self.key}"]

    def config(self, **changes: object) -> Config:
        settings: dict[str, object] = {"ssl": True, "ssl_certificate": self.certificate, "ssl_key": self.key} | changes
        return Config(**{name: value if value is True else str(value) for name, value in settings.items()})  # type: ignore[arg-type]

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def identified(self) -> ssl.SSLContext:
        context = self.trusting()
        self.authority.issue_cert("client@example.org").configure_cert(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


Start = Callable[..., "tuple[Running, int]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts our gearmand with TLS; returns it with its port once it listens."""
    started: list[Running] = []

    def call(*flags: str) -> tuple[Running, int]:
        port = free_port()
        argv = [*argv_of("geartrain", "gearmand"), "-l", "stderr", "--verbose=NOTICE", "-L", "127.0.0.1"]
        running = Running([*argv, f"--port={port}", *flags])
        started.append(running)
        wait_until(lambda: b"listens on" in running.err or running.process.poll() is not None, "a server that listens")
        assert running.process.poll() is None, bytes(running.err).decode()
        return running, port

    yield call
    for running in started:
        running.kill()


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), 10)
    return context.wrap_socket(plain, server_hostname="localhost")


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"version\n")
    return connection.recv(1000)


def ask_once(port: int, context: ssl.SSLContext) -> bytes:
    with connect(port, context) as connection:
        answer = ask(connection)
        if not answer:
            raise ConnectionError("closed without an answer")
        return answer


def serial(connection: ssl.SSLSocket) -> str:
    certificate = connection.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_a_client_that_trusts_the_authority_is_served(files: Files, start: Start) -> None:
    _, port = start(*files.flags)
    with connect(port, files.trusting()) as connection:
        assert ask(connection).startswith(b"OK ")


def test_plain_text_is_not_answered(files: Files, start: Start) -> None:
    _, port = start(*files.flags)
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(b"version\n")
        try:
            answer = plain.recv(1000)
        except ConnectionResetError:
            answer = b""
        assert b"OK" not in answer


def test_verified_clients_need_a_certificate(files: Files, start: Start) -> None:
    _, port = start(*files.flags, f"--ssl-ca-file={files.ca_file}", "--ssl-verify-client")
    with connect(port, files.identified()) as connection:
        assert ask(connection).startswith(b"OK ")
    with (
        AdminClient(f"localhost:{port}", ssl_ca_file=files.ca_file) as admin,
        pytest.raises(  # the reason, or what is left of it where the client's request came behind the server's close
            ConnectionLost,
            match=rf"^localhost:{port}: (it takes nobody without a certificate|the server closed it|Connection reset)",
        ),
    ):
        admin.status()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        # In TLS 1.3 the client learns of the refusal with the first answer.
        ask_once(port, files.trusting())


def test_sighup_takes_a_new_certificate_and_leaves_old_connections_alone(files: Files, start: Start) -> None:
    running, port = start(*files.flags)
    with connect(port, files.trusting()) as before:
        files.write()
        running.process.send_signal(SIGHUP)
        wait_until(lambda: b"reloaded" in running.err, "the reload in the log")
        with connect(port, files.trusting()) as after:
            assert serial(after) != serial(before)
            assert ask(after).startswith(b"OK ")
        assert ask(before).startswith(b"OK ")


def test_a_broken_new_certificate_keeps_the_old_one_and_is_logged(files: Files, start: Start) -> None:
    running, port = start(*files.flags)
    files.certificate.write_text("half a file")
    running.process.send_signal(SIGHUP)
    wait_until(lambda: b"the old certificate stays in use" in running.err, "the failed reload in the log")
    assert str(files.certificate).encode() in running.err
    with connect(port, files.trusting()) as connection:
        assert ask(connection).startswith(b"OK ")


def test_without_ssl_there_is_no_context() -> None:
    assert server_context(Config()) is None


def test_old_versions_of_tls_are_not_spoken(files: Files) -> None:
    context = server_context(files.config())
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("which", ["certificate", "key", "ca_file"])
def test_a_missing_file_is_named(which: str, files: Files) -> None:
    getattr(files, which).unlink()
    with pytest.raises(ConfigError, match=str(getattr(files, which))) as caught:
        server_context(files.config(ssl_ca_file=files.ca_file))
    assert "No such file" in str(caught.value)


def test_a_key_of_another_certificate_is_refused(files: Files) -> None:
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(files.key)
    with pytest.raises(ConfigError, match="KEY_VALUES_MISMATCH"):
        server_context(files.config())


def test_a_ca_file_that_is_none_is_refused(files: Files) -> None:
    files.ca_file.write_text("nothing")
    with pytest.raises(ConfigError, match="CA file"):
        server_context(files.config(ssl_ca_file=files.ca_file))


def test_a_key_with_a_pass_phrase_is_refused_instead_of_asking_for_it(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"hush")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    files.key.write_bytes(pem)
    with pytest.raises(ConfigError, match="pass phrase"):
        server_context(files.config())
