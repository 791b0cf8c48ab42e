"""What the MCP server's environment may say, how many changes it lets through, and how an answer is cut."""

from __future__ import annotations

import pytest

from agent_tools.answers import answer_document, without_long_members
from agent_tools.data_centres import LIST_DATA_CENTRES, DataCentreRow, DataCentres
from agent_tools.definitions import HARD_BYTES, size
from agent_tools.objects import FIND_OBJECTS, FOLLOW_LINK, Linked, LinkedObjects, Objects
from agent_tools.plans import PLAN_WORKLOAD, Plan
from agent_tools.refusals import ToolRefused, refusal
from agent_tools.settings import AgentSettings, AgentSettingsRefused, agent_settings
from agent_tools.write_limit import WriteLimit


def test_without_anything_it_reads_from_this_machine() -> None:
    assert agent_settings({}) == AgentSettings()
    assert not AgentSettings().allow_writes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYLON_URL", "ftp://x"),
        ("PYLON_URL", "http://user:secret@x"),
        ("PYLON_GATEWAY_URL", "http://x/?a=b"),
        ("PYLON_GATEWAY_URL", "http://[x"),
        ("PYLON_API_KEY", "short"),
        ("PYLON_API_KEY", "with a space in it"),
        ("MCP_ALLOW_WRITES", "perhaps"),
        ("MCP_AUTHORIZATION_SERVER", "issuer.example"),
        ("MCP_WRITES_PER_MINUTE", "0"),
        ("MCP_WRITES_PER_MINUTE", "many"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name_and_never_shown(name: str, value: str) -> None:
    with pytest.raises(AgentSettingsRefused) as refused:
        agent_settings({name: value})
    assert str(refused.value).startswith(f"{name} is refused: it takes ")
    assert len(value) < 4 or value not in str(refused.value)


def test_a_key_is_in_no_text_of_the_settings() -> None:
    assert "pyl_secret" not in repr(agent_settings({"PYLON_API_KEY": "pyl_secret"}))


def test_one_credential_s_changes_are_not_another_s_and_a_minute_later_there_is_room_again() -> None:
    now = [0.0]
    limit = WriteLimit(2, lambda: now[0])
    for _ in range(2):
        limit.count("a")
    with pytest.raises(ToolRefused, match="2 changes a minute are allowed here: try again in 61 seconds"):
        limit.count("a")
    limit.count("b")
    limit.count(None)
    now[0] = 60.0
    limit.count("a")


def centre(number: int) -> DataCentreRow:
    return DataCentreRow(
        dc_id=f"DC-{number:03d}",
        name="n" * 200,
        region_id=1,
        status="ACTIVE",
        total_mw=1,
        free_mw=1,
        load_percent=0,
        pue=1,
        execution="simulated",
        carbon_gco2_per_kwh=None,
        next_green_hour=None,
        is_synthetic=False,
    )


def test_an_answer_that_is_too_long_is_cut_from_its_end_and_goes_on_after_what_is_left() -> None:
    whole = DataCentres(as_of="2026-11-22T08:00:00Z", data_centres=[centre(n) for n in range(100)], next=None)
    told = answer_document(LIST_DATA_CENTRES, whole)
    assert size(told) <= HARD_BYTES
    assert told["truncated"] is True
    assert told["next"] == told["data_centres"][-1]["dc_id"]
    assert 20 < len(told["data_centres"]) < 100


def test_cursors_are_those_of_the_api() -> None:
    rows = [{"id": f"{n}", "text": ["long"] * 60} for n in range(100)]
    page = Objects(object_type="X", objects=rows, left_out=[], next=None)
    told = answer_document(FIND_OBJECTS, page)
    assert told["next"] == told["objects"][-1]["id"]
    linked = [Linked(object_type="X", object=row) for row in rows]
    told = answer_document(FOLLOW_LINK, LinkedObjects(link_type="L", objects=linked, left_out=[], next=None))
    assert told["next"] == f"X/{told['objects'][-1]['object']['id']}"


def test_an_answer_of_which_nothing_can_be_cut_is_refused() -> None:
    long = Plan(
        chosen=None,
        waiting_status=None,
        waiting_reason=None,
        it_power_kw=1,
        duration_minutes=1,
        top=[],
        places=0,
        warnings=["w" * 190] * 200,
    )
    with pytest.raises(ToolRefused, match="ask for less"):
        answer_document(PLAN_WORKLOAD, long)


def test_long_members_of_an_object_are_left_out_by_name() -> None:
    assert without_long_members({"a": 1, "b": ["x" * 100] * 10, "c": [1]}) == ({"a": 1, "c": [1]}, ["b"])


def test_a_refusal_is_in_our_own_words() -> None:
    assert str(refusal(422, ["workloads.0.deadline", "nonsense of a stranger"])) == (
        "refused: deadline must be after the moment of the decision"
    )
    assert str(refusal(422, [])) == "refused: a value is not one that the platform takes"
    assert "scope" in str(refusal(403, []))
    assert str(refusal(500, [])) == "the platform answered 500: its log says why"
