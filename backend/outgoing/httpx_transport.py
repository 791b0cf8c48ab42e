"""The way out for libraries that speak through an httpx client, such as a model service's SDK."""

from __future__ import annotations

from dataclasses import replace

import httpx

from outgoing.calls import Caller, Limits

# What the calls of this house say for themselves.
_OURS = {"accept-encoding", "connection", "content-length", "host", "transfer-encoding"}


class BoundedTransport(httpx.BaseTransport):
    """Sends an httpx client's requests through a caller, each within the limits and its own read timeout.

    What is handed back is the status and the body, named as JSON in UTF-8: a server that may choose its headers may
    choose a "character set" that unpacks to any size. Raises `CallFailed`, and none of httpx's own errors.
    """

    def __init__(self, caller: Caller, limits: Limits) -> None:
        self._caller = caller
        self._limits = limits

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        whole_s = request.extensions.get("timeout", {}).get("read") or self._limits.whole_s
        headers = {
            name.decode("ascii"): value.decode("latin-1")
            for name, value in request.headers.raw
            if name.decode("ascii").lower() not in _OURS
        }
        answer = self._caller.call(
            request.method,
            str(request.url),
            limits=replace(self._limits, whole_s=whole_s),
            headers=headers,
            body=request.read(),
        )
        return httpx.Response(
            answer.status, headers={"Content-Type": "application/json; charset=utf-8"}, content=answer.body
        )

    def close(self) -> None:
        self._caller.close()


def bounded_client(caller: Caller, limits: Limits) -> httpx.Client:
    """An httpx client whose every request goes through `caller`; nothing of the environment has a say."""
    return httpx.Client(transport=BoundedTransport(caller, limits), trust_env=False)


def unused_async_client() -> httpx.AsyncClient:
    """For libraries that make one of their own, of the environment's settings, where they are given none."""
    return httpx.AsyncClient(transport=httpx.AsyncBaseTransport(), trust_env=False)
