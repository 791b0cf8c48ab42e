"""What is compressed, for whom, and that it is the same text."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from web.compression import LEAST_BYTES, MOST_BYTES, Compressible, accepts_gzip, compress_answers, gzipped

LONG = b'{"x": "' + b"abc " * 1000 + b'"}'
GZIP = {"Accept-Encoding": "gzip"}


def app_that_answers(answer: Response) -> Flask:
    app = Flask("test")
    compress_answers(app)
    app.add_url_rule("/", view_func=lambda: answer)
    return app


def asked(answer: Response, headers: dict[str, str] | None = None) -> TestResponse:
    return app_that_answers(answer).test_client().get("/", headers=GZIP if headers is None else headers)


@pytest.mark.parametrize(
    "mimetype",
    ["application/json", "application/problem+json", "text/html", "text/plain", "text/css", "image/svg+xml"],
)
def test_a_long_text_is_compressed(mimetype: str) -> None:
    answer = asked(Response(LONG, mimetype=mimetype))
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(answer.data) == LONG
    assert int(answer.headers["Content-Length"]) == len(answer.data) < len(LONG)


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip;q=0, br"}])
def test_who_does_not_take_it_gets_the_text_and_caches_are_told(headers: dict[str, str]) -> None:
    answer = asked(Response(LONG, mimetype="application/json"), headers)
    assert answer.data == LONG
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "answer",
    [
        Response(b"x" * LEAST_BYTES, mimetype="application/json"),
        Response(b"x" * (MOST_BYTES + 1), mimetype="application/json"),
        Response(LONG, mimetype="image/png"),
        Response(LONG, 500, mimetype="application/json"),
    ],
    ids=["short", "too long to hold others up for", "a picture", "a failure"],
)
def test_what_is_not_worth_it_is_sent_as_it_is(answer: Response) -> None:
    body = answer.data
    assert asked(answer).data == body


def test_what_is_compressed_already_is_left_alone() -> None:
    packed = gzip.compress(LONG * 10)
    answer = asked(Response(packed, mimetype="text/css", headers={"Content-Encoding": "gzip"}))
    assert answer.data == packed


@pytest.mark.parametrize("mimetype", ["text/event-stream", "application/json"])
def test_a_stream_is_sent_piece_by_piece(mimetype: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield LONG
        yield LONG

    answer = asked(Response(pieces(), mimetype=mimetype))
    assert answer.data == LONG * 2
    assert "Content-Encoding" not in answer.headers


def test_a_strong_etag_becomes_a_weak_one_with_other_bytes() -> None:
    answer = Response(LONG, mimetype="application/json", headers={"ETag": '"5-abc"'})
    assert asked(answer, {}).headers["ETag"] == '"5-abc"'
    assert asked(answer).headers["ETag"] == 'W/"5-abc"'


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("br, *", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("identity, gzip; q=0.0", False),
        ("br", False),
        ("gzip;q=often", False),
        ("", False),
        (None, False),
        (",,;,", False),
    ],
)
def test_who_takes_gzip(header: str | None, takes: bool) -> None:
    assert accepts_gzip(header) is takes


@given(st.text().map(str.encode), st.binary())
def test_a_text_compressed_once_follows_any_beginning(beginning: bytes, text: bytes) -> None:
    kept = Compressible(text)
    for first in (beginning, b"", beginning + beginning):
        packed = b"".join(kept.gzipped_after(first))
        assert gzip.decompress(packed) == first + text
        # One gzip and nothing after it: not every client goes on to a second.
        reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
        assert reader.decompress(packed) == first + text
        assert reader.eof
        assert reader.unused_data == b""


def test_others_have_a_turn_between_the_pieces_of_a_long_text() -> None:
    turns: list[None] = []
    text = b"0123456789abcdef" * 20_000
    assert gzip.decompress(gzipped(text, lambda: turns.append(None))) == text
    assert len(turns) == 4
