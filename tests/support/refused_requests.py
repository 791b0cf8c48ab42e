"""Requests that two readers could understand in two ways, or that are none."""

from __future__ import annotations

HOST = b"Host: localhost\r\n"


def _post(headers: bytes, body: bytes = b"") -> bytes:
    return (
        b"POST /beckn/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n" + headers + b"\r\n" + body
    )


def _get(*, target: bytes = b"/", version: bytes = b"HTTP/1.1", headers: bytes = HOST) -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + headers + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"

AMBIGUOUS_OR_NONE: dict[str, bytes] = {
    "length and encoding": _post(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n"),
    "encoding and length": _post(CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n"),
    "two lengths": _post(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
    "two equal lengths": _post(b"Content-Length: 2\r\nContent-Length: 2\r\n", b"{}"),
    "lengths in a list": _post(b"Content-Length: 2, 2\r\n", b"{}"),
    "signed length": _post(b"Content-Length: +2\r\n", b"{}"),
    "negative length": _post(b"Content-Length: -2\r\n", b"{}"),
    "length with a space": _post(b"Content-Length: 2 0\r\n", b"{}"),
    "length in hexadecimal": _post(b"Content-Length: 0x2\r\n", b"{}"),
    "length with an underscore": _post(b"Content-Length: 1_0\r\n", b"{}        "),
    "length in Arabic digits": _post("Content-Length: ٢\r\n".encode(), b"{}"),
    "no length": _post(b"Content-Length:\r\n", b"{}"),
    "endless length": _post(b"Content-Length: " + b"9" * 400 + b"\r\n", b"{}"),
    "unknown encoding": _post(b"Transfer-Encoding: gzip\r\n", b"{}"),
    "two encodings": _post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "encoding twice": _post(CHUNKED * 2, b"0\r\n\r\n"),
    "hidden encoding": _post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "encoding of 1.0": b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "signed chunk": _post(CHUNKED, b"+2\r\n{}\r\n0\r\n\r\n"),
    "chunk in 0x": _post(CHUNKED, b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk without a size": _post(CHUNKED, b"\r\n{}\r\n0\r\n\r\n"),
    "long chunk": _post(CHUNKED, b"2\r\n{}x\r\n0\r\n\r\n"),
    "bare line feed after a size": _post(CHUNKED, b"2\n{}\r\n0\r\n\r\n"),
    "bare line feed after a chunk": _post(CHUNKED, b"2\r\n{}\n0\r\n\r\n"),
    "bare return in an extension": _post(CHUNKED, b"2;a\rb\r\n{}\r\n0\r\n\r\n"),
    "many extensions": _post(CHUNKED, b"1;" + b"a" * 250 + b"\r\n \r\n" + (b"1;" + b"a" * 250 + b"\r\n \r\n") * 40),
    "one long extension": _post(CHUNKED, b"2;" + b"a" * 100_000),
    "endless size": _post(CHUNKED, b"0" * 5000),
    "folded trailer": _post(CHUNKED, b"0\r\nA: b\r\n c\r\n\r\n"),
    "many trailers": _post(CHUNKED, b"0\r\n" + b"A: b\r\n" * 5000),
    "bare return": _get(headers=HOST + b"X: a\rY: b\r\n"),
    "bare return before the line": b"GET / HTTP/1.1\r\r\n" + HOST + b"\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "one bare line feed": b"GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "NUL": _get(headers=HOST + b"X: a\x00b\r\n"),
    "escape": _get(headers=HOST + b"X: a\x1b[31mb\r\n"),
    "folded header": _get(headers=HOST + b"X: a\r\n b\r\n"),
    "folded first header": _get(headers=b" X: a\r\n" + HOST),
    "space before the colon": _get(headers=HOST + b"X : a\r\n"),
    "length with a space before the colon": _post(b"Content-Length : 2\r\n", b"{}"),
    "no colon": _get(headers=HOST + b"X\r\n"),
    "no name": _get(headers=HOST + b": a\r\n"),
    "name with a parenthesis": _get(headers=HOST + b"X(y): a\r\n"),
    "name in UTF-8": _get(headers=HOST + "Ü: a\r\n".encode()),
    "no host": _get(headers=b""),
    "two hosts": _get(headers=HOST * 2),
    "empty host": _get(headers=b"Host:\r\n"),
    "host with a path": _get(headers=b"Host: localhost/x\r\n"),
    "host with a user": _get(headers=b"Host: a@localhost\r\n"),
    "two hosts in one": _get(headers=b"Host: localhost, evil.example\r\n"),
    "0.9": b"GET /\r\n",
    "0.9 in words": _get(version=b"HTTP/0.9"),
    "1.2": _get(version=b"HTTP/1.2"),
    "9.9": _get(version=b"HTTP/9.9"),
    "lower case": _get(version=b"http/1.1"),
    "2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in the target": _get(target=b"/a b"),
    "space at the end": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "no method": b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "whole address": _get(target=b"http://localhost/"),
    "a foreign address": _get(target=b"http://evil.example/"),
    "a name": _get(target=b"localhost:80"),
    "asterisk": _get(target=b"*"),
    "connect": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": _get(target=b"/#x"),
    "percent of nothing": _get(target=b"/%"),
    "percent of no number": _get(target=b"/%zz"),
    "percent in a query": _get(target=b"/?a=%1"),
    "NUL in the target": _get(target=b"/a\x00b"),
    "UTF-8 in the target": _get(target="/ü".encode()),
    "two types": _post(b"Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n", b"{}"),
    "two keys": _get(headers=HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "long target": _get(target=b"/" + b"a" * 100_000),
    "long header": _get(headers=HOST + b"X: " + b"a" * 1_000_000 + b"\r\n"),
    "many headers": _get(headers=HOST + b"".join(b"X-%d: a\r\n" % number for number in range(200))),
    "unknown expectation": _post(b"Expect: a-miracle\r\nContent-Length: 2\r\n", b"{}"),
}
