"""Whatever text of the platform's answers a stranger has written: it is data in an answer, and in nothing of ours."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

import flexibility_world
import stored_negotiations
from agent_calls import NEGOTIATIONS, SHARE_A_LIMIT, USUAL
from agent_tools.prompts import PROMPTS
from agent_tools.server import make_server
from agent_tools.settings import agent_settings
from agents_world import INSTRUCTION, PLANTED, AgentsWorld, text_of
from flexibility_world import book_movable
from grid_world import NOW
from recorded_platform import RecordedPlatform
from tenant_settings import bearer
from two_operators import A

READ = [
    "pylon://ontology",
    "pylon://ontology/DataCentre",
    "pylon://decisions/decided",
    "pylon://decisions/latest",
    "pylon://sources",
]
REFUSALS = (400, 401, 403, 404, 409, 413, 421, 422, 429, 500, 503)
Asked: TypeAlias = "tuple[str, dict[str, Any]] | str"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.fixture(scope="module")
def calls(world: AgentsWorld) -> list[Asked]:
    """Each tool as it is usually asked, and about one event and one negotiation; and resources."""
    book_movable(world.database, "gives-way", operator=A)
    event = flexibility_world.announced(world.database, tenant=A)
    flexibility_world.carry_on(world.database, NOW)
    flexibility_world.carry_on(world.database, flexibility_world.ENDS_AT)
    opened = world.api.post(NEGOTIATIONS, SHARE_A_LIMIT, headers=bearer(world.of_a)).json()
    stored_negotiations.carry_on(world.database)
    details: list[Asked] = [
        ("get_flexibility", {"event_id": str(event.event_id)}),
        ("get_negotiations", {"negotiation_id": opened["negotiation_id"]}),
    ]
    return [*USUAL.items(), *details, *READ]


@pytest.fixture
def platform(world: AgentsWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedPlatform]:
    recorded = RecordedPlatform(PLANTED)
    monkeypatch.setattr("agent_tools.server.KeptCaller", lambda: recorded)
    yield recorded
    recorded.close()


@asynccontextmanager
async def asking(world: AgentsWorld) -> AsyncIterator[Client]:
    async with Client(make_server(agent_settings(world.environment(world.of_a, MCP_ALLOW_WRITES="1")))) as client:
        yield client


async def told(client: Client, asked: Asked) -> tuple[str | None, list[Any]]:
    """What a client is told of a tool or a resource: the error, or the answer."""
    if isinstance(asked, str):
        try:
            return None, [content.text for content in (await client.read_resource(asked)).contents]  # type: ignore[union-attr]
        except MCPError as error:
            return f"{error} {error.error}", []
    result = await client.call_tool(*asked)
    if result.is_error:
        return text_of(result), []
    return None, [result.structured_content, text_of(result)]


def texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, list):
        for each in document:
            yield from texts(each)
    elif isinstance(document, dict):
        for name, value in document.items():
            yield from texts([name, value])


def check_quoted(answers: list[Any]) -> None:
    """No text in them is long or holds what cannot be seen; one that is a whole answer is as long as that."""
    for text in texts(answers):
        assert len(text) < 500 or text.startswith("{")
        assert not any(unicodedata.category(character) in _HIDDEN for character in text)


def test_instructions_in_any_text_of_any_answer_reach_no_error_and_are_quoted_where_they_are_told(
    world: AgentsWorld, calls: list[Asked], platform: RecordedPlatform
) -> None:
    told_in: set[str] = set()

    async def ask() -> None:
        async with asking(world) as client:
            for asked in calls:
                platform.begin()
                assert (await told(client, asked))[0] is None
                for name in platform.replayed():
                    error, answers = await told(client, asked)
                    assert INSTRUCTION not in (error or ""), (asked, name)
                    check_quoted(answers)
                    if INSTRUCTION in "".join(texts(answers)):
                        told_in.add(name)

    anyio.run(ask)
    assert {"name", "rationale", "status_reason", "state_reason", "explanation", "operator"} <= told_in


def test_the_platform_s_own_words_for_a_refusal_are_never_told(
    world: AgentsWorld, calls: list[Asked], platform: RecordedPlatform
) -> None:
    problem = {"title": PLANTED, "detail": PLANTED, "errors": [{"field": PLANTED, "message": PLANTED}]}

    async def ask() -> None:
        async with asking(world) as client:
            for asked in calls:
                for status in REFUSALS:
                    platform.refuse_everything(status, problem)
                    error, _ = await told(client, asked)
                    assert error is not None or asked == "pylon://sources", (asked, status)
                    assert INSTRUCTION not in (error or ""), (asked, status)

    anyio.run(ask)


def test_what_is_listed_is_the_same_whatever_the_platform_says(
    world: AgentsWorld, platform: RecordedPlatform
) -> None:
    async def listed(key: str) -> list[str]:
        settings = agent_settings(world.environment(key, MCP_ALLOW_WRITES="1"))
        async with Client(make_server(settings)) as client:
            found = [
                *(await client.list_tools()).tools,
                *(await client.list_resources()).resources,
                *(await client.list_resource_templates()).resource_templates,
                *(await client.list_prompts()).prompts,
                *[await client.get_prompt(name, {each.argument: "decided"}) for name, each in PROMPTS.items()],
            ]
            return [each.model_dump_json() for each in found]

    assert anyio.run(listed, world.of_a) == anyio.run(listed, world.of_b)
    assert not platform.was_asked
