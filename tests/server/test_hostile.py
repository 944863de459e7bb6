"""Peers that are broken or mean no good: each meets a bound with a clear word, and the others notice nothing."""

import logging
import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request
from geartrain.testing.server import Server
from tests.server.daemon import daemon, enough_descriptors, memory
from tests.server.wire import Wire
from tests.services import wait_until

MIB = 1 << 20


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def header(command: int, size: int) -> bytes:
    return struct.pack(">4sII", b"\0REQ", command, size)


def settle(peer: Wire) -> None:
    """Waits until the server has done all that the peer sent before."""
    peer.say(C.ECHO_REQ, b"done?")
    while peer.hear() != (C.ECHO_RES, b"done?"):
        pass


def until_closed(peer: Wire, data: bytes) -> None:
    """Sends until the server closes, reading nothing but the end."""
    peer.socket.setblocking(False)
    sent = 0
    while True:
        try:
            peer.socket.send(data)
            sent += len(data)
        except BlockingIOError:
            time.sleep(0.001)
        assert sent < 64 * MIB, "the server takes it all"


def works(server: Server) -> None:
    """A job there and back, for others."""
    with Wire(server.port) as client, Wire(server.port) as worker:
        client.say(C.SUBMIT_JOB, b"honest", b"", b"work")
        handle = client.hear()[1]
        assert isinstance(handle, bytes)
        worker.say(C.CAN_DO, b"honest").say(C.GRAB_JOB)
        assert worker.hear() == (C.JOB_ASSIGN, handle, b"honest", b"work")
        worker.say(C.WORK_COMPLETE, handle, b"done")
        assert client.hear() == (C.WORK_COMPLETE, handle, b"done")


def closed(peer: Wire) -> bytes:
    """What came until the server closed."""
    try:
        return peer.read_to_end()
    except ConnectionResetError:
        return b""


class TestPackets:
    def test_four_gigabytes_announced(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        with Wire(server.port) as peer:
            peer.send(header(C.SUBMIT_JOB, 0xFFFFFFFF) + b"f\0u\0the beginning")
            code, text = peer.hear()[1:]
            assert code == b"ARGUMENT_TOO_LARGE"
            assert text == b"A packet of 4294967295 bytes was announced, the limit is 268435456 bytes (--max-packet)"
            assert closed(peer) == b""
        assert "4294967295 bytes" in caplog.text
        works(server)

    def test_the_limit_can_be_set(self) -> None:
        with Server(max_packet=1000) as server:
            with Wire(server.port) as peer:
                assert peer.say(C.ECHO_REQ, b"x" * 1000).hear() == (C.ECHO_RES, b"x" * 1000)
                peer.say(C.ECHO_REQ, b"x" * 1001)
                assert peer.hear()[1] == b"ARGUMENT_TOO_LARGE"
                assert closed(peer) == b""
            works(server)

    def test_memory_grows_with_what_has_arrived(self) -> None:
        with daemon() as service:
            with Wire(service.port) as peer:
                settle(peer)
            before = memory(service)
            peers = [Wire(service.port) for _ in range(60)]
            for peer in peers:  # 12 GiB in announcements
                peer.send(header(C.SUBMIT_JOB, 200 * MIB) + b"f\0u\0" + b"w" * 1000)
            with Wire(service.port) as peer:
                settle(peer)
            assert memory(service) - before < 30 * MIB
            for peer in peers:
                peer.close()

    def test_what_was_sent_is_freed_when_its_sender_goes(self) -> None:
        with daemon() as service:
            with Wire(service.port) as peer:
                settle(peer)
            before = memory(service)
            for _ in range(8):
                with Wire(service.port) as peer:
                    peer.send(header(C.SUBMIT_JOB, 64 * MIB) + b"f\0u\0" + b"w" * (32 * MIB))
            with Wire(service.port) as peer:
                settle(peer)
            wait_until(lambda: memory(service) - before < 48 * MIB, "the memory is given back")

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\0GET / HTTP/1.1\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0REQ\0\0\0\0\0\0\0\0",
            b"\0REQ\xff\xff\xff\xff\0\0\0\0",
        ],
    )
    def test_garbage_is_closed_without_a_word(self, server: Server, garbage: bytes) -> None:
        with Wire(server.port) as peer:
            peer.send(garbage)
            assert closed(peer) == b""
        works(server)

    def test_any_bytes_as_arguments_of_every_command(self, server: Server) -> None:
        """Whatever stands in a body, the connection goes on, or is closed in order."""
        bodies = [
            b"", b"\0", b"\0\0\0\0\0\0\0\0\0", b"\xff" * 300, b"\n\r\t \\", b"H:x:1", b"%s%n", b"-1\0-1\0-1\0-1",
            b"9" * 400, "ü€𝄞".encode(), b"a" * 70_000, os.urandom(500), b"f\0" + b"u" * 65 + b"\0w",
            b"f\0-\0", b"f\0u\0" + b"9" * 30 + b"\0w", b"f\0u\0* * *\0\0\0\0\0\0",
        ]  # fmt: skip
        for command in C:
            with Wire(server.port) as peer:
                for body in bodies:
                    peer.send(header(command, len(body)) + body)
                settle(peer)
        works(server)

    def test_http_to_the_wrong_port(self, server: Server) -> None:
        with Wire(server.port) as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = peer.socket.recv(1000)
            assert answer.startswith(b"ERR UNKNOWN_COMMAND Unknown+server+commandGET\r\n")
        works(server)


class TestLines:
    @pytest.mark.parametrize("size", [1, 6000])
    def test_without_an_end(self, server: Server, caplog: pytest.LogCaptureFixture, size: int) -> None:
        with Wire(server.port) as peer, pytest.raises(ConnectionError):
            until_closed(peer, b"x" * size)
        wait_until(lambda: "a text line is longer than 16384 bytes" in caplog.text, "the log says it")
        works(server)

    def test_too_many_words(self, server: Server) -> None:
        with Wire(server.port) as peer:
            peer.send(b"status" + b" x" * 4000 + b"\n")
            assert closed(peer) == b"ERR TOO_MANY_ARGUMENTS At+most+8+words+are+understood\r\n"
        works(server)

    def test_long_answers_asked_for_in_one_breath(self) -> None:
        """Two kilobytes that ask for hundreds of megabytes: the others are served, and memory stays."""
        with daemon() as service, Wire(service.port) as worker, Wire(service.port) as other:
            worker.send(b"".join(request(C.CAN_DO, b"function-%06d" % number) for number in range(20_000)))
            settle(worker)
            settle(other)
            before = memory(service)
            with Wire(service.port) as peer:
                peer.send(b"status\n" * 1000)  # 440 MB
                slowest = 0.0
                for _ in range(20):
                    started = time.monotonic()
                    settle(other)
                    slowest = max(slowest, time.monotonic() - started)
                assert slowest < 2
                assert memory(service) - before < 64 * MIB
                # It does get its answers, as fast as it reads them.
                size = 0
                while size < 40_000_000:
                    size += len(peer.socket.recv(MIB))
            assert memory(service) - before < 64 * MIB


class TestSlowness:
    def test_a_byte_now_and_then(self, server: Server) -> None:
        """Others do not wait for a peer that is in the middle of a packet, and it is served when it is done."""
        with Wire(server.port) as slow:
            for byte in request(C.ECHO_REQ, b"patience"):
                slow.send(bytes([byte]))
                works(server)
            assert slow.hear() == (C.ECHO_RES, b"patience")

    def test_no_whole_first_packet(self, caplog: pytest.LogCaptureFixture) -> None:
        with Server(first_packet_timeout=0.2) as server:
            with Wire(server.port) as silent, Wire(server.port) as dribbling, Wire(server.port) as good:
                assert good.say(C.ECHO_REQ, b"x").hear() == (C.ECHO_RES, b"x")
                dribbling.send(header(C.ECHO_REQ, 100))
                assert closed(silent) == b""
                assert closed(dribbling) == b""
                assert good.say(C.ECHO_REQ, b"still here").hear() == (C.ECHO_RES, b"still here")
            assert "no whole packet within 0.2 s (--first-packet-timeout)" in caplog.text
            works(server)

    def test_one_that_never_reads_its_replies(self, caplog: pytest.LogCaptureFixture) -> None:
        with Server(max_output=4 * MIB) as server:
            with Wire(server.port) as client, Wire(server.port) as worker:
                client.send(request(C.SUBMIT_JOB, b"f", b"", b"") * 40)
                worker.say(C.CAN_DO, b"f")
                wait_until(lambda: worker.text("status") == "f\t40\t0\t1\n.\n", "the jobs are there")
                done = 0
                while done < 40 and worker.say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN:
                    handle = b"H:%b:%d" % (os.uname().nodename.encode(), done + 1)
                    worker.say(C.WORK_COMPLETE, handle, b"r" * MIB)
                    done += 1
                settle(worker)
                assert done < 40, "its other jobs were dropped with it"
                assert "does not read its replies" in caplog.text
                assert "the limit is 4194304 (--max-output); it is dropped" in caplog.text
                assert worker.text("status") == "f\t0\t0\t1\n.\n"
            works(server)

    def test_one_that_asks_and_never_reads(self) -> None:
        """No more is taken from it than it reads: memory does not grow."""
        with daemon() as service, Wire(service.port) as peer, Wire(service.port) as other:
            settle(other)
            before = memory(service)
            peer.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                peer.send(request(C.ECHO_REQ, b"x" * 10_000) * 10_000)
            settle(other)
            assert memory(service) - before < 64 * MIB

    def test_a_job_that_is_larger_than_the_output_bound(self) -> None:
        """The bound is for what is not read, not for one large result."""
        with Server(max_output=MIB) as server, Wire(server.port) as peer:
            assert peer.say(C.ECHO_REQ, b"x" * (4 * MIB)).hear() == (C.ECHO_RES, b"x" * (4 * MIB))


class TestFloods:
    def test_ten_thousand_connections_that_do_nothing(self) -> None:
        count = 10_000
        if not enough_descriptors(count + 200):
            pytest.skip("this user may not open 10,000 files (ulimit -Hn)")
        with daemon("--backlog", "1024") as service, Wire(service.port) as client, Wire(service.port) as worker:
            settle(client)
            before = memory(service)
            idle: list[socket.socket] = []
            try:
                idle.extend(socket.create_connection(("127.0.0.1", service.port), 10) for _ in range(count))
                wait_until(lambda: client.text("workers").count("\n") == count + 3, "all are accepted", 60)
                assert (memory(service) - before) / count < 4096
                started = time.monotonic()
                worker.say(C.CAN_DO, b"f").say(C.PRE_SLEEP)
                client.say(C.SUBMIT_JOB, b"f", b"", b"x")
                handle = client.hear()[1]
                assert worker.hear() == (C.NOOP,)
                assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"f", b"x")
                assert time.monotonic() - started < 1
            finally:
                for sock in idle:
                    sock.close()
            wait_until(lambda: client.text("workers").count("\n") == 3, "all have left", 60)

    def test_more_connections_than_allowed(self, caplog: pytest.LogCaptureFixture) -> None:
        with Server(max_connections=3) as server:
            peers = [Wire(server.port) for _ in range(3)]
            for peer in peers:
                settle(peer)
            with Wire(server.port) as fourth:
                assert closed(fourth) == b""
            wait_until(lambda: "(--max-connections)" in caplog.text, "the log says it")
            peers.pop().close()
            wait_until(lambda: peers[0].text("workers").count("\n") == 3, "one has left")
            with Wire(server.port) as probe:
                settle(probe)
            for peer in peers:
                peer.close()

    def test_can_do(self) -> None:
        count = 100_000
        with daemon() as service, Wire(service.port) as other:
            settle(other)
            before = memory(service)
            with Wire(service.port) as worker:
                for start in range(0, count, 1000):
                    worker.send(b"".join(request(C.CAN_DO, b"function-%06d" % n) for n in range(start, start + 1000)))
                settle(worker)
                assert (memory(service) - before) / count < 1500
                worker.say(C.PRE_SLEEP)
                other.say(C.SUBMIT_JOB, b"function-077777", b"", b"x")
                handle = other.hear()[1]
                assert worker.hear() == (C.NOOP,)
                assert worker.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, handle, b"function-077777", b"x")
            settle(other)
            assert len(other.text("status").splitlines()) == count + 1

    def test_can_do_and_grab_in_turns(self) -> None:
        """Each grab finds other abilities than the last: dear, but only for the one who does that."""
        with daemon() as service, Wire(service.port) as worker, Wire(service.port) as other:
            settle(other)
            worker.send(b"".join(request(C.CAN_DO, b"f%06d" % n) + request(C.GRAB_JOB) for n in range(5000)))
            slowest = 0.0
            for _ in range(20):
                started = time.monotonic()
                settle(other)
                slowest = max(slowest, time.monotonic() - started)
            assert slowest < 1

    def test_the_same_ability_again_and_again(self, server: Server) -> None:
        with Wire(server.port) as worker:
            worker.send(request(C.CAN_DO, b"f") * 50_000)
            settle(worker)
            assert worker.text("status") == "f\t0\t0\t1\n.\n"

    def test_unique_keys(self) -> None:
        count = 100_000
        with daemon() as service, Wire(service.port) as client:
            settle(client)
            before = memory(service)
            for start in range(0, count, 1000):
                client.send(
                    b"".join(request(C.SUBMIT_JOB_BG, b"f", b"u%063d" % n, b"") for n in range(start, start + 1000))
                )
                settle(client)
            assert (memory(service) - before) / count < 1200
            client.say(C.GET_STATUS_UNIQUE, b"u%063d" % 77_777)
            assert client.hear() == (C.STATUS_RES_UNIQUE, b"u%063d" % 77_777, b"1", b"0", b"0", b"0", b"0")

    def test_one_function_with_a_million_jobs(self) -> None:
        count = 1_000_000
        with daemon() as service, Wire(service.port) as client, Wire(service.port) as worker:
            settle(client)
            before = memory(service)
            batch = request(C.SUBMIT_JOB_BG, b"f", b"", b"w" * 100) * 5000
            for _ in range(0, count, 5000):
                client.send(batch)
                settle(client)
            assert (memory(service) - before) / count < 1000
            worker.say(C.CAN_DO, b"f")
            started = time.monotonic()
            worker.say(C.GRAB_JOB)
            for _ in range(1000):
                handle = worker.hear()[1]
                assert isinstance(handle, bytes)
                worker.send(request(C.WORK_COMPLETE, handle, b"") + request(C.GRAB_JOB))
            assert worker.hear()[0] is C.JOB_ASSIGN
            assert time.monotonic() - started < 5
            last = b"H:%b:%d" % (os.uname().nodename.encode(), count)
            assert client.text(f"cancel job {last.decode()}") == "OK\r\n"
            assert client.text("status") == f"f\t{count - 1001}\t1\t1\n.\n"

    def test_joining_one_job_a_hundred_thousand_times(self, server: Server) -> None:
        with Wire(server.port) as client, Wire(server.port) as worker:
            client.socket.settimeout(30)
            for _ in range(100):
                client.send(request(C.SUBMIT_JOB, b"f", b"u", b"w") * 1000)
                settle(client)
            worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB)
            handle = worker.hear()[1]
            assert isinstance(handle, bytes)
            worker.say(C.WORK_COMPLETE, handle, b"r")
            for _ in range(100_000):
                assert client.hear() == (C.WORK_COMPLETE, handle, b"r")
            settle(client)
        works(server)


class TestTheOnesThatLeave:
    def test_in_the_middle_of_everything(self, server: Server) -> None:
        """Connections that end at every byte of a dialogue, in order and with a reset."""
        dialogue = (
            request(C.CAN_DO, b"f") + request(C.SUBMIT_JOB, b"f", b"u", b"w") + request(C.GRAB_JOB_UNIQ)
            + request(C.SUBMIT_JOB_BG, b"f", b"u", b"w") + request(C.PRE_SLEEP) + b"status\n"
        )  # fmt: skip
        for size in range(len(dialogue)):
            for reset in (False, True):
                peer = Wire(server.port)
                peer.send(dialogue[:size])
                if reset:
                    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
        with Wire(server.port) as peer:
            wait_until(lambda: peer.text("workers").count("\n") == 2, "all have left")
            peer.text("drop function f")
        works(server)

    def test_noise(self, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever they sent, it was not a fault of the server."""
        with caplog.at_level(logging.WARNING), Server(backlog=1024) as server:
            for _ in range(500):
                peer = Wire(server.port)
                peer.send(os.urandom(300))
                peer.close()
            works(server)
        assert "a fault of the server" not in caplog.text
