"""Answers compressed with gzip, where the client takes it and it is worth the while. Streams go as they are."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache

from flask import Flask, Response, request

LEAST_BYTES = 1024
"""What is shorter takes a packet either way."""

MOST_BYTES = 1024 * 1024
"""What is longer would hold up others for longer than it saves its client, and is sent as it is."""

LEVEL = 5
PIECE_BYTES = 64 * 1024
"""Others may have a turn after each: it takes about a millisecond."""

ENCODED_AS_GZIP = ("Content-Encoding", "gzip")
VARIES = ("Vary", "Accept-Encoding")

_COMPRESSIBLE = frozenset({"application/json", "application/problem+json", "application/javascript", "image/svg+xml"})
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # RFC 1952: deflate, no time, no name, an unknown system


def compress_answers(app: Flask, pause: Callable[[], object] | None = None) -> None:
    """Have `app` compress what it answers at length.

    Args:
        pause: gives others a turn, where all requests are answered in one thread.
    """

    @app.after_request
    def _compress(answer: Response) -> Response:
        if answer.is_streamed or answer.direct_passthrough or not _is_text(answer):
            return answer
        answer.vary.add("Accept-Encoding")
        body = answer.get_data()
        if answer.status_code != 200 or not LEAST_BYTES < len(body) <= MOST_BYTES:
            return answer
        if accepts_gzip(request.environ.get("HTTP_ACCEPT_ENCODING")):
            answer.set_data(gzipped(body, pause))
            answer.content_encoding = "gzip"
            etag, is_weak = answer.get_etag()
            if etag is not None and not is_weak:  # the bytes are others now
                answer.set_etag(etag, weak=True)
        return answer


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether a client that sends this header takes gzip (RFC 9110, 12.5.3)."""
    if not accept_encoding:
        return False
    weights = dict(map(_weight, accept_encoding.lower().split(",")))
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def gzipped(body: bytes, pause: Callable[[], object] | None = None) -> bytes:
    """The body as gzip; `pause` is called between its pieces."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    pieces = [compressor.compress(body[:PIECE_BYTES])]
    for start in range(PIECE_BYTES, len(body), PIECE_BYTES):
        if pause is not None:
            pause()
        pieces.append(compressor.compress(body[start : start + PIECE_BYTES]))
    return b"".join([*pieces, compressor.flush()])


class Compressible:
    """A text that is compressed once, and then follows any beginning that is told in front of it."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._deflated: bytes | None = None

    @property
    def held_bytes(self) -> int:
        """How much memory it takes, roughly."""
        return len(self.text) + len(self._deflated or b"")

    def gzipped_after(self, beginning: bytes) -> list[bytes]:
        """`beginning` and the text as one gzip, in pieces."""
        if self._deflated is None:
            ending = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._deflated = ending.compress(self.text) + ending.flush()
        opening = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        # Flushed to a whole byte and not ended, so that the blocks of the text may follow.
        deflated = opening.compress(beginning) + opening.flush(zlib.Z_SYNC_FLUSH)
        checksum = zlib.crc32(self.text, zlib.crc32(beginning))
        length = (len(beginning) + len(self.text)) & 0xFFFFFFFF
        trailer = checksum.to_bytes(4, "little") + length.to_bytes(4, "little")
        return [_HEADER + deflated, self._deflated, trailer]


def _is_text(answer: Response) -> bool:
    mimetype = answer.mimetype or ""
    is_text = mimetype in _COMPRESSIBLE or (mimetype.startswith("text/") and mimetype != "text/event-stream")
    return is_text and "Content-Encoding" not in answer.headers


def _weight(coding: str) -> tuple[str, float]:
    name, _, parameter = coding.partition(";")
    key, _, value = parameter.partition("=")
    try:
        return name.strip(), float(value) if key.strip() == "q" else 1.0
    except ValueError:
        return name.strip(), 0.0
