"""The definitions of the tools: how long they are, and that their schemas are the platform's own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agent_tools.catalogue import TOOLS
from agent_tools.definitions import compact_json
from agent_tools.plans import TogetherAsked
from agent_tools.server import _tool
from agents_world import AgentsWorld

MOST_BYTES = 24 * 1024
OWN = {"policy", "at"}  # parameters of the address there, arguments here
BOUNDS = {"minimum", "maximum", "pattern"}  # said by plan_workload for both, and checked for both


def wire() -> list[dict[str, Any]]:
    return [_tool(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in TOOLS.values()]


def test_all_definitions_together_are_within_their_bound_and_in_a_stable_order() -> None:
    assert len(compact_json(wire()).encode()) <= MOST_BYTES
    assert wire() == wire()
    assert all(re.fullmatch(r"[a-z_]{3,30}", name) for name in TOOLS)


def test_what_changes_something_says_so_and_nothing_deletes() -> None:
    assert [tool.name for tool in TOOLS.values() if tool.writes] == ["submit_workload"]
    for tool in wire():
        assert tool["annotations"]["readOnlyHint"] is (tool["name"] != "submit_workload")
        assert tool["annotations"]["openWorldHint"] is False


@pytest.mark.parametrize("name", TOOLS)
def test_no_tool_takes_what_it_does_not_name(name: str) -> None:
    schema = TOOLS[name].input_schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False


def resolved(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    """A schema with what it refers to in place, and without what is only said."""
    if "$ref" in schema:
        return resolved(known[schema["$ref"].rpartition("/")[2]], known)
    if len(schema.get("allOf", ())) == 1:
        return resolved(schema["allOf"][0], known)
    said = {"title", "description", "default", "examples", "example"}
    kept: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            kept[name] = {each: resolved(inner, known) for each, inner in value.items()}
        elif isinstance(value, dict) and name not in said:
            kept[name] = resolved(value, known)
        elif name not in said:
            kept[name] = value
    return kept


def test_a_workload_is_taken_as_the_api_takes_it(world: AgentsWorld) -> None:
    components = world.api.get("/openapi.json").json()["components"]["schemas"]
    theirs = resolved(components["WorkloadSubmission"], components)["properties"]
    for tool in ("submit_workload", "plan_workload"):
        schema = TOOLS[tool].input_schema
        ours = resolved(schema, schema.get("$defs", {}))["properties"]
        bounds = set() if tool == "plan_workload" else BOUNDS
        for name in ours.keys() - OWN:
            same = {
                member: value for member, value in theirs[name].items() if name == "job_id" or member not in bounds
            }
            assert ours[name] == {**same, **differences(name)}, name
        assert theirs.keys() - ours.keys() <= {"run"}
    batch = resolved(components["PlannedWorkload"], components)["properties"]
    assert set(TogetherAsked.model_fields) == batch.keys() - {"run"}


def differences(name: str) -> dict[str, Any]:
    """What the API checks of a run's parameters is left to it."""
    if name != "run":
        return {}
    schema = TOOLS["submit_workload"].input_schema
    return dict(resolved(schema["properties"]["run"], {}))


SAME = [
    ("get_workload", "", "WorkloadRow"),
    ("get_workload", "run", "RunReport"),
    ("plan_batch", "jobs", "JobAnswer"),
    ("get_capacity", "", "CapacityTimeline"),
    ("plan_workload", "top", "DataCentreOption"),
    ("get_decision", "options", "DataCentreOption"),
    ("get_decision", "binding", "BindingConstraint"),
    ("get_savings", "total", "SavingsOf"),
    ("get_flexibility", "events", "FlexibilityEvent"),
    ("get_flexibility", "moves", "EventMove"),
    ("get_flexibility", "moves", "WorkloadBrought"),
    ("get_flexibility", "settlement", "Settlement"),
    ("get_negotiations", "", "NegotiationDetail"),
    ("get_negotiations", "negotiations", "NegotiationSummary"),
    ("get_negotiations", "awards", "GivenAward"),
]


def member(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema of an object in an answer: of the answer itself, of a member, or of a member's rows."""
    found = schema["properties"][name] if name else schema
    whole = resolved(found, schema.get("$defs", {}))
    return dict(whole.get("items", whole))


@pytest.mark.parametrize(("tool", "name", "component"), SAME)
def test_what_is_told_under_the_api_s_name_has_the_api_s_type(
    world: AgentsWorld, tool: str, name: str, component: str
) -> None:
    components = world.api.get("/openapi.json").json()["components"]["schemas"]
    ours = member(TOOLS[tool].output_schema, name)
    theirs = components[component]["properties"]
    common = {
        each
        for each in ours["properties"].keys() & theirs.keys()
        if "object" not in types_of(ours["properties"][each], {})
        and "properties" not in str(ours["properties"][each])
    }
    assert len(common) >= 3
    for each in common:
        assert types_of(ours["properties"][each], {}) >= types_of(theirs[each], components), each


def types_of(schema: dict[str, Any], known: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return types_of(known[schema["$ref"].rpartition("/")[2]], known)
    inner = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    if inner:
        return set().union(*(types_of(each, known) for each in inner))
    kind = schema.get("type", "string")
    return set(kind) if isinstance(kind, list) else {kind}
