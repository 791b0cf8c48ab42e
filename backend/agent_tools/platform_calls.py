"""Calls to the platform's API server and gateway, as one caller. An answer is a JSON document, or a refusal."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, from_thread, to_thread

from agent_tools.refusals import ToolRefused, refusal
from agent_tools.settings import AgentSettings
from outgoing.calls import Answer, Caller, Limits
from outgoing.failures import AnswerTooLong, CallFailed
from version import VERSION

CONNECT_S = 5.0
USUAL_S = 15.0
ANSWER_BYTES = 8 * 1024 * 1024
CALLS_AT_ONCE = 32
OF_ONE_CALLER = 8

Document = dict[str, Any]
Result = TypeVar("Result")


class Turns:
    """How many calls to the platform may be under way: of all callers together, and of each, so that none waits
    for another's long ones."""

    def __init__(self) -> None:
        self.of_all = CapacityLimiter(CALLS_AT_ONCE)
        self._of: WeakValueDictionary[bytes, CapacityLimiter] = WeakValueDictionary()

    def of(self, credential: str | None) -> CapacityLimiter:
        """One caller's, which lasts as long as somebody holds it."""
        return self._of.setdefault(whose(credential), CapacityLimiter(OF_ONE_CALLER))


async def in_turn(call: Callable[[], Result], limiters: Iterable[CapacityLimiter]) -> Result:
    """What `call` returns, in a thread, once each limiter has room for it.

    Whoever gives up waits no longer, but the call keeps its room until it has ended: or begun and given up again and
    again, any number would be under way.
    """
    turn = object()
    with ExitStack() as waiting:
        for limiter in limiters:
            await limiter.acquire_on_behalf_of(turn)
            waiting.callback(limiter.release_on_behalf_of, turn)
        held = waiting.pop_all()
    first = threading.Lock()  # who has it gives the room back: the thread, if it has begun

    def work() -> Result:
        if not first.acquire(blocking=False):
            raise CancelledError  # nobody waits for it
        try:
            return call()
        finally:
            with suppress(RuntimeError):  # the server has ended
                from_thread.run_sync(held.close)

    try:
        return await to_thread.run_sync(work, limiter=CapacityLimiter(math.inf), abandon_on_cancel=True)
    finally:
        if first.acquire(blocking=False):
            held.close()


class Platform:
    """The two servers, asked with one credential.

    Args:
        caller: makes the calls; it is shared among callers and may be used from many threads.
        turns: how many calls may be under way.
        credential: what each call carries as a Bearer token; None: no call carries one.
    """

    def __init__(self, settings: AgentSettings, caller: Caller, turns: Turns, credential: str | None) -> None:
        self._settings = settings
        self._caller = caller
        self._of_all, self._of_this_caller = turns.of_all, turns.of(credential)
        self._headers = {
            "Accept": "application/json",
            "User-Agent": f"PylonDEG/{VERSION} (mcp)",
            **({} if credential is None else {"Authorization": f"Bearer {credential}"}),
        }

    async def get(self, path: str, parameters: Mapping[str, object] | None = None) -> Document:
        """What the API server answers to a GET; parameters that are None are left out.

        Raises:
            ToolRefused: it refuses, or cannot be reached.
        """
        return _document(await self._call("GET", self._settings.url + path + _query(parameters)))

    async def get_if_there(self, path: str, parameters: Mapping[str, object] | None = None) -> Document | None:
        """The same, None where there is no such thing (404).

        Raises:
            ToolRefused: it refuses otherwise, or cannot be reached.
        """
        answer = await self._call("GET", self._settings.url + path + _query(parameters))
        return None if answer.status == 404 else _document(answer)

    async def from_gateway(self, path: str, parameters: Mapping[str, object] | None = None) -> Document:
        """What the gateway answers to a GET.

        Raises:
            ToolRefused: it refuses, or cannot be reached.
        """
        return _document(await self._call("GET", self._settings.gateway_url + path + _query(parameters)))

    async def post(
        self, path: str, body: object, parameters: Mapping[str, object] | None = None, *, within_s: float = USUAL_S
    ) -> tuple[int, Document]:
        """The status (of success) and the answer of the API server to a POST.

        Raises:
            ToolRefused: it refuses, or cannot be reached.
        """
        answer = await self._call("POST", self._settings.url + path + _query(parameters), body, within_s)
        return answer.status, _document(answer)

    async def health(self) -> Document:
        """What the API server says of itself, well or not.

        Raises:
            ToolRefused: it cannot be reached.
        """
        answer = await self._call("GET", self._settings.url + "/health")
        return _document(replace(answer, status=200) if answer.status == 503 else answer)

    async def is_known(self) -> bool:
        """Whether the platform takes the credential for anything at all.

        Raises:
            ToolRefused: it cannot be reached.
        """
        return (await self._call("GET", self._settings.url + "/api/v1/objects/Region/1")).status != 401

    async def _call(self, method: str, url: str, body: object = None, within_s: float = USUAL_S) -> Answer:
        headers, content = self._headers, None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            content = json.dumps(body).encode()
        limits = Limits(connect_s=CONNECT_S, whole_s=within_s, answer_bytes=ANSWER_BYTES)
        call = partial(self._caller.call, method, url, limits=limits, headers=headers, body=content)
        try:
            return await in_turn(call, (self._of_this_caller, self._of_all))
        except AnswerTooLong:
            raise ToolRefused("the platform's answer is too long for a tool: ask for less") from None
        except CallFailed:
            raise ToolRefused(
                "the platform cannot be reached: see that it runs (make run) and where (PYLON_URL, PYLON_GATEWAY_URL)"
            ) from None


def whose(credential: str | None) -> bytes:
    """A caller, without its credential."""
    return hashlib.sha256((credential or "").encode()).digest()


def path_part(text: str) -> str:
    """A name as one part of a path, also where it is `.` or `..`, which would lead to another."""
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)


def _query(parameters: Mapping[str, object] | None) -> str:
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    return f"?{urlencode({name: _written(value) for name, value in given.items()})}" if given else ""


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _document(answer: Answer) -> Document:
    """
    Raises:
        ToolRefused: it is no success, or no JSON object.
    """
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if not 200 <= answer.status < 300:
        faults = document.get("errors") if isinstance(document, dict) else None
        fields = [str(fault.get("field")) for fault in faults if isinstance(fault, dict)] if faults else []
        raise refusal(answer.status, fields)
    if not isinstance(document, dict):
        raise ToolRefused("what answers at PYLON_URL or PYLON_GATEWAY_URL is not the platform")
    return document
