from __future__ import annotations

from typing import Any

import pytest

from grid_world import carbon_intensity_gco2_per_kwh
from ontology.types import LINK_TYPES, LIVE_TYPES, OBJECT_TYPES
from served import Client


def problem(client: Client, path: str, status: int) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    return document


def test_the_live_state_is_every_object_and_the_links_between_them(world: Client) -> None:
    answer = world.get("/api/v1/live-state")
    assert answer.headers["Content-Type"] == "application/json"
    state = answer.json()
    assert (state["as_of"], state["last_updated"], state["pipeline_running"]) == (
        "2026-11-22T08:04:11Z",
        None,
        False,
    )
    assert list(state["objects"]) == LIVE_TYPES
    for name, objects in state["objects"].items():
        assert objects, name
        for one in objects:
            assert set(one) == {"id", *OBJECT_TYPES[name].properties()}
    there = {f"{name}/{one['id']}" for name, objects in state["objects"].items() for one in objects}
    assert {link["rel"] for link in state["links"]} == {link.rel for link in LINK_TYPES if link.source.in_live_state}
    assert {end for link in state["links"] for end in (link["source"], link["target"])} <= there
    signal = state["objects"]["RegionalGridSignal"][0]
    assert signal == {
        "id": "1~2026-11-22T08:00:00Z",
        "region_id": 1,
        "timestamp": "2026-11-22T08:00:00Z",
        "carbon_intensity_forecast": carbon_intensity_gco2_per_kwh(1, 0),
        "carbon_index": "moderate",
        "carbon_source": "carbon_intensity_api",
        "fetched_at": "2026-11-22T08:04:11Z",
    }


def test_the_live_state_of_named_types_has_only_those(world: Client) -> None:
    state = world.get("/api/v1/live-state?objects=DataCentre, Region,DataCentre").json()
    assert list(state["objects"]) == ["DataCentre", "Region"]


@pytest.mark.parametrize("objects", ["Castle", "DataCentre,Castle", "", ",", "datacentre"])
def test_an_unknown_type_in_the_live_state_is_422_and_lists_the_known(world: Client, objects: str) -> None:
    found = problem(world, f"/api/v1/live-state?objects={objects}", 422)
    assert found["known_types"] == LIVE_TYPES


def test_the_ontology_says_what_there_is(world: Client) -> None:
    document = world.get("/api/v1/ontology").json()
    assert [about["name"] for about in document["object_types"]] == list(OBJECT_TYPES)
    assert len(document["link_types"]) == len(LINK_TYPES)


@pytest.mark.parametrize("type_name", OBJECT_TYPES)
def test_objects_of_every_type_are_read_and_each_links_to_what_it_says(world: Client, type_name: str) -> None:
    page = world.get(f"/api/v1/objects/{type_name}?limit=2").json()
    assert page["object_type"] == type_name
    one = page["objects"][0]
    alone = world.get(f"/api/v1/objects/{type_name}/{one['id']}").json()
    assert (alone["object_type"], alone["id"], bool(alone["title"])) == (type_name, one["id"], True)
    listed = OBJECT_TYPES[type_name].listed()
    assert {name: alone["object"][name] for name in listed} == {name: one[name] for name in listed}
    for offer in alone["links"]:
        followed = world.get(offer["href"] + "?limit=5").json()
        assert followed["rel"] == offer["rel"]
        if offer["direction"] == "out":
            ((far_end, there),) = [(found["object_type"], found["object"]) for found in followed["objects"]]
            assert offer["target"] == f"{far_end}/{there['id']}"
        else:
            assert offer["target"] is None


def test_pages_go_on_to_the_end(world: Client) -> None:
    found: list[int] = []
    path = "/api/v1/objects/Region?limit=6"
    after: str | None = ""
    while after is not None:
        page = world.get(path + (f"&after={after}" if after else "")).json()
        found += [one["region_id"] for one in page["objects"]]
        after = page["next"]
    assert found == list(range(1, 18))


def test_objects_are_filtered_by_their_properties(world: Client) -> None:
    signals = world.get("/api/v1/objects/RegionalGridSignal?region_id=13&limit=1000").json()["objects"]
    assert len(signals) == 96
    mixes = world.get("/api/v1/objects/GenerationMix?region_id=null").json()["objects"]
    assert {mix["national_timestamp"] for mix in mixes} == {"2026-11-22T08:00:00Z"}
    centres = world.get("/api/v1/objects/DataCentre?operator=OP-GRID&status=ACTIVE&_=1764000000").json()["objects"]
    assert [centre["id"] for centre in centres] == ["DC-001"]


def test_a_property_that_is_no_filter_is_422_and_lists_those_that_are(world: Client) -> None:
    for name in ("pue", "colour", "id"):
        found = problem(world, f"/api/v1/objects/DataCentre?{name}=1", 422)
        assert name in found["detail"]
        assert "status" in str(found)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("RegionalGridSignal?region_id=London", "region_id"),
        ("RegionalGridSignal?region_id=99999999999999999999", "region_id"),
        ("RegionalGridSignal?region_id=null", "region_id"),
        ("DataCentre?status=BURNING", "status"),
        ("DataCentre?operator=%00", "operator"),
        ("GridSignal?timestamp=yesterday", "timestamp"),
        ("GridSignal?timestamp=1763798400", "timestamp"),
        ("GridSignal?timestamp=0001-01-01T00:00:00%2B14:00", "timestamp"),
        ("OrchestrationDecision?decision_id=1", "decision_id"),
        ("Region?after=London", "after"),
        ("Region?after=", "after"),
        ("Region?limit=0", "limit"),
        ("Region?limit=NaN", "limit"),
    ],
)
def test_a_bad_value_of_a_parameter_is_422_and_named(world: Client, path: str, named: str) -> None:
    assert named in problem(world, f"/api/v1/objects/{path}", 422)["detail"]


@pytest.mark.parametrize("path", ["Castle", "Castle/1", "Castle/1/links/LOCATED_IN", "region", "%00", "%ED%A0%80"])
def test_an_unknown_type_is_404_and_lists_the_known(world: Client, path: str) -> None:
    assert problem(world, f"/api/v1/objects/{path}", 404)["known_types"] == list(OBJECT_TYPES)


@pytest.mark.parametrize("object_id", ["99", "London", "1~2", "%00", "-1", "1e3", str(2**70), "%F0%9F%8F%AD"])
def test_an_unknown_id_is_404_and_lists_some_known(world: Client, object_id: str) -> None:
    for path in (f"/api/v1/objects/Region/{object_id}", f"/api/v1/objects/Region/{object_id}/links/LOCATED_IN"):
        assert problem(world, path, 404)["some_ids"] == [str(number) for number in range(1, 11)]


def test_an_unknown_link_is_404_and_lists_the_type_s(world: Client) -> None:
    for rel in ("OPERATED_BY", "nonsense"):
        found = problem(world, f"/api/v1/objects/Region/1/links/{rel}", 404)
        assert found["known_link_types"] == ["LOCATED_IN", "MEASURED_IN"]


def test_links_are_walked_in_pages(world: Client) -> None:
    path = "/api/v1/objects/Region/13/links/MEASURED_IN?limit=50"
    first = world.get(path).json()
    second = world.get(f"{path}&after={first['next']}").json()
    assert (len(first["objects"]), len(second["objects"]), second["next"]) == (50, 46, None)
    assert "after" in problem(world, f"{path}&after=nonsense", 422)["detail"]


def test_a_misspelt_parameter_is_not_ignored(world: Client) -> None:
    for path in ("/api/v1/live-state?object=Region", "/api/v1/ontology?x=1", "/api/v1/objects/Region/1?limit=5"):
        assert problem(world, path, 422)["errors"]


def test_the_world_is_read_alike_through_each_door(api_through: Client) -> None:
    state = api_through.get("/api/v1/live-state").json()
    assert {name: len(found) for name, found in state["objects"].items() if found} == {"Region": 17}
    assert len(api_through.get("/api/v1/objects/Region").json()["objects"]) == 17
    for path in (f"Region/{2**40}", "DataCentre/a,b.(%22)", "DataCentre/%F0%9F%8F%AD"):
        assert problem(api_through, f"/api/v1/objects/{path}", 404)
    assert problem(api_through, f"/api/v1/objects/AgentState?state_id={2**70}", 422)
    assert api_through.get("/api/v1/objects/DataCentre?operator=a,b.(%22)%25*").json()["objects"] == []
