"""Requests come whole, however their bytes are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geartrain.http.access import Refusal
from geartrain.http.reader import Reader
from geartrain.http.request import Request

STREAM = (
    b"POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /two?workload=x HTTP/1.1\r\nhost: h\r\nX-Gearman-Unique: u\r\n\r\n"
    b"PUT /three HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trailer: t\r\nHost: evil\r\n\r\n"
    b"POST /four HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody"
    b"GET /five HTTP/1.0\r\n\r\n"
)


def read(pieces: list[bytes], max_body: int = 1000) -> Reader:
    reader = Reader(max_body, lambda request: None)
    for piece in pieces:
        reader.feed(piece)
    return reader


def shown(request: Request) -> tuple[bytes, bytes, bytes, str, bool, bytes | None, bytes]:
    host = request.fields.get(b"host")
    return (request.method, request.function, request.body, request.version, request.keep_alive, host, request.target)


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cut_gives_the_same_requests(places: list[int]) -> None:
    cuts = sorted({0, len(STREAM), *places})
    reader = read([STREAM[start:end] for start, end in pairwise(cuts)])
    assert [shown(request) for request in reader.requests] == [
        (b"POST", b"one", b"hello", "1.1", True, b"h", b"/one"),
        (b"GET", b"two", b"", "1.1", True, b"h", b"/two?workload=x"),
        (b"PUT", b"three", b"hello world", "1.1", True, b"h", b"/three"),
        (b"POST", b"four", b"body", "1.1", True, b"h", b"/four"),
        (b"GET", b"five", b"", "1.0", False, None, b"/five"),
    ]
    assert reader.fault is None


def test_what_stands_behind_a_body_is_no_header() -> None:
    third = read([STREAM]).requests[2]
    assert [name for name, _ in third.headers] == [b"Host", b"Transfer-Encoding"]


@given(st.binary(max_size=300))
def test_no_bytes_hurt(data: bytes) -> None:
    reader = read([data, b"\r\n\r\n", data])
    assert reader.fault is None or reader.final
    read([STREAM[:70] + data])


@given(st.integers(1, 50))
def test_bodies_stop_at_the_limit_wherever_they_are_cut(size: int) -> None:
    body = b"POST /f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"a\r\n0123456789\r\n" * 200
    reader = read([body[start : start + size] for start in range(0, len(body), size)])
    assert reader.fault is not None
    assert reader.fault[0] == 413


def test_a_refusal_comes_before_the_body_and_behind_the_requests() -> None:
    reader = Reader(1000, lambda request: Refusal(403, "NO", "No.") if request.function == b"secret" else None)
    reader.feed(b"GET /f HTTP/1.1\r\nHost: h\r\n\r\nPOST /secret HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
    assert [request.function for request in reader.requests] == [b"f"]
    assert reader.fault == (403, "NO", "No.")
    assert reader.refused.function == b"secret"


def test_an_end_that_was_announced_is_no_fault() -> None:
    reader = read([b"GET /f HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /g HTTP/1.1\r\n\r\n"])
    assert len(reader.requests) == 1
    assert (reader.fault, reader.final) == (None, True)
