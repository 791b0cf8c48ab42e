"""The tools over a real platform: what they answer, how long it is, what they refuse, and whose it is."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

import flexibility_world
import stored_negotiations
from agent_calls import JOB, NEGOTIATIONS, SHARE_A_LIMIT, USUAL
from agent_tools.catalogue import TOOLS
from agent_tools.definitions import HARD_BYTES, USUAL_BYTES, size
from agent_tools.prompts import PROMPTS
from agent_tools.server import INSTRUCTIONS, make_server
from agent_tools.settings import agent_settings
from agents_world import INSTRUCTION, Agent, AgentsWorld, text_of
from flexibility_world import book_movable
from grid_world import NOW, carbon_intensity_gco2_per_kwh
from tenant_settings import bearer
from two_operators import A


def test_every_tool_answers_within_four_kilobytes_usually_by_its_own_schema(agent: Agent) -> None:
    assert set(USUAL) == set(TOOLS)
    results = agent.calls(*USUAL.items())  # the client checks each answer against the tool's output schema
    for name, result in zip(USUAL, results, strict=True):
        assert not result.is_error, (name, text_of(result))
        assert result.structured_content is not None
        assert size(result.structured_content) <= USUAL_BYTES, name
        assert json.loads(text_of(result)) == result.structured_content, name
        assert set(result.structured_content) == set(TOOLS[name].gives.model_fields), name


@pytest.mark.parametrize("name", TOOLS)
def test_an_argument_that_a_tool_does_not_know_is_refused_and_so_is_a_number_in_a_text(
    agent: Agent, name: str
) -> None:
    told = agent.refusal(name, **USUAL[name], region="London")
    assert told.startswith(f'refused: "region" is not an argument; {name} takes: ')
    assert "London" not in told


def test_a_number_is_not_read_out_of_a_text(agent: Agent) -> None:
    assert agent.refusal("grid_now", region_id="13") == "refused: region_id: input should be a valid integer"
    assert "greater than or equal to 1" in agent.refusal("grid_now", region_id=0)


def test_the_grid_now_names_where_each_figure_is_from(agent: Agent) -> None:
    london = agent.answer("grid_now", region_id=13)
    assert london["carbon_gco2_per_kwh"] == carbon_intensity_gco2_per_kwh(13, 0)
    assert (london["price_gbp_per_mwh"], london["price_source"], london["price_age_minutes"]) == (80, "elexon", 0)
    assert london["mix_percent"]["wind"] == 40
    nation = agent.answer("grid_now")
    assert (nation["carbon_gco2_per_kwh"], nation["region"], nation["is_synthetic"]) == (150, None, False)
    assert nation["mix_percent"]["gas"] == 30


def test_a_forecast_is_columns_of_which_the_extremes_are_named(agent: Agent) -> None:
    found = agent.answer("grid_forecast", region_id=2, hours=3)
    assert found["carbon_gco2_per_kwh"] == [carbon_intensity_gco2_per_kwh(2, ahead) for ahead in range(6)]
    assert found["least_carbon"] == {"at": "2026-11-22T08:00:00Z", "value": 20}
    assert found["most_carbon"] == {"at": "2026-11-22T10:30:00Z", "value": 25}


def test_green_windows_are_of_the_greenest_place_first_and_say_what_they_save(agent: Agent) -> None:
    found = agent.answer("find_green_window", duration_minutes=60, dc_ids=["DC-003", "DC-002"])
    first = found["windows"][0]
    assert (first["region_id"], first["dc_ids"], first["start"]) == (2, ["DC-002"], "2026-11-22T08:04:11Z")
    assert first["saving_gco2_per_kwh"] == 0
    assert "not both" in agent.refusal("find_green_window", duration_minutes=60, dc_ids=["DC-1"], region_ids=[1])
    assert "list_data_centres" in agent.refusal("find_green_window", duration_minutes=60, dc_ids=["DC-999"])


def test_a_batch_says_what_it_does_better_and_leaves_nothing_stored(world: AgentsWorld, agent: Agent) -> None:
    before = world.statuses()
    workloads = [{"job_id": f"b-{number}", **JOB, "deferral_window_mins": 240} for number in range(50)]
    found = agent.answer("plan_batch", workloads=workloads, time_limit_s=1)
    assert [job["status"] for job in found["jobs"]] == ["placed"] * 50
    assert size(found) <= HARD_BYTES
    assert world.statuses() == before


def test_a_decision_says_why_not_elsewhere(agent: Agent) -> None:
    decision = agent.answer("get_decision", job_id="decided", compare_dc_id="DC-003", detail="full")
    assert decision["chosen"]["dc_id"] == "DC-001"
    assert decision["compared"]["dc_id"] == "DC-003"
    assert decision["compared_margin_gbp"] > decision["margin_gbp"] > 0
    assert len(decision["options"]) == 3
    assert "compare_dc_id was not among" in agent.refusal("get_decision", job_id="decided", compare_dc_id="DC-9")
    assert "no such workload" in agent.refusal("get_decision", job_id="nobody")


def test_an_event_s_offer_is_told_with_what_gives_way_and_what_each_brought(world: AgentsWorld, agent: Agent) -> None:
    book_movable(world.database, "gives-way", operator=A)
    event_id = str(flexibility_world.announced(world.database, tenant=A).event_id)
    before = agent.answer("get_flexibility", event_id=event_id)
    assert (before["events"][0]["state"], before["offer"], before["moves"]) == ("ANNOUNCED", None, [])
    flexibility_world.carry_on(world.database, NOW)
    sold = agent.answer("get_flexibility", event_id=event_id)
    assert (sold["need_mw"], sold["price_gbp_per_mwh"]) == (["1"] * 4, ["200"] * 4)
    assert (sold["events"][0]["state"], sold["settlement"]) == ("NOTIFIED", None)
    assert (sold["offer"]["considered"], sold["offer"]["revenue_gbp"]) == (1, "400")
    (move,) = sold["moves"]
    assert (move["job_id"], move["from_dc_id"], move["received_gbp"]) == ("gives-way", "DC-001", None)
    assert Decimal(sold["offer"]["cost_gbp"]) == Decimal(move["delta_gbp"])
    flexibility_world.carry_on(world.database, flexibility_world.ENDS_AT)
    settled = agent.answer("get_flexibility", event_id=event_id)
    assert settled["moves"][0]["received_gbp"] == settled["settlement"]["received_gbp"] != "0"
    assert [event["event_id"] for event in agent.answer("get_flexibility")["events"]] == [event_id]
    of_b = Agent(world, world.of_b)
    assert "no such event" in of_b.refusal("get_flexibility", event_id=event_id)
    assert of_b.answer("get_flexibility")["events"] == []


def test_a_negotiation_is_told_with_who_draws_and_pays_what_and_why(world: AgentsWorld, agent: Agent) -> None:
    opened = world.api.post(NEGOTIATIONS, SHARE_A_LIMIT, headers=bearer(world.of_a)).json()
    negotiation_id = opened["negotiation_id"]
    before = agent.answer("get_negotiations", negotiation_id=negotiation_id)
    assert (before["negotiations"][0]["state"], before["limit_mw"], before["awards"]) == ("OPEN", None, [])
    stored_negotiations.carry_on(world.database)
    told = agent.answer("get_negotiations", negotiation_id=negotiation_id)
    assert (told["limit_mw"], told["negotiations"][0]["state"]) == ([3, 3], "CONFIRMED")
    assert told["bound_gbp"] <= told["cost_gbp"] < told["alone_gbp"]
    assert sum(Decimal(award["pays_gbp"]) for award in told["awards"]) == 0
    assert [award["agent"] for award in told["awards"]] == ["dear-later", "same-later"]
    assert any("better off than alone" in sentence for sentence in told["explanation"])
    page = agent.answer("get_negotiations")
    assert [each["negotiation_id"] for each in page["negotiations"]] == [negotiation_id]
    of_b = Agent(world, world.of_b)
    assert "no such negotiation" in of_b.refusal("get_negotiations", negotiation_id=negotiation_id)
    assert of_b.answer("get_negotiations")["negotiations"] == []


def test_pages_of_objects_go_on_by_the_cursor(agent: Agent) -> None:
    seen: list[str] = []
    after: dict[str, Any] = {}
    for _ in range(4):
        page = agent.answer("find_objects", object_type="Region", limit=5, **after)
        seen += [each["id"] for each in page["objects"]]
        after = {"after": page["next"]}
    assert len(set(seen)) == 17
    assert page["next"] is None
    assert "pylon://ontology" in agent.refusal("find_objects", object_type="Unicorn")
    assert "no such object" in agent.refusal(
        "follow_link", object_type="Region", object_id="99", link_type="LOCATED_IN"
    )


def test_nothing_is_changed_until_it_is_allowed_and_then_with_a_scope_and_once(world: AgentsWorld) -> None:
    reading = Agent(world, world.of_a)
    assert "MCP_ALLOW_WRITES" in reading.refusal("submit_workload", job_id="w-1", **JOB)
    assert "scope" in Agent(world, world.reader_of_a, MCP_ALLOW_WRITES="1").refusal(
        "submit_workload", job_id="w-1", **JOB
    )
    assert "w-1" not in world.statuses()
    writing = Agent(world, world.of_a, MCP_ALLOW_WRITES="1")
    assert writing.answer("submit_workload", job_id="w-1", **JOB)["created"] is True
    assert writing.answer("submit_workload", job_id="w-1", **JOB)["created"] is False
    assert "conflicts" in writing.refusal("submit_workload", job_id="w-1", **{**JOB, "required_gpu_mins": 90})
    assert "job_id" in writing.refusal("submit_workload", **JOB)


def test_only_so_many_changes_are_made_in_a_minute(world: AgentsWorld) -> None:
    writing = Agent(world, world.of_a, MCP_ALLOW_WRITES="1", MCP_WRITES_PER_MINUTE="2")
    call = ("submit_workload", {"job_id": "w-2", **JOB})
    assert [result.is_error for result in writing.calls(call, call, call)] == [False, False, True]


def test_another_operator_s_work_is_not_there(world: AgentsWorld) -> None:
    of_b = Agent(world, world.of_b)
    assert "no such workload" in of_b.refusal("get_decision", job_id="decided")
    assert "no such workload" in of_b.refusal("get_workload", job_id="decided")
    assert of_b.answer("list_decisions")["decisions"] == []
    assert of_b.answer("find_objects", object_type="ComputeWorkload")["objects"] == []
    assert "credential is needed" in Agent(world, None).refusal("grid_now")
    assert "credential is needed" in Agent(world, "pyl_no-such-key-of-anybody").refusal("grid_now")


def test_a_name_that_would_lead_to_another_address_is_only_a_name_that_is_not_there(agent: Agent) -> None:
    assert "no such workload" in agent.refusal("get_workload", job_id="..")
    assert "no such data centre" in agent.refusal("get_capacity", dc_id="..")
    assert "no such object" in agent.refusal(
        "follow_link", object_type="Region", object_id="..", link_type="LOCATED_IN"
    )
    assert agent.answer("find_objects", object_type="Region", filters={"region_id": "1"}, limit=1)["objects"]


def test_there_is_no_tool_but_those_that_are_listed(world: AgentsWorld) -> None:
    settings = agent_settings(world.environment(world.of_a, MCP_ALLOW_WRITES="1"))

    async def ask() -> None:
        async with Client(make_server(settings)) as client:
            with pytest.raises(MCPError, match="no such tool"):
                await client.call_tool("delete_everything", {})

    anyio.run(ask)


def test_a_platform_that_is_not_there_is_told_with_what_to_do(world: AgentsWorld) -> None:
    gone = Agent(world, None)
    gone._settings = agent_settings({"PYLON_URL": "http://127.0.0.1:9"})
    assert "make run" in gone.refusal("grid_now")


def test_strangers_text_is_in_quoted_fields_and_in_no_description_prompt_or_error(
    world: AgentsWorld, agent: Agent
) -> None:
    settings = agent_settings(world.environment(world.of_a, MCP_ALLOW_WRITES="1"))

    async def everything() -> tuple[str, str]:
        async with Client(make_server(settings)) as client:
            ours = [
                *(await client.list_tools()).tools,
                *(await client.list_resources()).resources,
                *(await client.list_resource_templates()).resource_templates,
                *(await client.list_prompts()).prompts,
                *[await client.get_prompt(name, {each.argument: "decided"}) for name, each in PROMPTS.items()],
            ]
            read = [
                await client.read_resource(uri)
                for uri in ("pylon://decisions/decided", "pylon://decisions/latest", "pylon://sources")
            ]
            shown = "".join(content.text for each in read for content in each.contents)  # type: ignore[union-attr]
            return "".join(each.model_dump_json() for each in ours) + INSTRUCTIONS, shown

    ours, read = anyio.run(everything)
    assert INSTRUCTION not in ours
    results = dict(zip(USUAL, agent.calls(*USUAL.items()), strict=True))
    everywhere = agent.answer("list_data_centres"), agent.answer("follow_link", **USUAL["follow_link"])
    texts = [read, *(text_of(result) for result in results.values()), *map(json.dumps, everywhere)]
    assert any(INSTRUCTION in text for text in texts)  # as data it may be seen
    for text in texts:
        assert "\u202e" not in text
        assert "\\u202e" not in text
        assert "x" * 250 not in text
    wrong = [
        agent.refusal("get_decision", job_id="decided", compare_dc_id="DC-9"),
        agent.refusal("plan_workload", **JOB, host_dc_id="DC-9"),
        agent.refusal("plan_batch", workloads=[{"job_id": "a", **JOB, "host_dc_id": "DC-9"}]),
    ]
    assert [text.partition(":")[0] for text in wrong[1:]] == ["refused", "refused"]
    assert not [text for text in wrong if INSTRUCTION in text]


def test_a_scripted_agent_goes_from_a_question_to_a_running_job_by_tools_alone(
    world: AgentsWorld, agent: Agent
) -> None:
    """Where is it greenest now? Plan an hour there, submit it, see it decided, and see it run."""
    windows = agent.answer("find_green_window", duration_minutes=60, dc_ids=["DC-001", "DC-003"])["windows"]
    place = windows[0]["dc_ids"][0]
    room = agent.answer("get_capacity", dc_id=place, hours=2)
    fields = {"workload_type": "FINE_TUNING", "urgency": "CRITICAL", "required_gpu_mins": 60}
    plan = agent.answer("plan_workload", **fields)
    assert plan["chosen"]["dc_id"] == place
    assert room["least_free_kw"] > plan["it_power_kw"]
    cursor = agent.answer("list_decisions")["next"]
    assert agent.answer("submit_workload", job_id="scripted", **fields)["created"]
    world.decide()
    watched = agent.answer("list_decisions", after=cursor, wait_s=20)
    assert "scripted" in [decision["job_id"] for decision in watched["decisions"]]
    decision = agent.answer("get_decision", job_id="scripted")
    assert decision["chosen"]["start"] == plan["chosen"]["start"]
    world.run()
    assert agent.answer("get_workload", job_id="scripted")["status"] == "RUNNING"
