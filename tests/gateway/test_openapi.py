"""The description: a valid one, with true examples, that the live gateway keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from grid_world import store_world, submit, workload
from new_database import new_database
from openapi_description import LONGEST_FUZZ_S, check_parameter_examples, fuzz, operations
from running_gateway import RunningGateway, running_gateway, workers_on
from web.problems import MEDIA_TYPE

API_KEY = "a-key-for-these-tests"
STREAM = "/beckn/broadcast"

# Every generated input must be answered as described. That valid input is accepted cannot be asked where more than
# the schema decides: a place among the events has to be one that there is.
SCHEMATHESIS = """
[[operations]]
include-path = "/beckn/broadcast/poll"
[operations.checks]
positive_data_acceptance.enabled = false
"""


@pytest.fixture(scope="module")
def gateway(postgres_server: EmbeddedPostgres) -> Iterator[RunningGateway]:
    """With a key, over some decisions, one of them the workload of the examples."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_world(database)
        submit(database, workload("train-1"), workload("train-2"))
        workers_on(database).work_once()
        with running_gateway(database, environ={"PYLON_API_KEY": API_KEY}) as running:
            yield running
        database.close()


@pytest.fixture(scope="module")
def description(gateway: RunningGateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/openapi.json").json()
    return found


def test_it_is_valid_openapi_3_1_and_complete(description: dict[str, Any], gateway: RunningGateway) -> None:
    assert description["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(description).validate()
    described = {f"{method.upper()} {path}" for method, path, _ in operations(description)}
    served = {endpoint.replace("<", "{").replace(">", "}") for endpoint in gateway.get("/").json()["endpoints"]}
    assert served - described == {
        "GET /docs",
        "GET /metrics",
        "GET /openapi.json",
        # Described by the latter.
        "GET /stream",
        "GET /asyncapi.json",
    }
    for method, path, operation in operations(description):
        assert operation["summary"], path
        assert operation["tags"], path
        # A ticket is for who may listen, which takes no key on this machine.
        assert ("security" in operation) == (method == "post" and path != f"{STREAM}/ticket"), path
        for status, answer in operation["responses"].items():
            media = {"4": MEDIA_TYPE, "5": MEDIA_TYPE}.get(status[0], "application/json")
            expected = (
                [] if status == "304" else ["text/event-stream" if path == STREAM and status == "200" else media]
            )
            assert list(answer.get("content", ())) == expected, (path, status)
            assert answer["description"], (path, status)


def test_every_example_meets_its_schema(description: dict[str, Any]) -> None:
    checked = 0
    schemas = description["components"]["schemas"]
    for name, schema in schemas.items():
        examples = [(f"#/components/schemas/{name}", schema["example"])] if "example" in schema else []
        for field, described in schema.get("properties", {}).items():
            if "example" in described:
                examples.append((f"#/components/schemas/{name}/properties/{field}", described["example"]))
        for pointer, example in examples:
            jsonschema_rs.validate({"$ref": pointer, "components": description["components"]}, example)
        checked += len(examples)
    assert checked >= 5
    check_parameter_examples(description)


def test_what_is_answered_is_what_is_described(description: dict[str, Any], gateway: RunningGateway) -> None:
    for path, item in description["paths"].items():
        if "get" not in item or path == STREAM:
            continue
        url = path.replace("{task_id}", "train-1").replace("{dc_id}", "DC-001")
        schema = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        answer = gateway.get(url)
        assert answer.status_code == 200, url
        jsonschema_rs.validate(schema | {"components": description["components"]}, answer.json())


@pytest.mark.thorough
@pytest.mark.timeout(LONGEST_FUZZ_S)
def test_the_live_gateway_keeps_to_its_description_whatever_it_is_sent(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    endless = ("--exclude-path", STREAM)
    fuzz(gateway.client.url, tmp_path, SCHEMATHESIS, *endless, api_key=API_KEY, max_examples=15)
