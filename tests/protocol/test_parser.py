"""Any chunking of bytes gives the same packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geartrain.protocol.commands import LAYOUTS, Command
from geartrain.protocol.packets import REQUEST_MAGIC, RESPONSE_MAGIC, pack, request, response
from geartrain.protocol.parser import MAX_LINE, TEXT, TOO_FEW, WRONG_MAGIC, Parser

ARGUMENT = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"\1"))


@st.composite
def pieces(draw: st.DrawFn) -> tuple[bytes, tuple[int, list[bytes]]]:
    """Something on the wire, and what it means."""
    kind = draw(st.sampled_from(["packet", "packet", "packet", "line", "wrong"]))
    if kind == "line":
        line = draw(st.binary(min_size=1, max_size=40).filter(lambda d: d[0] and b"\n" not in d and b"\r" not in d))
        return line + draw(st.sampled_from([b"\n", b"\r\n"])), (TEXT, [line])
    command = draw(st.sampled_from(sorted(LAYOUTS)))
    if kind == "wrong":
        return pack(RESPONSE_MAGIC, command, b"whatever"), (WRONG_MAGIC, [])
    layout = LAYOUTS[command]
    parts = [draw(ARGUMENT) for _ in layout.arguments]
    if layout.data:
        parts.append(draw(st.binary(max_size=300)))
    return request(command, *parts), (command, parts)


@given(st.lists(pieces(), max_size=8), st.data())
def test_any_chunking(items: list[tuple[bytes, tuple[int, list[bytes]]]], data: st.DataObject) -> None:
    stream = b"".join(wire for wire, _ in items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    parser = Parser()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if end > start:
            got += parser.feed(stream[start:end])
    assert got == [meaning for _, meaning in items]
    assert parser.fault is None
    assert parser.missing == 0
    assert parser.feed(request(Command.GRAB_JOB)) == [(Command.GRAB_JOB, [])], "nothing was left over"


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=10))
def test_any_bytes_do_no_harm(chunks: list[bytes]) -> None:
    parser = Parser(max_packet=1000)
    for chunk in chunks:
        for command, parts in parser.feed(chunk):
            assert 1 <= command <= TOO_FEW
            assert all(isinstance(part, bytes) for part in parts)


@pytest.mark.parametrize("size", [32 * 1024, 64 * 1024])
def test_a_large_result_is_passed_on_as_it_came(size: int) -> None:
    result = bytes(range(256)) * 4096
    stream = request(Command.WORK_COMPLETE, b"H:x:1", result) + request(Command.GRAB_JOB)
    parser = Parser()
    got: list[tuple[int, list[bytes]]] = []
    for start in range(0, len(stream), size):
        got += parser.feed(stream[start : start + size])
    (command, parts), grab = got
    assert command == Command.WORK_COMPLETE
    assert parts[0] == b"H:x:1"
    assert b"".join(parts[1:]) == result
    assert (len(parts) == 2) == (size == 32 * 1024), "many pieces are joined"
    assert grab == (Command.GRAB_JOB, [])


@pytest.mark.parametrize("command", [Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH_BG])
def test_a_large_workload_is_kept_as_it_came(command: Command) -> None:
    workload = bytes(range(256)) * 2048
    parser = Parser()
    stream = request(command, b"f", b"u", workload)
    got = [item for start in range(0, len(stream), 100_000) for item in parser.feed(stream[start : start + 100_000])]
    ((number, parts),) = got
    assert (number, parts[:2], b"".join(parts[2:])) == (command, [b"f", b"u"], workload)
    assert len(parts) == 2 + 6


def test_a_client_gets_a_large_result_in_one_part() -> None:
    result = b"x" * (1 << 20)
    stream = response(Command.WORK_COMPLETE, b"H:x:1", result)
    parser = Parser(RESPONSE_MAGIC)
    assert parser.feed(stream[:600_000]) == []
    assert parser.feed(stream[600_000:]) == [(Command.WORK_COMPLETE, [b"H:x:1", result])]


def test_a_large_packet_in_many_pieces() -> None:
    workload = bytes(range(256)) * 8192
    stream = request(Command.SUBMIT_JOB, b"f", b"u", workload) + request(Command.GRAB_JOB)
    parser = Parser()
    got = []
    for start in range(0, len(stream), 65536):
        got += parser.feed(stream[start : start + 65536])
    assert got == [(Command.SUBMIT_JOB, [b"f", b"u", workload]), (Command.GRAB_JOB, [])]


@pytest.mark.parametrize("command", [Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH, Command.SUBMIT_JOB_LOW])
def test_a_packet_whose_rest_somebody_else_takes(command: Command) -> None:
    stream = request(command, b"f", b"u", b"x" * 1000)
    parser = Parser()
    assert parser.begun() is None, "nothing has begun"
    parser.feed(stream[:14])
    assert parser.begun() is None, "the unique has not come"
    parser.feed(stream[14:20])
    assert parser.begun() is None, "the beginning is in pieces"
    parser.forget()
    parser.feed(stream[:20])
    assert parser.begun() == (command, [b"f", b"u", b"xxxx"])
    assert parser.missing == len(stream) - 20
    parser.forget()
    assert parser.begun() is None
    assert parser.feed(request(Command.GRAB_JOB)) == [(Command.GRAB_JOB, [])]


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (Command.SUBMIT_JOB_BG, [b"f", b"u"]),
        (Command.SUBMIT_REDUCE_JOB, [b"f", b"u", b"r", b"0"]),
        (Command.WORK_EXCEPTION, [b"H:x:1"]),
        (Command.ECHO_REQ, []),
    ],
)
def test_what_the_server_itself_needs_is_not_for_others(command: Command, parts: list[bytes]) -> None:
    parser = Parser()
    parser.feed(request(command, *parts, b"x" * 1000)[:500])
    assert parser.missing
    assert parser.begun() is None


def test_the_next_reads_size_is_known() -> None:
    parser = Parser()
    packet = request(Command.ECHO_REQ, b"x" * 1000)
    parser.feed(packet[:100])
    assert parser.missing == len(packet) - 100
    assert parser.feed(packet[100:]) == [(Command.ECHO_REQ, [b"x" * 1000])]
    assert parser.missing == 0


def test_an_announced_size_takes_no_memory_and_ends_the_stream() -> None:
    parser = Parser(max_packet=1000)
    assert parser.feed(request(Command.GRAB_JOB) + b"\0REQ\0\0\0\x07\xff\xff\xff\xff") == [(Command.GRAB_JOB, [])]
    assert parser.fault is not None
    assert parser.fault.code == b"ARGUMENT_TOO_LARGE"
    assert parser.fault.handle == b""
    assert parser.feed(request(Command.GRAB_JOB)) == []


@pytest.mark.parametrize(
    ("command", "came", "handle"),
    [
        (Command.WORK_COMPLETE, b"H:1\0the beginning", b"H:1"),
        (Command.WORK_DATA, b"H:1\0", b"H:1"),
        (Command.WORK_COMPLETE, b"H:1", b""),  # maybe H:12
        (Command.SUBMIT_JOB, b"H:1\0", b""),
    ],
)
def test_what_is_too_large_tells_its_job(command: Command, came: bytes, handle: bytes) -> None:
    parser = Parser(max_packet=1000)
    parser.feed(request(command, *[b""] * LAYOUTS[command].parts)[:8] + b"\xff\xff\xff\xff" + came)
    assert parser.fault is not None
    assert parser.fault.handle == handle


@pytest.mark.parametrize("data", [b"\0XYZ\0\0\0\1\0\0\0\0", b"\0REQ\0\0\0\0\0\0\0\0", b"\0REQ\0\0\0\x2b\0\0\0\0"])
def test_garbage_ends_the_stream_without_a_word(data: bytes) -> None:
    parser = Parser()
    assert parser.feed(data) == []
    assert parser.fault is not None
    assert parser.fault.code == b""


def test_an_endless_line_ends_the_stream() -> None:
    parser = Parser()
    for _ in range(MAX_LINE // 1000 + 1):
        parser.feed(b"x" * 1000)
    assert parser.fault is not None


def test_too_few_arguments_are_named() -> None:
    assert Parser().feed(pack(REQUEST_MAGIC, Command.SUBMIT_JOB, b"f\0u")) == [(TOO_FEW, [b"7"])]


def test_clients_know_no_text() -> None:
    parser = Parser(RESPONSE_MAGIC)
    assert parser.feed(response(Command.NOOP)) == [(Command.NOOP, [])]
    assert parser.feed(b"hello\n") == []
    assert parser.fault is not None
