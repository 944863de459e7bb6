"""What is read at a glance is read as the parser reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geartrain.http.plain import again, plain
from geartrain.http.reader import Reader

CALL = b"POST /f HTTP/1.1\r\nHost: h\r\nX-Gearman-Unique: u\r\nContent-Length: 4\r\n\r\nbody"
APART = (b"x-gearman-unique", b"content-length")
ODD = st.sampled_from(
    [
        b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n ", b"\0", b":", b",", b"#", b"?", b"%", b"/", b"//", b"0", b"9",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 4\r\n", b"Content-Length: 1\r\n", b"Connection: close\r\n",
        b"Connection: Keep-Alive\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Accept: */*\r\n", b"\xff",
        b"GET /g HTTP/1.1\r\n\r\n", b"_gearman", b"HTTP/1.0", b"http://h/g", b"A B: c\r\n", b": c\r\n", b"D:\r\n",
    ]
)  # fmt: skip


def apart(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in fields.items() if name not in APART}


def agree(data: bytes) -> None:
    known = again(data, 1000)
    request = plain(data, 1000)
    if request is None:
        assert known is None
        return
    reader = Reader(1000, lambda request: None)
    reader.feed(data)
    assert (len(reader.requests), reader.fault, reader.begun, reader.final) == (1, None, False, False)
    other = reader.requests[0]
    for name in ("method", "target", "version", "fields", "keep_alive", "body", "query", "function", "ours"):
        assert getattr(request, name) == getattr(other, name)
    if known is not None:
        shared, unique, body = known
        assert request.plain
        assert (unique, body) == (other.fields.get(b"x-gearman-unique", b""), other.body)
        for name in ("method", "target", "version", "keep_alive", "query", "function", "ours", "plain"):
            assert getattr(shared, name) == getattr(request, name)
        assert apart(shared.fields) == apart(other.fields)


def learn(data: bytes) -> None:
    for _ in range(8):
        plain(data, 1000)


@given(st.lists(st.tuples(st.integers(0, len(CALL)), st.integers(0, 3), ODD), max_size=4))
def test_both_read_alike(edits: list[tuple[int, int, bytes]]) -> None:
    learn(CALL)
    data = CALL
    for place, gone, odd in edits:
        data = data[:place] + odd + data[place + gone :]
    agree(data)


@given(st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=8))
def test_any_bytes_are_read_alike(target: bytes, name: bytes, value: bytes) -> None:
    agree(b"GET /%b HTTP/1.1\r\nHost: h\r\n%b: %b\r\n\r\n" % (target, name, value))
    agree(b"GET /f HTTP/1.1\r\nHost: h\r\nA%b:%bb\r\n\r\n" % (name, value))


@pytest.mark.parametrize(
    "data",
    [
        CALL,
        b"GET /f?workload=x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PUT /a%20b HTTP/1.1\r\nhost:h\r\nuser-agent: x (y; z)\r\nConnection: keep-alive\r\ncontent-length:0\r\n\r\n",
    ],
)
def test_usual_calls_are_plain(data: bytes) -> None:
    assert plain(data, 1000) is not None
    agree(data)


@pytest.mark.parametrize(
    "data",
    [
        CALL[:-1],
        CALL + b"G",
        CALL.replace(b"4", b"+4"),
        CALL.replace(b"4", b"4, 4"),
        CALL.replace(b"Host: h", b"Content-Length: 4"),
        CALL.replace(b"Host: h", b"Content-Length : 4"),
        CALL.replace(b"Host: h", b"Host: h\r\n x"),
        CALL.replace(b"Host: h", b"Host: h\nX: y"),
        CALL.replace(b"Host: h", b"Transfer-Encoding: chunked"),
        CALL.replace(b"Host: h", b"Transfer_Encoding: chunked\r\nTransfer-Encoding: x"),
        CALL.replace(b"Host: h", b"Connection: close"),
        CALL.replace(b"/f", b"/_gearman/api/jobs"),
        CALL.replace(b"1.1", b"1.0"),
        b"POST /f HTTP/1.1\r\nHost: h\r\n\r\nbody",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"DELETE /f HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /f HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(101)) + b"\r\n",
        b"GET /f HTTP/1.1\r\nA: " + b"b" * 40_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_all_else_is_left_to_the_parser(data: bytes) -> None:
    assert plain(data, 1000) is None


@pytest.mark.parametrize("blanks", [b" ", b"  ", b"\t", b" \t"])
@pytest.mark.parametrize("line", [b"Host: h", b"X-Gearman-Unique: u", b"Content-Length: 4"])
def test_blanks_behind_a_value_are_no_part_of_it(line: bytes, blanks: bytes) -> None:
    data = CALL.replace(line, line + blanks)
    reader = Reader(1000, lambda request: None)
    reader.feed(data)
    assert reader.requests[0].fields == {b"host": b"h", b"x-gearman-unique": b"u", b"content-length": b"4"}
    learn(CALL)
    agree(data)


def test_a_body_beyond_the_limit_is_left_to_the_parser() -> None:
    assert plain(CALL, 4) is not None
    assert plain(CALL, 3) is None


@given(st.text("0123456789abc-", min_size=1, max_size=70), st.binary(max_size=300))
def test_heads_are_known_again_whatever_their_unique_and_length(unique: str, body: bytes) -> None:
    learn(CALL)
    data = b"POST /f HTTP/1.1\r\nHost: h\r\nX-Gearman-Unique: %b\r\nContent-Length: %d\r\n\r\n%b"
    data %= (unique.encode(), len(body), body)
    known = again(data, 1000)
    assert known is not None
    assert known[1:] == (unique.encode(), body)
    agree(data)


@pytest.mark.parametrize(
    "wish", [b"X-Gearman-Background: true", b"X-Gearman-Priority: high", b"X-Gearman-Timeout: 1", b"Origin: http://h"]
)
def test_heads_that_ask_for_more_are_not_shared(wish: bytes) -> None:
    data = CALL.replace(b"Host: h", b"Host: h\r\n" + wish)
    learn(data)
    assert plain(data, 1000) is not None
    assert again(data, 1000) is None


@pytest.mark.parametrize("size", range(len(CALL)))
def test_a_known_head_that_is_cut_is_not_known(size: int) -> None:
    for data in (CALL, CALL.replace(b"4\r\n\r\nbody", b"0\r\n\r\n")):
        learn(data)
        assert again(data[: min(size, len(data) - 1)], 1000) is None


def test_a_known_head_with_an_endless_unique_is_left_to_the_parser() -> None:
    learn(CALL)
    assert again(CALL.replace(b"Unique: u", b"Unique: " + b"u" * 5000), 1000) is None
