"""The live state of a stored world, and that a second question sees everything that has changed since the first."""

from __future__ import annotations

import json
from datetime import timedelta

from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload
from linked_world import AGENT, decision, store_linked_world
from ontology.live_state import LiveState, LiveStateReader
from ontology.types import LINK_TYPES, LIVE_TYPES

ALL_TYPES = LIVE_TYPES


def live_state(database: Database, type_names: list[str] = ALL_TYPES) -> LiveState:
    return LiveStateReader(database).read(NOW, type_names)


def written(state: LiveState) -> dict[str, bytes]:
    return {name: part.json for name, part in state.parts.items()} | {"links": state.links_json()}


def test_the_live_state_is_the_present_world_and_its_links(database: Database) -> None:
    store_linked_world(database)
    state = live_state(database)
    counts = {name: len(part.objects) for name, part in state.parts.items()}
    assert counts == {
        "Operator": 1,
        "Region": 17,
        "GridSignal": 96,
        "RegionalGridSignal": 17 * 96,
        "GenerationMix": 18 * 6,
        "DataCentre": 2,
        "ComputeWorkload": 2,
        "CapacityBooking": 2,
        "Agent": 1,
        "AgentState": 1,
        "OrchestrationDecision": 1,
        "StorageAsset": 1,
        "FlexibilityUnit": 1,
        "FlexibilityEvent": 1,
    }
    there = {f"{name}/{one.id}" for name, part in state.parts.items() for one in part.objects}
    links = json.loads(state.links_json())
    assert {link["rel"] for link in links} == {link.rel for link in LINK_TYPES if link.source.in_live_state}
    for link in links:
        assert link["source"] in there
        assert link["target"] in there
    assert (state.last_updated, state.pipeline_running) == (None, False)


def test_the_live_state_narrows_to_the_types_that_are_named(postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    state = live_state(postgres, ["DataCentre", "Region"])
    assert list(state.parts) == ["DataCentre", "Region"]
    assert {link["rel"] for link in json.loads(state.links_json())} == {"OPERATED_BY", "LOCATED_IN"}
    assert live_state(postgres, ["Region"]).links_json() == b"[]"


def test_the_live_state_is_bounded_and_leaves_out_what_is_over(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW - timedelta(days=1), regions=(1,))
    store_grid(postgres, NOW + timedelta(days=1), regions=(1,))
    store_data_centres(postgres, [data_centre(1), data_centre(2, status="OFFLINE")])
    submit(postgres, *(workload(f"job-{number:03d}") for number in range(110)))
    postgres.update("compute_workloads", {"status": "COMPLETED"}, where=[Where("job_id", "job-109")])
    postgres.insert("agents", [{"agent_id": AGENT, "name": "Gateway", "agent_type": "gateway"}])
    postgres.insert("agent_states", [{"agent_id": AGENT, "state": f"S{number}"} for number in range(110)])
    postgres.insert("orchestration_decisions", [decision(f"job-{number:03d}", number + 1) for number in range(105)])
    ids = {name: [one.id for one in part.objects] for name, part in live_state(postgres).parts.items()}
    assert len(ids["RegionalGridSignal"]) == 96
    assert (ids["GridSignal"][0], len(ids["GridSignal"])) == (rfc3339(half_hour_of(NOW)), 96)
    assert ids["DataCentre"] == ["DC-001"]
    assert (len(ids["ComputeWorkload"]), "job-109" in ids["ComputeWorkload"]) == (100, False)
    assert len(ids["AgentState"]) == len(ids["OrchestrationDecision"]) == 100


def test_the_live_state_says_when_the_pipeline_ran_and_whether_it_runs(postgres: PostgresDatabase) -> None:
    claim = postgres.call(
        "claim_pipeline_slot", {"p_slot": half_hour_of(NOW), "p_owner": "here:1:x", "p_lease_seconds": 60}
    )
    assert live_state(postgres, []).pipeline_running
    postgres.call(
        "finish_pipeline_run",
        {
            "p_slot": half_hour_of(NOW),
            "p_lease_token": claim["lease_token"],
            "p_state": "succeeded",
            "p_sources": {},
            "p_counts": {},
            "p_stages_ms": {},
        },
    )
    state = live_state(postgres, [])
    assert state.last_updated is not None
    assert not state.pipeline_running


def test_what_has_not_changed_is_not_read_again(postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    reader = LiveStateReader(postgres)
    first, second = reader.read(NOW, ALL_TYPES), reader.read(NOW, ALL_TYPES)
    assert all(second.parts[name] is first.parts[name] for name in ALL_TYPES)


def test_every_change_shows_at_the_next_question(postgres: PostgresDatabase) -> None:
    store_linked_world(postgres)
    reader = LiveStateReader(postgres)
    seen = [written(reader.read(NOW, ALL_TYPES))]

    def shows(changed: set[str], at: timedelta = timedelta(0)) -> None:
        seen.append(written(reader.read(NOW + at, ALL_TYPES)))
        assert {name for name in seen[-1] if seen[-1][name] != seen[-2][name]} == changed
        assert seen[-1] == written(LiveStateReader(postgres).read(NOW + at, ALL_TYPES))

    shows(set())
    postgres.update("data_centres", {"operator": None}, where=[Where("dc_id", "DC-001")])
    shows({"DataCentre", "links"})
    postgres.update("regional_grid_signals", {"carbon_intensity_forecast": 0}, where=[Where("region_id", 13)])
    shows({"RegionalGridSignal"})
    submit(postgres, workload("job-3"))
    shows({"ComputeWorkload"})
    postgres.delete("compute_workloads", where=[Where("job_id", "job-3")])
    shows({"ComputeWorkload"})
    shows({"GridSignal", "RegionalGridSignal", "GenerationMix", "links"}, HALF_HOUR)
