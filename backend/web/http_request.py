"""Reads requests of HTTP/1.1 strictly: bytes in, requests or the reason of a refusal out. Does no input or output.

Whatever two readers could take for two different requests is refused: bare line ends, folded lines, a second length,
a length beside an encoding. A proxy before this server, or another behind it, then sees the same requests as it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

LONGEST_HEAD_BYTES = 32 * 1024
LONGEST_TARGET_BYTES = 8 * 1024
MOST_HEADERS = 100
MOST_CHUNKS = 64 * 1024
LONGEST_CHUNK_LINE_BYTES = 256
LONGEST_TRAILER_BYTES = 8 * 1024
# What is said about chunks beside their sizes, in all chunks of a body.
LONGEST_CHUNK_EXTENSIONS_BYTES = 4 * 1024

END_OF_HEAD = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]+) HTTP/1\.([01])")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
# A control character, or half of a line end. Half of one at the end may still be completed.
_NEVER_IN_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")

_ONLY_ONCE = frozenset(
    {"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_AUTHORIZATION"}
)


class RequestRefused(Exception):
    """What has arrived is no request that is served. The connection ends with the answer: where the next request
    would begin is not known."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class RequestHead:
    """A request without its body.

    `path` and `query` are those of the target, percent-encoded. `headers` are named and written as in a WSGI
    environment; a repeated one is joined by commas, and one whose name has an underscore is left out, for there it
    could not be told from its namesake with a hyphen. `length` is the body's in bytes, None where it is chunked.
    """

    method: str
    path: str
    query: str
    minor_version: int
    headers: dict[str, str]
    length: int | None
    keeps_alive: bool
    expects_continue: bool

    @property
    def protocol(self) -> str:
        return f"HTTP/1.{self.minor_version}"


def check_beginning(received: bytearray, seen: int) -> None:
    """Look at a head that is still incomplete, of which the first `seen` bytes were looked at before.

    Raises:
        RequestRefused: it cannot become one.
    """
    if (at := _NEVER_IN_HEAD.search(received, max(0, seen - 1))) is not None:
        raise RequestRefused(400, _control_character(received, at.start()))
    line_end = received.find(b"\r\n", max(0, seen - 1))
    first_line_end = received.find(b"\r\n", 0, LONGEST_TARGET_BYTES + 64)
    if first_line_end < 0:
        if len(received) > LONGEST_TARGET_BYTES + 64:
            raise RequestRefused(414, f"the target is longer than {LONGEST_TARGET_BYTES:,} bytes")
    elif line_end == first_line_end:  # it has just been completed
        _request_line(bytes(received[:first_line_end]))
    if len(received) > LONGEST_HEAD_BYTES:
        raise _too_large()


def read_head(head: bytes) -> RequestHead:
    """The request whose head this is, without the empty line at its end.

    Raises:
        RequestRefused: it is none.
    """
    if len(head) > LONGEST_HEAD_BYTES:
        raise _too_large()
    if (at := _NEVER_IN_HEAD.search(head)) is not None or head.endswith(b"\r"):
        raise RequestRefused(400, _control_character(head, at.start() if at else len(head) - 1))
    first, *lines = head.split(b"\r\n")
    method, target, minor_version = _request_line(first)
    path, _, query = target.partition("?")
    headers = _headers(lines)
    host = headers.get("HTTP_HOST")
    if host is None and minor_version == 1:
        raise RequestRefused(400, "the header Host is missing")
    if host is not None and _HOST.fullmatch(host) is None:
        raise RequestRefused(400, "the header Host does not hold a valid host name")
    expects = headers.get("HTTP_EXPECT", "").lower()
    if expects not in {"", "100-continue"}:
        raise RequestRefused(417, "the only expectation supported is 100-continue")
    return RequestHead(
        method=method,
        path=path,
        query=query,
        minor_version=minor_version,
        headers=headers,
        length=_length(headers, minor_version),
        keeps_alive=_keeps_alive(headers, minor_version),
        expects_continue=bool(expects) and minor_version == 1,
    )


def _request_line(line: bytes) -> tuple[str, str, int]:
    """Method, target and minor version."""
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise RequestRefused(400, "this is not an HTTP/1.1 or HTTP/1.0 request")
    method, target, version = found[1].decode("ascii"), found[2].decode("ascii"), int(found[3])
    if len(target) > LONGEST_TARGET_BYTES:
        raise RequestRefused(414, f"the target is longer than {LONGEST_TARGET_BYTES:,} bytes")
    if not target.startswith("/") and not (target == "*" and method == "OPTIONS"):
        raise RequestRefused(400, "the target must be a path: this server is not a proxy")
    if "#" in target or _BAD_PERCENT.search(target) is not None:
        raise RequestRefused(400, "the target contains a #, or a % that is not followed by two hexadecimal digits")
    return method, target, version


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MOST_HEADERS:
        raise RequestRefused(431, f"there are more than {MOST_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise RequestRefused(400, "a header has no colon")
        key = _environment_key(name)
        if key is None:
            continue
        text = value.strip(b" \t").decode("latin-1")
        if key not in headers:
            headers[key] = text
        elif key in _ONLY_ONCE:
            raise RequestRefused(400, f"the header {name.decode('ascii')} appears more than once")
        else:
            headers[key] += f", {text}"
    return headers


@lru_cache(maxsize=512)
def _environment_key(name: bytes) -> str | None:
    if _NAME.fullmatch(name) is None:
        raise RequestRefused(400, "a header has an invalid name: spaces and folded lines are not allowed")
    if b"_" in name:
        return None
    key = name.decode("ascii").upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


def _length(headers: dict[str, str], minor_version: int) -> int | None:
    length, encoding = headers.get("CONTENT_LENGTH"), headers.get("HTTP_TRANSFER_ENCODING")
    if encoding is not None:
        if length is not None:
            raise RequestRefused(400, "there are both Content-Length and Transfer-Encoding")
        if encoding.lower() != "chunked" or minor_version == 0:
            raise RequestRefused(400, "the only transfer encoding supported is chunked, and only in HTTP/1.1")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise RequestRefused(400, "the header Content-Length is not a number of bytes")
    return int(length)


def _keeps_alive(headers: dict[str, str], minor_version: int) -> bool:
    wishes = {wish.strip().lower() for wish in headers.get("HTTP_CONNECTION", "").split(",")}
    return "close" not in wishes and (minor_version == 1 or "keep-alive" in wishes)


def _too_large() -> RequestRefused:
    return RequestRefused(431, f"the headers are longer than {LONGEST_HEAD_BYTES:,} bytes")


def _control_character(head: bytes | bytearray, at: int) -> str:
    if head[at] in b"\r\n":
        return "lines must end with CR LF, and neither may appear alone"
    return "there is a control character among the headers"


class _Part(Enum):
    """What of a chunked body comes next."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    COMPLETE = auto()


class ChunkedBody:
    """Puts the chunks of a body together, as they arrive."""

    def __init__(self, longest_bytes: int) -> None:
        self.body = bytearray()
        self._longest_bytes = longest_bytes
        self._chunks = 0
        self._extensions_bytes = 0
        self._trailer_bytes = 0
        self._state = _Part.SIZE
        self._data_left = 0

    def take(self, received: bytearray) -> bool:
        """Take what it can off the beginning of `received`; whether the body is complete.

        Raises:
            RequestRefused: 400 where these are no chunks, 413 where they make more than the longest body.
        """
        at, taken = 0, -1
        try:
            while taken != at:
                taken = at
                if self._state is _Part.DATA:
                    at = self._take_data(received, at)
                elif self._state is _Part.DATA_END:
                    at = self._take_data_end(received, at)
                else:
                    at = self._take_line(received, at)
                    if self._state is _Part.COMPLETE:
                        return True
            return False
        finally:
            del received[:at]

    def _take_data(self, received: bytearray, at: int) -> int:
        end = min(at + self._data_left, len(received))
        self.body += received[at:end]
        self._data_left -= end - at
        if not self._data_left:
            self._state = _Part.DATA_END
        return end

    def _take_data_end(self, received: bytearray, at: int) -> int:
        found = received[at : at + 2]
        if not b"\r\n".startswith(found):
            raise RequestRefused(400, "a chunk is longer than its size says")
        if len(found) < 2:
            return at
        self._state = _Part.SIZE
        return at + 2

    def _take_line(self, received: bytearray, at: int) -> int:
        end = received.find(b"\r\n", at, at + LONGEST_CHUNK_LINE_BYTES + 2)
        if end < 0:
            if len(received) - at > LONGEST_CHUNK_LINE_BYTES or b"\n" in received[at:]:
                raise RequestRefused(400, "a chunk begins with its size and a line end, CR LF")
            return at
        line = bytes(received[at:end])
        if self._state is _Part.SIZE:
            self._begin_chunk(line)
        elif line:
            self._skip_trailer(line)
        else:
            self._state = _Part.COMPLETE
        return end + 2

    def _begin_chunk(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise RequestRefused(400, "the size of a chunk is not a hexadecimal number")
        self._chunks += 1
        self._extensions_bytes += len(line) - len(found[1])
        if self._chunks > MOST_CHUNKS or self._extensions_bytes > LONGEST_CHUNK_EXTENSIONS_BYTES:
            raise RequestRefused(400, f"there are more than {MOST_CHUNKS:,} chunks, or their extensions are too long")
        size = int(found[1], 16)
        if len(self.body) + size > self._longest_bytes:
            raise body_too_large(self._longest_bytes)
        self._data_left = size
        self._state = _Part.DATA if size else _Part.TRAILER

    def _skip_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if _TRAILER_LINE.fullmatch(line) is None or self._trailer_bytes > LONGEST_TRAILER_BYTES:
            raise RequestRefused(
                400, "what follows the last chunk is not a list of headers, or there are too many of them"
            )


def body_too_large(longest_bytes: int) -> RequestRefused:
    """The refusal of a body that is longer than that."""
    return RequestRefused(413, f"the body is larger than {longest_bytes // (1024 * 1024)} MiB: send less at once")
