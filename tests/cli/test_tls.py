"""The tools over TLS, with certificates made for the test.

Over our server alone: Debian builds gearmand and libgearman without TLS; its --ssl and -S speak plain text.
"""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from .programs import GEARTRAIN, Outcome, Running, Server, argv_of, run, start_server

Worker = Callable[..., Running]


class Files:
    """Certificates for ``localhost``, and a client's."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self.certificate, self.key = self._issue(authority, folder, "localhost")
        self.client_certificate, self.client_key = self._issue(authority, folder, "client.example")
        self.other_authority = folder / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(str(self.other_authority))

    @staticmethod
    def _issue(authority: trustme.CA, folder: Path, name: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(name)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    @property
    def server_options(self) -> list[str]:
        return [
            "--ssl",
            f"--ssl-ca-file={self.authority}",
            f"--ssl-certificate={self.certificate}",
            f"--ssl-key={self.key}",
        ]

    def context(self) -> ssl.SSLContext:
        """How the test itself connects."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(str(self.client_certificate), str(self.client_key))
        return context

    @property
    def environment(self) -> dict[str, str]:
        """As libgearman's users set it."""
        return {
            "GEARMAND_CA_CERTIFICATE": str(self.authority),
            "GEARMAN_CLIENT_PEM": str(self.client_certificate),
            "GEARMAN_CLIENT_KEY": str(self.client_key),
        }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(files: Files) -> Iterator[Server]:
    """A server that speaks TLS alone."""
    server = start_server("geartrain", *files.server_options, tls=files.context())
    yield server
    server.program.kill()


def at(server: Server) -> list[str]:
    """The flags that name it as its certificate does."""
    return ["-h", "localhost", "-p", str(server.port)]


def test_gearman_with_the_environment(secure: Server, files: Files, function: str, start: Worker) -> None:
    env = files.environment
    start([*argv_of("geartrain", "gearman"), *at(secure), "-S", "-w", "-f", function, "--", "cat"], env=env)
    secure.wait_for_workers(function)
    argv = [*argv_of("geartrain", "gearman"), *at(secure)]
    assert run([*argv, "-S", "-f", function, "x"], env=env) == (0, b"x", b"")
    flags = ["--ssl-ca-file", str(files.authority)]  # means TLS, with or without -S
    assert run([*argv, *flags, "-f", function, "x"]) == (0, b"x", b"")


def test_a_server_that_asks_for_a_certificate(files: Files) -> None:
    server = start_server("geartrain", *files.server_options, "--ssl-verify-client", tls=files.context())
    argv = [*argv_of("geartrain", "gearadmin"), *at(server), "--strict", "--ssl", "--getpid"]
    try:
        assert run(argv, env=files.environment).status == 0
        without = {"GEARMAND_CA_CERTIFICATE": str(files.authority)}
        assert run(argv, env=without).status == 3
    finally:
        server.program.kill()


def test_gearadmin(secure: Server, files: Files) -> None:
    flags = ["--ssl-ca-file", str(files.authority), "--ssl-certificate", str(files.client_certificate)]
    flags += ["--ssl-key", str(files.client_key)]
    done = run([*argv_of("geartrain", "gearadmin"), *at(secure), *flags, "--getpid"])
    assert done == (0, f"{secure.program.process.pid}\n".encode(), b"")


def test_geartrain(secure: Server, files: Files, function: str, start: Worker) -> None:
    flags = ["-s", f"localhost:{secure.port}", "--ssl-ca-file", str(files.authority)]
    start([*GEARTRAIN, "work", *flags, function, "--", "cat"])
    secure.wait_for_workers(function)
    assert run([*GEARTRAIN, "submit", *flags, function, "x"]) == (0, b"x", b"")
    answer = json.loads(run([*GEARTRAIN, "status", *flags, "--json"]).out)
    assert any(function in worker["functions"] for worker in answer["workers"])


class TestRefused:
    """Nothing is sent where the other side is not who it should be."""

    def test_an_authority_that_is_not_ours(self, secure: Server, files: Files, function: str) -> None:
        flags = ["--ssl-ca-file", str(files.other_authority)]
        done = self.submit(secure, function, *flags)
        assert done.status == 3
        assert "its certificate was refused" in done.said
        assert secure.function(function) == (0, 0, 0)

    def test_another_host(self, secure: Server, files: Files, function: str) -> None:
        flags = ["-h", "127.0.0.1", "--ssl-ca-file", str(files.authority)]
        done = self.submit(secure, function, *flags)
        assert done.status == 3
        assert "its certificate was refused" in done.said
        # libgearman does not look at the name.
        assert self.submit(secure, function, *flags, "--ssl-no-check-hostname").status == 0

    def test_plain_text_to_a_server_with_tls(self, secure: Server, function: str) -> None:
        done = self.submit(secure, function, "-t", "2000")
        assert done.status in (3, 4)
        assert secure.function(function) == (0, 0, 0)

    def test_tls_to_a_server_without(self, server: Server, files: Files, function: str) -> None:
        done = self.submit(server, function, "-t", "2000", "--ssl-ca-file", str(files.authority))
        assert done.status == 3
        assert server.function(function) == (0, 0, 0)

    @pytest.mark.parametrize("tool_name", ["gearman", "gearadmin"])
    def test_half_a_configuration(self, files: Files, tool_name: str) -> None:
        words = ["-f", "f", "x"] if tool_name == "gearman" else ["--status"]
        flags = ["--strict", "--ssl-ca-file", str(files.authority), "--ssl-key", str(files.client_key)]
        done = run([*argv_of("geartrain", tool_name), *flags, *words])
        assert done.status == 2
        assert "--ssl-key is given without --ssl-certificate" in done.said

    def test_a_file_that_is_not_there(self) -> None:
        done = run([*argv_of("geartrain", "gearman"), "--strict", "--ssl-ca-file", "/nowhere.pem", "-f", "f", "x"])
        assert done.status == 2
        assert "/nowhere.pem cannot be used: No such file" in done.said

    @staticmethod
    def submit(server: Server, function: str, *flags: str) -> Outcome:
        return run([*argv_of("geartrain", "gearman"), *at(server), "--strict", *flags, "-b", "-f", function, "x"])
