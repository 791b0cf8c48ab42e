"""The description: a valid one, with true examples, that the live server keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api_application import create_app
from api_servers import api_servers, first_run_done
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from linked_world import store_linked_world
from new_database import as_url, new_database
from openapi_description import LONGEST_FUZZ_S, check_parameter_examples, fuzz, operations
from served import Client
from server_process import ServerProcess
from settings import load_settings
from web.problems import MEDIA_TYPE

API_KEY = "a-key-for-these-tests"

# Every generated input must be answered as described. That valid input is accepted cannot be asked of operations
# where more than the schema decides: a cursor has to be one, a deadline or a start has to be ahead, an operator
# known, a period has to begin before it ends, and a change has to change something.
MORE_DECIDES = (
    "flexibility/events.*|workloads|workloads/.*/move|plan|savings|grid/(history|system-prices|dfs-events)|objects/.*|"
    "runners.*|tenancy/(operator|audit-events)"
)
# Its objects are so deep that generating them takes longer than the time there is: tests/openadr tries bad ones.
OPENADR = "^/openadr3/"
SCHEMATHESIS = f"""
[[operations]]
include-path-regex = "/api/v1/({MORE_DECIDES})$"
[operations.checks]
positive_data_acceptance.enabled = false
"""
RUNNERS = "^/api/v1/runners"
# The three others work for seconds.
TENANCY = "^/api/v1/tenancy"
FLEXIBILITY = "^/api/v1/flexibility"
READS = "^/api/v1/(grid|objects|ontology|live-state|market|savings)"
OF_THEIR_OWN = f"^/api/v1/(plan/batch|backtest|negotiations)|{RUNNERS}|{TENANCY}|{FLEXIBILITY}|{READS}|{OPENADR}"


@pytest.fixture(scope="module")
def description(world: Client) -> dict[str, Any]:
    found: dict[str, Any] = world.get("/openapi.json").json()
    return found


def test_it_is_valid_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(description).validate()


def test_every_operation_says_what_it_is_and_what_it_answers(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        assert operation["summary"], path
        assert operation["tags"], path
        answers = operation["responses"]
        assert any(status.startswith("2") for status in answers), path
        is_openadr = path.startswith("/openadr3/")  # which knows 400 alone
        assert {"400" if is_openadr else "422", "503"} <= set(answers), path
        assert ("422" in answers) is not is_openadr, path
        assert ("404" in answers) == ("{" in path), path
        assert ({"400", "413", "415"} <= set(answers)) == (method in {"post", "put"}), path
        for status, answer in answers.items():
            if status == "304":
                continue  # it has no body
            media = MEDIA_TYPE if status[0] in "45" else "application/json"
            assert list(answer["content"]) == [media], (path, status)
            assert answer["description"], (path, status)


def test_every_example_meets_its_schema(description: dict[str, Any]) -> None:
    checked = 0
    for name, schema in description["components"]["schemas"].items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": description["components"]}
        if "example" in schema:
            jsonschema_rs.validate(whole, schema["example"])
            checked += 1
    assert checked >= 3
    check_parameter_examples(description)


def test_a_parameter_that_may_be_left_out_is_not_described_as_null(description: dict[str, Any]) -> None:
    for _, path, operation in operations(description):
        for parameter in operation.get("parameters", ()):
            assert "null" not in str(parameter["schema"]), (path, parameter["name"])


def test_a_key_is_asked_for_only_where_one_is_set(description: dict[str, Any], postgres: PostgresDatabase) -> None:
    guarded = create_app(postgres, load_settings({"PYLON_API_KEY": API_KEY})).test_client().get("/openapi.json").json
    assert guarded is not None
    OpenAPIV31SpecValidator(guarded).validate()
    for document, asks in ((description, False), (guarded, True)):
        submit = document["paths"]["/api/v1/workloads"]["post"]
        assert ("security" in submit, "401" in submit["responses"]) == (asks, asks)


@pytest.fixture(scope="module")
def live_server(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with a key, over the linked world and what its own first run adds."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo, max_connections=1)
        store_linked_world(database)
        database.close()
        settings = {"DATABASE_URL": as_url(conninfo), "PYLON_API_KEY": API_KEY}
        with api_servers(tmp_path_factory.mktemp("server"), settings) as start:
            server = start()
            server.wait_for(lambda: first_run_done(server))
            yield server


@pytest.mark.thorough
@pytest.mark.timeout(LONGEST_FUZZ_S)
def test_the_live_server_keeps_to_its_description_whatever_it_is_sent(
    live_server: ServerProcess, tmp_path: Path
) -> None:
    options = ("--exclude-path-regex", OF_THEIR_OWN, "--warnings", "off")
    fuzz(live_server.url, tmp_path, SCHEMATHESIS, *options, api_key=API_KEY, max_examples=10)
    assert "Traceback" not in live_server.log


@pytest.mark.thorough
@pytest.mark.timeout(LONGEST_FUZZ_S)
@pytest.mark.parametrize("group", [RUNNERS, TENANCY, FLEXIBILITY, READS])
def test_a_group_of_endpoints_keeps_to_its_description(
    live_server: ServerProcess, group: str, tmp_path: Path
) -> None:
    options = ("--include-path-regex", group, "--warnings", "off")
    fuzz(live_server.url, tmp_path, SCHEMATHESIS, *options, api_key=API_KEY, max_examples=10)
    assert "Traceback" not in live_server.log
