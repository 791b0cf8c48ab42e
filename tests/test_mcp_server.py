"""The MCP server as its users start it: over stdio and over HTTP, for clients that nobody here wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from agent_tools.catalogue import TOOLS
from agents_world import PROGRAM, AgentsWorld, agents_world
from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from mcp_clients import conformance, inspector, mcp_clients_required
from new_database import new_database
from served import served
from server_process import BACKEND, free_port, inherited
from settings import load_settings
from tenant_settings import bearer

LATEST = "pylon://decisions/latest"
JOB = {"workload_type": "INFERENCE_BATCH", "required_gpu_mins": 60}


@pytest.fixture(scope="module")
def world(postgres_server: EmbeddedPostgres) -> Iterator[AgentsWorld]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        with agents_world(database, conninfo) as running:
            running.submit("of-a")
            running.decide()
            yield running
        database.close()


@pytest.fixture(scope="module")
def over_http(world: AgentsWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server for many."""
    log = tmp_path_factory.mktemp("mcp") / "log"
    environment = world.environment(world.of_a, MCP_ALLOW_WRITES="1")  # the key is not for its callers
    with mcp_over_http(environment, log) as url:
        yield url
    assert world.of_a not in log.read_text()


@contextmanager
def mcp_over_http(environment: dict[str, str], log_file: Path) -> Iterator[str]:
    port = free_port()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "--http", "--port", str(port)],
            env={**inherited(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        anyio.run(_until_it_answers, url, process)
        yield url
    finally:
        process.terminate()
        process.wait(30)


async def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    with anyio.fail_after(60):
        while True:
            assert process.poll() is None
            try:
                requests.get(url, timeout=5)
            except requests.ConnectionError:
                await anyio.sleep(0.05)
            else:
                return


@asynccontextmanager
async def as_caller(url: str, key: str) -> AsyncIterator[Client]:
    async with (
        create_mcp_http_client(headers=bearer(key)) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


def test_importing_it_starts_nothing_needs_no_library_of_the_servers_and_a_wrong_setting_is_told_in_one_line() -> (
    None
):
    heavy = {"flask", "gevent", "psycopg", "numpy", "scipy", "supabase"}
    program = (
        "import sys, threading, mcp_server; "
        f"print(threading.active_count(), sorted({heavy!r} & sys.modules.keys())); "
        "sys.exit(mcp_server.main([]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BACKEND,
        env={**inherited(), "MCP_ALLOW_WRITES": "perhaps"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "1 []\n")
    assert ended.stderr == "mcp_server: MCP_ALLOW_WRITES is refused: it takes 1 or 0\n"


def test_the_sdk_s_own_client_gets_answers_over_stdio(world: AgentsWorld) -> None:
    server = StdioServerParameters(
        command=PROGRAM[0], args=PROGRAM[1:], env={**inherited(), **world.environment(world.of_a)}
    )

    async def ask() -> None:
        async with Client(server) as client:
            offered = [tool.name for tool in (await client.list_tools()).tools]
            assert offered == [name for name, tool in TOOLS.items() if not tool.writes]
            result = await client.call_tool("get_decision", {"job_id": "of-a"})
            assert result.structured_content is not None
            assert result.structured_content["chosen"]["dc_id"] == "DC-001"
            sources = await client.read_resource("pylon://sources")
            assert '"sources"' in sources.contents[0].text  # type: ignore[union-attr]

    anyio.run(ask)


def test_over_http_each_caller_is_itself_and_nobody_is_refused_with_how_to_be_somebody(
    world: AgentsWorld, over_http: str
) -> None:
    async def ask(key: str) -> tuple[list[str], bool]:
        async with as_caller(over_http, key) as client:
            found = await client.call_tool("find_objects", {"object_type": "ComputeWorkload"})
            assert found.structured_content is not None
            decision = await client.call_tool("get_decision", {"job_id": "of-a"})
            return [each["id"] for each in found.structured_content["objects"]], decision.is_error

    assert anyio.run(ask, world.of_a) == (["of-a"], False)
    assert anyio.run(ask, world.of_b) == ([], True)
    for headers in ({}, bearer("pyl_nobodys-key")):
        refused = requests.post(over_http, json={}, headers=headers, timeout=10)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "Authorization: Bearer" in refused.json()["detail"]
    from_elsewhere = requests.post(
        over_http, json={}, headers={**bearer(world.of_a), "Host": "evil.example"}, timeout=10
    )
    assert from_elsewhere.status_code in {403, 421}


def test_a_subscriber_hears_of_new_decisions_of_its_own(world: AgentsWorld, over_http: str) -> None:
    async def ask() -> None:
        async with (
            as_caller(over_http, world.of_b) as client,
            client.listen(resource_subscriptions=[LATEST]) as events,
        ):
            cursor = await client.call_tool("list_decisions", {})
            await anyio.to_thread.run_sync(lambda: world.submit("of-b", world.of_b))
            await anyio.to_thread.run_sync(world.decide)
            with anyio.fail_after(30):
                async for event in events:
                    assert event.uri == LATEST  # type: ignore[union-attr]
                    break
            after = cursor.structured_content["next"]
            heard = await client.call_tool("list_decisions", {"after": after})
            assert [each["job_id"] for each in heard.structured_content["decisions"]] == ["of-b"]

    anyio.run(ask)


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_the_inspector_finds_nothing_to_complain_of(
    world: AgentsWorld, over_http: str, tmp_path: Path, era: str
) -> None:
    mcp_clients_required()
    headers = ["--header", f"Authorization: Bearer {world.of_a}"]
    common = [over_http, *headers, "--protocol-era", era, "--format", "json"]
    listed = inspector(tmp_path, *common, "--method", "tools/list", "--strict")
    assert {tool["name"] for tool in found_in(listed, "tools")} == set(TOOLS)
    call = ["--method", "tools/call", "--tool-name", "grid_now", "--tool-args-json", '{"region_id": 13}']
    called = inspector(tmp_path, *common, *call)
    assert found_in(called, "structuredContent")["carbon_gco2_per_kwh"] == 130
    read = inspector(tmp_path, *common, "--method", "resources/read", "--uri", "pylon://decisions/of-a")
    assert json.loads(found_in(read, "contents")[0]["text"])["job_id"] == "of-a"


def found_in(document: Any, name: str) -> Any:
    """The member of this name, wherever the Inspector has put the result."""
    if not isinstance(document, dict):
        return None
    if name in document:
        return document[name]
    return next((found for each in document.values() if (found := found_in(each, name)) is not None), None)


@pytest.fixture(scope="module")
def for_anybody(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a platform that asks nobody for a credential: the suite has none."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        with served(create_app(database, load_settings({}))) as api:
            log = tmp_path_factory.mktemp("mcp") / "log"
            with mcp_over_http({"PYLON_URL": api.url}, log) as url:
                yield url
        database.close()


@pytest.mark.parametrize(
    "scenario",
    [
        "server-initialize",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
        "dns-rebinding-protection",
        "server-sse-multiple-streams",
    ],
)
def test_the_conformance_suite_s_scenarios_for_any_server_pass(
    for_anybody: str, tmp_path: Path, scenario: str
) -> None:
    mcp_clients_required()
    conformance(tmp_path, for_anybody, scenario)
