"""Bounds how long and how large one HTTP answer may be.

An HTTP client's timeout is per read: a server that sends one byte now and then could hold a caller for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx

LARGEST_ANSWER_BYTES = 1024 * 1024


def bound_answers(response: httpx.Response) -> None:
    """A response hook: the body must have come within the request's read timeout, and be no more than 1 MiB.

    It must be as it is, uncompressed, for a small one may unpack to any size; and it is taken for UTF-8, for some of
    the names that a server may give to its characters unpack as well.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise httpx.DecodingError("the answer is compressed, which was not asked for", request=response.request)
    response.headers["Content-Type"] = "application/json; charset=utf-8"
    timeout_s = response.request.extensions.get("timeout", {}).get("read")
    if timeout_s is None or not isinstance(response.stream, httpx.SyncByteStream):
        return
    stream: httpx.SyncByteStream = response.stream
    give_up_at = time.monotonic() + timeout_s

    class Bounded(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in stream:
                size += len(chunk)
                if time.monotonic() > give_up_at:
                    raise httpx.ReadTimeout("the answer came too slowly", request=response.request)
                if size > LARGEST_ANSWER_BYTES:
                    raise httpx.DecodingError("the answer is too large", request=response.request)
                yield chunk

        def close(self) -> None:
            stream.close()

    response.stream = Bounded()
