"""How much one caller and all together may have under way: calls to the platform, and streams of changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import anyio
import mcp_types as types
import pytest
from anyio import CancelScope, create_task_group, fail_after
from mcp.shared.exceptions import MCPError

from agent_tools import server
from agent_tools.calling import ToolCalls
from agent_tools.platform_calls import Platform, Turns
from agent_tools.server import Context, _Handlers
from agent_tools.settings import AgentSettings
from agent_tools.write_limit import WriteLimit
from outgoing.calls import Answer, Caller

OF_ONE_CALLER = 8
OF_ALL = 32
STREAMS_OF_ONE_CALLER = 16
STREAMS_OF_ALL = 256


class SlowCaller:
    """Answers nothing until it may."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = threading.Event()

    def call(self, *_: object, **__: object) -> Answer:
        self.begun += 1
        assert self.go_on.wait(30)
        return Answer(200, {}, b"{}")


async def come_to(reads: Callable[[], int], wanted: int) -> None:
    """Wait for a number, and a little longer, in which it must not grow."""
    with fail_after(30):
        while reads() < wanted:
            await anyio.sleep(0.005)
    for _ in range(20):
        await anyio.sleep(0.002)
    assert reads() == wanted


def of(caller: SlowCaller, turns: Turns, name: str) -> Platform:
    return Platform(AgentSettings(), cast("Caller", caller), turns, name)


def test_one_caller_has_eight_calls_under_way_and_others_have_theirs() -> None:
    async def main() -> None:
        caller, turns = SlowCaller(), Turns()
        one, other = of(caller, turns, "one"), of(caller, turns, "other")
        async with create_task_group() as group:
            for _ in range(OF_ONE_CALLER + 4):
                group.start_soon(one.get, "/x")
            await come_to(lambda: caller.begun, OF_ONE_CALLER)
            group.start_soon(other.get, "/x")
            await come_to(lambda: caller.begun, OF_ONE_CALLER + 1)
            caller.go_on.set()
        assert caller.begun == OF_ONE_CALLER + 5

    anyio.run(main)


def test_all_callers_together_have_thirty_two() -> None:
    async def main() -> None:
        caller, turns = SlowCaller(), Turns()
        platforms = [of(caller, turns, f"caller {number}") for number in range(6)]
        async with create_task_group() as group:
            for platform in platforms:
                for _ in range(OF_ONE_CALLER):
                    group.start_soon(platform.get, "/x")
            await come_to(lambda: caller.begun, OF_ALL)
            caller.go_on.set()
        assert caller.begun == 6 * OF_ONE_CALLER

    anyio.run(main)


def test_calls_that_are_given_up_count_until_they_have_ended() -> None:
    async def main() -> None:
        caller, turns = SlowCaller(), Turns()
        one = of(caller, turns, "one")
        for wave in range(3):
            with CancelScope() as given_up:
                async with create_task_group() as group:
                    for _ in range(OF_ONE_CALLER):
                        group.start_soon(one.get, "/x")
                    await come_to(lambda: caller.begun, OF_ONE_CALLER)
                    given_up.cancel()
            assert given_up.cancelled_caught, wave
        caller.go_on.set()
        with fail_after(30):
            await one.get("/x")
        assert caller.begun == OF_ONE_CALLER + 1, "what was given up before it began is never made"

    anyio.run(main)


def asked_by(credential: str) -> Context:
    request = SimpleNamespace(headers={"authorization": f"Bearer {credential}"})
    return cast("Context", SimpleNamespace(request_id=1, request=request, session=None))


def test_streams_are_counted_for_each_caller_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = _Handlers(AgentSettings(), ToolCalls(allow_writes=False, limit=WriteLimit(1, lambda: 0.0)))
    open_streams: set[object] = set()
    params = types.SubscriptionsListenRequestParams(notifications=types.SubscriptionFilter())

    async def stay(*_: Any) -> None:
        stream = object()
        open_streams.add(stream)
        try:
            await anyio.sleep_forever()
        finally:
            open_streams.remove(stream)

    monkeypatch.setattr(server, "_listen", stay)

    async def refused(credential: str) -> bool:
        try:
            with anyio.move_on_after(0.01):
                await handlers.listen(asked_by(credential), params)
        except MCPError as error:
            return "too many streams" in str(error)
        return False

    async def main() -> None:
        async with create_task_group() as group:
            for number in range(STREAMS_OF_ALL - 1):
                group.start_soon(handlers.listen, asked_by(f"caller {number // STREAMS_OF_ONE_CALLER}"), params)
            await come_to(lambda: len(open_streams), STREAMS_OF_ALL - 1)
            assert await refused("caller 0"), "it has its sixteen"
            assert not await refused("somebody else"), "there is one place, and it was given back"
            group.start_soon(handlers.listen, asked_by("the last"), params)
            await come_to(lambda: len(open_streams), STREAMS_OF_ALL)
            assert await refused("somebody else"), "all are taken"
            group.cancel_scope.cancel()
        assert not await refused("caller 0"), "those that end give their places back"

    anyio.run(main)
