"""The strict reading of requests, without a connection."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refused_requests import AMBIGUOUS_OR_NONE
from web.http_request import END_OF_HEAD, ChunkedBody, RequestHead, RequestRefused, check_beginning, read_head

NAMES = st.text("abcXYZ019!#$%&'*+-.^`|~", min_size=1, max_size=10).map(lambda name: f"X-{name}")
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


def read(request: bytes) -> RequestHead:
    return read_head(request.partition(END_OF_HEAD)[0])


def test_a_request_is_read_as_it_is_written() -> None:
    head = read(
        b"POST /a%20b?c=%C3%BC&d HTTP/1.1\r\nhost: [::1]:80\r\nContent-Length: 007\r\nX-A:1\r\nx-a: \t2 3\t\r\n"
        b"content-type:application/json\r\nX_A: 4\r\nX-Empty:\r\n\r\n"
    )
    assert (head.method, head.path, head.query, head.protocol) == ("POST", "/a%20b", "c=%C3%BC&d", "HTTP/1.1")
    assert head.length == 7
    assert head.headers == {
        "HTTP_HOST": "[::1]:80",
        "CONTENT_LENGTH": "007",
        "HTTP_X_A": "1, 2 3",
        "CONTENT_TYPE": "application/json",
        "HTTP_X_EMPTY": "",
    }
    assert head.keeps_alive


@pytest.mark.parametrize(
    ("version", "connection", "keeps_alive"),
    [(1, "", True), (1, "close", False), (1, "x, Close", False), (0, "", False), (0, "keep-alive", True)],
)
def test_whether_another_request_may_follow(version: int, connection: str, keeps_alive: bool) -> None:
    request = f"GET / HTTP/1.{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n".encode()
    assert read(request).keeps_alive == keeps_alive


def test_a_body_is_of_a_length_or_in_chunks_or_not_there() -> None:
    assert read(b"GET / HTTP/1.0\r\n\r\n").length == 0
    assert read(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").length is None
    assert read(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n").expects_continue
    assert read(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path == "*"


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_whatever_headers_there_are_arrive_in_any_pieces(headers: dict[str, str], cuts: list[int]) -> None:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    request = ("GET / HTTP/1.1\r\nHost: a\r\n" + "".join(lines) + "\r\n").encode("latin-1")
    end = request.index(END_OF_HEAD)
    seen = 0
    for cut in sorted({min(cut, end) for cut in cuts}):
        check_beginning(bytearray(request[:cut]), seen)
        seen = cut
    found = read(request).headers
    for name, value in headers.items():
        assert value.strip(" ") in found[f"HTTP_{name.upper().replace('-', '_')}"]


@given(st.binary(max_size=300))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
def test_other_bytes_are_refused_or_read_and_nothing_else(data: bytes) -> None:
    refused = None
    try:
        head = read_head(data)
        assert data.startswith(head.method.encode() + b" ")
    except RequestRefused as error:
        refused = error
    assert refused is None or (400 <= refused.status < 500 and refused.detail.isprintable())


def chunked(*pieces: bytes, longest: int = 100) -> bytes | None:
    """The body that the pieces make; None where it is not complete."""
    body, received = ChunkedBody(longest), bytearray()
    for piece in pieces:
        received += piece
        if body.take(received):
            return bytes(body.body) + b"|" + bytes(received)
    return None


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.lists(st.integers(0, 300), max_size=8))
def test_chunks_make_the_body_wherever_they_are_cut(chunks: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(b"%x;x=y \r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"00\r\nA: b\r\n\r\nGET"
    end = sent.index(b"GET", len(sent) - 3)
    places = [0, *sorted({min(cut, end - 1) for cut in cuts}), len(sent)]
    pieces = [sent[start:stop] for start, stop in itertools.pairwise(places)]
    assert chunked(*pieces) == b"".join(chunks) + b"|GET"


def test_a_body_in_chunks_has_a_longest_length_and_most_chunks() -> None:
    assert chunked(b"64\r\n" + b"a" * 100 + b"\r\n0\r\n\r\n") == b"a" * 100 + b"|"
    for too_large in (b"65\r\n", b"ffffffff\r\n", b"64\r\n" + b"a" * 100 + b"\r\n1\r\n"):
        with pytest.raises(RequestRefused) as refused:
            chunked(too_large)
        assert refused.value.status == 413
    with pytest.raises(RequestRefused) as refused:
        chunked(b"1\r\na\r\n" * 70_000, longest=1_000_000)
    assert refused.value.status == 400


@pytest.mark.parametrize("request_text", AMBIGUOUS_OR_NONE.values(), ids=AMBIGUOUS_OR_NONE)
@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000_000])
def test_what_could_be_read_in_two_ways_is_refused_in_any_pieces(request_text: bytes, piece_bytes: int) -> None:
    received, body = bytearray(), None
    refused: RequestRefused | None = None
    try:
        for at in range(0, len(request_text), piece_bytes):
            seen = len(received)
            received += request_text[at : at + piece_bytes]
            if body is None:
                end = received.find(END_OF_HEAD)
                if end < 0:
                    check_beginning(received, seen)
                    continue
                head = read_head(bytes(received[:end]))
                del received[: end + len(END_OF_HEAD)]
                assert head.length is None, "the fault is in the chunks"
                body = ChunkedBody(1_000_000)
            assert not body.take(received)
    except RequestRefused as error:
        refused = error
    assert refused is not None
    assert refused.status in {400, 414, 417, 431}
