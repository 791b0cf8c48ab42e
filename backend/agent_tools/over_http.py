"""The MCP server over streamable HTTP, on loopback: each request with the credential of whoever sends it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import uvicorn
from mcp.server import Server

from agent_tools.platform_calls import Platform, Turns, whose
from agent_tools.refusals import ToolRefused
from agent_tools.server import credential_of
from agent_tools.settings import AgentSettings
from outgoing.calls import KeptCaller

HOST = "127.0.0.1"
PATH = "/mcp"
METADATA_PATH = "/.well-known/oauth-protected-resource"
ENDS_WITHIN_S = 5
"""After Ctrl-C or SIGTERM; streams that are still open then are cut."""
KNOWN_FOR_S = 10.0
_MOST_KNOWN = 10_000
_NAME_OF_THIS_MACHINE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class CredentialGate:
    """Answers 401 where the platform would take the request's credential, or its having none, for nothing at all.

    The platform is asked again after `KNOWN_FOR_S`. That is a courtesy to clients, which know what to do at a 401:
    what a credential may do the platform decides at every call, so a revoked key is of no use from then on.

    Where the platform takes somebody's tokens and the settings say whose, a 401 says where a client learns it, and it
    is said there: the metadata of a protected resource (RFC 9728), as the protocol wants it.
    """

    def __init__(self, application: Application, settings: AgentSettings, monotonic: Callable[[], float]) -> None:
        self._application = application
        self._settings = settings
        self._monotonic = monotonic
        self._caller = KeptCaller()
        self._turns = Turns()
        self._known_until: dict[bytes, float] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self._settings.authorization_server and scope["path"] in {METADATA_PATH, METADATA_PATH + PATH}:
            await self._tell_metadata(scope["method"], headers, send)
        elif (refused := await self._refusal(headers)) is not None:
            await _send(send, refused)
        else:
            await self._application(scope, receive, send)

    async def _tell_metadata(self, method: str, headers: Mapping[str, str], send: Send) -> None:
        origin = _own_origin(headers)
        if method != "GET":
            await _send(send, _Refusal(405, "it is read with GET", [("allow", "GET")]))
        elif origin is None:
            await _send(send, _Refusal(421, "this is a server of one machine: ask it by 127.0.0.1 or localhost"))
        else:
            document = {
                "resource": origin + PATH,
                "authorization_servers": [self._settings.authorization_server],
                "bearer_methods_supported": ["header"],
                "resource_name": "Pylon DEG",
            }
            await _send_json(send, 200, "application/json", document, [])

    async def _refusal(self, headers: Mapping[str, str]) -> _Refusal | None:
        credential = credential_of(headers)
        caller = whose(credential)
        if self._known_until.get(caller, 0.0) > self._monotonic():
            return None
        platform = Platform(self._settings, self._caller, self._turns, credential)
        try:
            is_known = await platform.is_known()
        except ToolRefused as unreachable:
            return _Refusal(503, str(unreachable), [("retry-after", "5")])
        if not is_known:
            return self._unknown(headers, has_credential=credential is not None)
        self._known_until.pop(caller, None)
        self._known_until[caller] = self._monotonic() + KNOWN_FOR_S
        while len(self._known_until) > _MOST_KNOWN:
            del self._known_until[next(iter(self._known_until))]
        return None

    def _unknown(self, headers: Mapping[str, str], *, has_credential: bool) -> _Refusal:
        said = ['realm="Pylon DEG"']
        if has_credential:  # RFC 6750, section 3.1: a request without one is told no error
            said.append('error="invalid_token"')
        if self._settings.authorization_server and (origin := _own_origin(headers)):
            said.append(f'resource_metadata="{origin}{METADATA_PATH}{PATH}"')
        detail = "send a key or token of the platform's as Authorization: Bearer …"
        return _Refusal(401, detail, [("www-authenticate", f"Bearer {', '.join(said)}")])

    def close(self) -> None:
        self._caller.close()


@dataclass(frozen=True)
class _Refusal:
    status: int
    detail: str
    headers: Sequence[tuple[str, str]] = ()


def _own_origin(headers: Mapping[str, str]) -> str | None:
    """By which name of this machine it was asked; None: by another, which a page of another site may have made up."""
    host = headers.get("host", "")
    return f"http://{host}" if _NAME_OF_THIS_MACHINE.fullmatch(host) else None


async def _send(send: Send, refused: _Refusal) -> None:
    document = {"type": "about:blank", "status": refused.status, "detail": refused.detail}
    await _send_json(send, refused.status, "application/problem+json", document, refused.headers)


async def _send_json(
    send: Send, status: int, kind: str, document: Mapping[str, object], more: Sequence[tuple[str, str]]
) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = [("content-type", kind), ("content-length", str(len(body))), *more]
    named = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})


def application(server: Server[Any], settings: AgentSettings) -> CredentialGate:
    """The ASGI application: the SDK's, which answers to names of this machine alone, behind the gate."""
    return CredentialGate(server.streamable_http_app(streamable_http_path=PATH, host=HOST), settings, time.monotonic)


def serve(server: Server[Any], settings: AgentSettings, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with closing(application(server, settings)) as gate:
        uvicorn.run(
            gate,
            host=HOST,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=ENDS_WITHIN_S,
        )
