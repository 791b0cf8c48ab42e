"""The MCP server over streamable HTTP, on loopback: each request with the credential of whoever sends it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import closing
from typing import Any

import uvicorn
from mcp.server import Server

from agent_tools.platform_calls import Platform, call_limiter
from agent_tools.refusals import ToolRefused
from agent_tools.server import credential_of
from agent_tools.settings import AgentSettings
from outgoing.calls import KeptCaller

HOST = "127.0.0.1"
PATH = "/mcp"
KNOWN_FOR_S = 10.0
_MOST_KNOWN = 10_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class CredentialGate:
    """Answers 401 where the platform would take the request's credential, or its having none, for nothing at all.

    The platform is asked again after `KNOWN_FOR_S`. That is a courtesy to clients, which know what to do at a 401:
    what a credential may do the platform decides at every call, so a revoked key is of no use from then on.
    """

    def __init__(self, application: Application, settings: AgentSettings, monotonic: Callable[[], float]) -> None:
        self._application = application
        self._settings = settings
        self._monotonic = monotonic
        self._caller = KeptCaller()
        self._limiter = call_limiter()
        self._known_until: dict[bytes, float] = {}

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        if scope["type"] == "http" and (refused := await self._refusal(scope)) is not None:
            await _send(send, *refused)
            return
        await self._application(scope, receive, send)

    async def _refusal(self, scope: Message) -> tuple[int, str] | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        credential = credential_of(headers)
        whose = hashlib.sha256((credential or "").encode()).digest()
        if self._known_until.get(whose, 0.0) > self._monotonic():
            return None
        platform = Platform(self._settings, self._caller, self._limiter, credential)
        try:
            is_known = await platform.is_known()
        except ToolRefused as unreachable:
            return 503, str(unreachable)
        if not is_known:
            return 401, "send a key or token of the platform's as Authorization: Bearer …"
        self._known_until.pop(whose, None)
        self._known_until[whose] = self._monotonic() + KNOWN_FOR_S
        while len(self._known_until) > _MOST_KNOWN:
            del self._known_until[next(iter(self._known_until))]
        return None

    def close(self) -> None:
        self._caller.close()


async def _send(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"type": "about:blank", "status": status, "detail": detail}, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"www-authenticate", b"Bearer") if status == 401 else (b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def application(server: Server[Any], settings: AgentSettings) -> CredentialGate:
    """The ASGI application: the SDK's, which answers to names of this machine alone, behind the gate."""
    return CredentialGate(server.streamable_http_app(streamable_http_path=PATH, host=HOST), settings, time.monotonic)


def serve(server: Server[Any], settings: AgentSettings, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with closing(application(server, settings)) as gate:
        uvicorn.run(gate, host=HOST, port=port, log_config=None, access_log=False, server_header=False)
