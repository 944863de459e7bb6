"""The ways in which monitoring programs read the text protocol, over both servers.

Each test reads as strictly as the program that it is named after: what would upset that program fails here.
"""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from .programs import Program, compiled
from .servers import Server

pytestmark = pytest.mark.timeout(30)


def packet(command: int, *parts: bytes) -> bytes:
    body = b"\0".join(parts)
    return b"\0REQ" + command.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body


CAN_DO, SUBMIT_JOB_BG, SET_CLIENT_ID, ECHO_REQ = 1, 18, 22, 16


@contextlib.contextmanager
def registered(server: Server, client_id: bytes, *functions: bytes) -> Iterator[socket.socket]:
    """A worker that has told its name and functions and then does nothing."""
    with server.connection() as connection:
        connection.sendall(packet(SET_CLIENT_ID, client_id) if client_id else b"")
        connection.sendall(b"".join(packet(CAN_DO, name) for name in functions) + packet(ECHO_REQ, b"x"))
        assert connection.recv(100) == b"\0RES\0\0\0\x11\0\0\0\1x"
        yield connection


def queue(server: Server, function: bytes, count: int) -> None:
    with server.connection() as connection, connection.makefile("rb") as replies:
        for number in range(count):
            connection.sendall(packet(SUBMIT_JOB_BG, function, b"%d" % number, b""))
            header = replies.read(12)
            assert header[:8] == b"\0RES\0\0\0\x08"
            replies.read(int.from_bytes(header[8:], "big"))


class TestGearmanExporter:
    """bakins/gearman-exporter: CR LF at the end of its commands, and exactly four fields between tabs."""

    def test_status_then_version_on_one_connection(self, server):
        queue(server, b"resize images", 2)
        with registered(server, b"", b"mail"), server.connection() as connection:
            lines = connection.makefile("rb")
            for _ in range(3):  # it keeps its connection from one scrape to the next
                connection.sendall(b"status\r\n")
                table = {}
                while (line := lines.readline()) != b".\n":
                    name, total, running, workers = line.rstrip(b"\r\n").split(b"\t", 3)
                    table[name] = (int(total), int(running), int(workers))
                assert table == {b"resize images": (2, 0, 0), b"mail": (0, 0, 1)}
                connection.sendall(b"version\r\n")
                word, version = lines.readline().rstrip(b"\r\n").split(b" ", 1)
                assert word == b"OK"
                assert version


class TestModGearman:
    def test_status_and_version_in_one_write(self, server):
        # mod-gearman-worker-go reads until a piece ends with a line feed, so both answers have to come together.
        queue(server, b"service", 3)
        with registered(server, b"", b"host"), server.connection() as connection:
            for _ in range(20):
                connection.sendall(b"status\nversion\n")
                rows = {}
                version = None
                while version is None:
                    piece = connection.recv(4000)
                    assert piece, "the server has closed the connection"
                    for row in piece.decode().split("\n"):
                        columns = row.split()
                        if len(columns) == 2 and columns[0] == "OK":
                            version = columns[1]
                        elif len(columns) >= 4:
                            rows[columns[0]] = tuple(map(int, columns[1:4]))
                    if server.kind == "geartrain":
                        assert version, "the version came in another piece than the status"
                assert rows == {"service": (3, 0, 0), "host": (0, 0, 1)}

    def test_status_in_one_read_up_to_the_dot(self, server):
        # mod_gearman's gearman_top makes one read() and cuts it at line feeds and tabs until the dot.
        queue(server, b"service", 3)
        with server.connection() as connection:
            connection.sendall(b"status\n")
            rows = connection.recv(8192).split(b"\n")
        assert rows == [b"service\t3\t0\t0", b".", b""]


class TestPythonGearman:
    """python-gearman and dd-agent, that uses it: blanks between the tokens, the fourth one a colon."""

    def test_workers(self, server):
        with registered(server, b"worker-1", b"mail", b"resize"), registered(server, b"", b"mail"):
            rows = [line.split(" ") for line in server.ask("workers")]
        assert all(len(tokens) >= 4 and tokens[3] == ":" for tokens in rows)
        assert all(int(tokens[0]) > 0 and tokens[1] == "127.0.0.1" for tokens in rows)
        assert sorted((tokens[2], sorted(tokens[4:])) for tokens in rows if tokens[4:]) == [
            ("-", ["mail"]),
            ("worker-1", ["mail", "resize"]),
        ]

    def test_maxqueue_is_answered_with_ok_and_no_more(self, server):
        queue(server, b"mail", 1)
        assert server.tell("maxqueue mail 10") == "OK"
        assert server.tell("maxqueue mail 10 20 30") == "OK"
        assert server.tell("maxqueue mail") == "OK"


class TestWorkerNames:
    @pytest.mark.parametrize("name", [b"two words", b"host : 17", b"a b c d", "w\u00f6rker".encode()])
    def test_a_name_with_blanks_stands_as_it_is(self, server, name):
        with registered(server, name, b"mail"):
            [line] = [line for line in server.ask("workers") if line.endswith(": mail")]
        assert line.split(" ", 2)[2] == f"{name.decode()} : mail"

    def test_clients_and_the_one_who_asks_are_listed_too(self, server):
        with server.connection(), registered(server, b"w", b"mail"):
            lines = server.ask("workers")
        assert len(lines) == 3
        assert sum(line.endswith(" 127.0.0.1 - :") for line in lines) == 2


class TestNetGearmanManager:
    """PEAR's Net_Gearman_Manager: one command per connection, or many on one, read until a line is a dot."""

    def test_many_commands_on_one_connection(self, server):
        queue(server, b"mail", 1)
        with server.connection() as connection:
            lines = connection.makefile("rb")
            for command, expected in [
                (b"status", [b"mail\t1\t0\t0\n", b".\n"]),
                (b"STATUS\r", [b"mail\t1\t0\t0\n", b".\n"]),
                (b"maxqueue mail 5", [b"OK\r\n"]),
                (b"prioritystatus", [b"mail\t0\t1\t0\t0\n", b".\n"]),
                (b"show unique jobs", [b"0\n", b".\n"]),
                (b"create function resize\r", [b"OK\r\n"]),
                (b"drop function resize\r", [b"OK\r\n"]),
            ]:
                connection.sendall(command + b"\n")
                assert [lines.readline() for _ in expected] == expected


class TestShells:
    def test_a_command_letter_by_letter(self, server):
        with server.connection() as connection:
            for letter in b"version\n":
                connection.sendall(bytes([letter]))
            assert connection.makefile("rb").readline().startswith(b"OK ")

    def test_netcat_that_closes_its_side_first(self, server, kind):
        # printf 'status\n' | nc -N: gearmand drops the answer, ours gives it.
        queue(server, b"mail", 1)
        with server.connection() as connection:
            connection.sendall(b"status\n")
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        if kind == "geartrain":
            assert answer == b"mail\t1\t0\t0\n.\n"
        else:
            assert answer in (b"", b"mail\t1\t0\t0\n.\n")

    def test_text_between_packets_on_one_connection(self, server):
        with registered(server, b"w", b"mail") as connection:
            connection.sendall(b"status\n")
            assert connection.recv(100) == b"mail\t0\t0\t1\n.\n"
            connection.sendall(packet(ECHO_REQ, b"y"))
            assert connection.recv(100) == b"\0RES\0\0\0\x11\0\0\0\1y"


def test_a_table_of_three_thousand_functions_comes_whole(server):
    names = [b"function-%04d" % number for number in range(3000)]
    with registered(server, b"", *names):
        table = server.status()
        assert sorted(table) == [name.decode() for name in names]
        [line] = [line for line in server.ask("workers") if "function-" in line]
        assert sorted(line.split(" : ")[1].split(" ")) == sorted(table)


def test_the_tables_show_what_runs(server, spawn, gate):
    worker: Program = spawn([compiled("worker"), "-i", "w-1", server.address, "gate"])
    server.wait_for_workers("gate", 1, worker)
    client = spawn([compiled("call"), "-u", "key", server.address, "gate", gate.path])
    server.wait_for_running("gate")
    assert server.ask("status") == ["gate\t1\t1\t1"]
    assert server.ask("prioritystatus") == ["gate\t0\t0\t0\t1"]
    assert server.ask("show unique jobs") == ["key"]
    [job] = server.ask("show jobs")
    assert job.split("\t")[1:] == ["0", "0", "0"]
    gate.open("x")
    assert client.finish().lines == ["SUCCESS x"]
    assert server.ask("show jobs") == []
