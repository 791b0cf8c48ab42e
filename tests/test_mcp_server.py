"""The MCP server as its users start it: over stdio and over HTTP, for clients that nobody here wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import anyio
import pytest
import requests
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import ProtectedResourceMetadata

from agent_tools.catalogue import TOOLS
from agents_world import PROGRAM, AgentsWorld, agents_world
from api_application import create_app
from authorization_server import authorization_server, client_that_authorizes
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from mcp_clients import conformance, inspector, mcp_clients_required
from new_database import new_database
from served import served
from server_process import BACKEND, free_port, inherited
from settings import load_settings
from tenant_settings import bearer, keys_of, made_key
from two_operators import A

DOCUMENT = BACKEND.parent / "docs" / "agents.md"
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
        error = ', error="invalid_token"' if headers else ""
        assert refused.headers["WWW-Authenticate"] == f'Bearer realm="Pylon DEG"{error}'
        assert "Authorization: Bearer" in refused.json()["detail"]
    from_elsewhere = requests.post(
        over_http, json={}, headers={**bearer(world.of_a), "Host": "evil.example"}, timeout=10
    )
    assert from_elsewhere.status_code in {403, 421}


def test_a_client_that_knows_nobody_learns_from_the_refusal_whose_tokens_are_taken_and_comes_with_one(
    world: AgentsWorld, tmp_path: Path
) -> None:
    """RFC 9728, by the SDK's own client: refusal, metadata, authorization server, token for this resource, answer."""

    async def ask(url: str) -> list[str]:
        async with (
            create_mcp_http_client(auth=client_that_authorizes(url)) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            found = await client.call_tool("find_objects", {"object_type": "ComputeWorkload"})
            assert found.structured_content is not None
            return [each["id"] for each in found.structured_content["objects"]]

    with authorization_server(world.of_a) as issuer:
        environment = world.environment(MCP_AUTHORIZATION_SERVER=issuer.url)
        with mcp_over_http(environment, tmp_path / "log") as url:
            assert anyio.run(ask, url) == ["of-a"]
            assert issuer.resources == [url]
            check_metadata(url, issuer.url)


def check_metadata(url: str, issuer_url: str) -> None:
    origin = url.removesuffix("/mcp")
    path = "/.well-known/oauth-protected-resource"
    named = requests.post(url, json={}, timeout=10).headers["WWW-Authenticate"]
    assert named == f'Bearer realm="Pylon DEG", resource_metadata="{origin}{path}/mcp"'
    for address in (f"{origin}{path}/mcp", f"{origin}{path}"):
        found = requests.get(address, timeout=10).json()
        assert ProtectedResourceMetadata.model_validate(found).bearer_methods_supported == ["header"]
        assert (found["resource"], found["authorization_servers"]) == (url, [issuer_url])
    assert requests.post(f"{origin}{path}", timeout=10).status_code == 405
    elsewhere = {"Host": "evil.example"}
    assert requests.get(f"{origin}{path}", headers=elsewhere, timeout=10).status_code == 421
    assert "evil" not in requests.post(url, json={}, headers=elsewhere, timeout=10).headers["WWW-Authenticate"]


def test_a_subscription_ends_with_its_key(world: AgentsWorld, over_http: str) -> None:
    key, _ = made_key(world.database, A)

    async def ask() -> None:
        async with (
            as_caller(over_http, key.text) as client,
            client.listen(resource_subscriptions=[LATEST]) as events,
        ):
            await anyio.to_thread.run_sync(keys_of(world.database, A).revoke, key.key_id)
            with anyio.fail_after(30):
                assert [event async for event in events] == []

    anyio.run(ask)


def test_an_open_subscription_keeps_no_server_from_ending(world: AgentsWorld, tmp_path: Path) -> None:
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    listen = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {"notifications": {"resourceSubscriptions": [LATEST]}, "_meta": meta},
    }
    headers = {
        **bearer(world.of_a),
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": "subscriptions/listen",
    }
    with mcp_over_http(world.environment(), tmp_path / "log") as url:  # waits for its end
        stream = requests.post(url, json=listen, headers=headers, stream=True, timeout=60)
        assert stream.status_code == 200, stream.text
        assert any(b"acknowledged" in line for line in stream.iter_lines())
    stream.close()


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
        "server-initialize@2025-11-25",
        "ping@2025-11-25",
        "server-session-lifecycle@2025-11-25",
        "tools-list@2025-11-25",
        "tools-list@2026-07-28",
        "resources-list@2026-07-28",
        "prompts-list@2026-07-28",
        "dns-rebinding-protection@2026-07-28",
        "server-sse-multiple-streams@2025-11-25",
        "server-stateless@2026-07-28",
        "http-header-validation@2026-07-28",
        "caching@2026-07-28",
        "sep-2164-resource-not-found@2026-07-28",
        "input-required-result-unsupported-methods@2026-07-28",
        "input-required-result-ignore-extra-params@2026-07-28",
    ],
)
def test_the_conformance_suite_s_scenarios_for_any_server_pass(
    for_anybody: str, tmp_path: Path, scenario: str
) -> None:
    mcp_clients_required()
    name, _, version = scenario.partition("@")
    assert conformance(tmp_path, for_anybody, name, version) == set()


def test_the_program_of_the_document_places_a_job_as_pasted(world: AgentsWorld, tmp_path: Path) -> None:
    found = re.search(r"/tmp/agent.py <<'PYTHON'\n(.*?)\nPYTHON", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    program = tmp_path / "agent.py"
    program.write_text(found[1].replace('".venv/bin/python"', repr(sys.executable)))
    stopped = Event()

    def decide() -> None:
        while not stopped.wait(0.1):
            world.decide()

    deciding = Thread(target=decide)
    deciding.start()
    try:
        ended = subprocess.run(
            [sys.executable, str(program)],
            cwd=BACKEND.parent,
            env={**inherited(), **world.environment(world.of_a)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        stopped.set()
        deciding.join()
    assert ended.returncode == 0, ended.stderr
    told = [line.partition(": ") for line in ended.stdout.splitlines()]
    assert [word for word, _, _ in told] == ["planned", "stored", "decided", "because"]
    assert "'my-agents-job'" in told[2][2]
    assert told[3][2]
