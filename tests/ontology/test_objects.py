"""Objects, pages and links of a stored world, through both doors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from database.interface import Database, OrderBy
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload
from linked_world import AGENT, OPERATOR, store_linked_world
from ontology.objects import ObjectNotFound, follow_link, read_one, read_page, read_rows
from ontology.types import (
    LINK_TYPES,
    OBJECT_TYPES,
    ComputeWorkload,
    DataCentre,
    ObjectType,
    OrchestrationDecision,
    Region,
)

ALL_TYPES = list(OBJECT_TYPES)


def all_objects(database: Database, object_type: type[ObjectType]) -> list[ObjectType]:
    rows = database.select(object_type.table, order=OrderBy(object_type.key), columns=object_type.listed())
    return read_rows(object_type, rows)


def pages(database: Database, object_type: type[ObjectType], limit: int, **equal: Any) -> list[list[ObjectType]]:
    found, after = [], None
    while True:
        page = read_page(database, object_type, equal=equal, limit=limit, after=after)
        found.append(page.objects)
        after = page.next
        if after is None:
            return found


def test_every_link_leads_to_its_target_and_back(database: Database) -> None:
    store_linked_world(database)
    for link in LINK_TYPES:
        linked = [source for source in all_objects(database, link.source) if link.target_id(source) is not None]
        assert linked, f"the world has no {link.source.__name__} {link.rel} {link.target.__name__}"
        source = linked[0]
        there, end = follow_link(database, source, link.rel, limit=10)
        assert ([(name, far.id) for name, far in there], end) == (
            [(link.target.__name__, link.target_id(source))],
            None,
        )
        target = there[0][1]
        back, _ = follow_link(database, target, link.rel, limit=1000)
        assert (link.source.__name__, source.id) in [(name, far.id) for name, far in back]


def test_pages_hold_every_object_once_in_the_order_of_their_keys(database: Database) -> None:
    store_grid(database, regions=(1, 2))
    signals = OBJECT_TYPES["RegionalGridSignal"]
    found = pages(database, signals, 50)
    assert [len(page) for page in found] == [50, 50, 50, 42]
    assert [one for page in found for one in page] == all_objects(database, signals)
    assert [len(page) for page in pages(database, Region, 17)] == [17]
    assert [one.id for one in read_page(database, Region, equal={}, limit=2, after="14").objects] == ["15", "16"]


def test_objects_are_found_by_their_properties_and_by_what_they_lack(database: Database) -> None:
    store_data_centres(database, [data_centre(number) for number in range(1, 4)])
    database.insert("operators", [{"operator_id": OPERATOR, "name": "Grid & Co"}])
    store_data_centres(database, [data_centre(4, operator=OPERATOR, status="OFFLINE")])

    def ids(**equal: Any) -> list[str]:
        return [one.id for page in pages(database, DataCentre, 2, **equal) for one in page]

    assert ids(status="ACTIVE") == ids(operator=None) == ["DC-001", "DC-002", "DC-003"]
    assert ids(operator=OPERATOR) == ids(status="OFFLINE", region_id=4) == ["DC-004"]
    assert ids(operator=OPERATOR, status="ACTIVE") == []


def test_one_object_has_the_large_properties_that_lists_leave_out(database: Database) -> None:
    store_linked_world(database)
    (listed,) = read_page(database, OrchestrationDecision, equal={"job_id": "job-1"}, limit=5).objects
    assert isinstance(listed, OrchestrationDecision)
    assert (listed.context, listed.output, listed.reasoning) == (None, None, "It is the greenest.")
    whole = read_one(database, OrchestrationDecision, listed.id)
    assert isinstance(whole, OrchestrationDecision)
    assert whole.output == {"task": {"job_id": "job-1"}}
    assert whole.context == {"as_of": "2026-11-22T08:04:11Z"}


def test_zero_is_a_value_and_stays_one(database: Database) -> None:
    store_linked_world(database)
    battery = read_one(database, OBJECT_TYPES["StorageAsset"], "BAT-1")
    assert battery.model_dump()["state_of_charge_percentage"] == 0
    store_grid(database, NOW + timedelta(days=3), carbon_added=-10, regions=(1,))
    slot = half_hour_of(NOW + timedelta(days=3))
    signal = read_one(database, OBJECT_TYPES["RegionalGridSignal"], f"1~{slot:%Y-%m-%dT%H:%M:%SZ}")
    assert signal.model_dump()["carbon_intensity_forecast"] == 0


@pytest.mark.parametrize(
    ("type_name", "object_id"),
    [
        ("Region", "18"),
        ("Region", "London"),
        ("Region", str(2**40)),
        ("DataCentre", "DC-404"),
        ("DataCentre", "' or 1=1 --"),
        ("GridSignal", "2099-01-01T00:00:00Z"),
        ("GridSignal", "0001-01-01T00:00:00+14:00"),
        ("RegionalGridSignal", "1~2~3"),
        ("OrchestrationDecision", "00000000-0000-0000-0000-000000000000"),
        ("AgentState", str(2**63 - 1)),
        ("AgentState", "-1"),
    ],
)
def test_an_unknown_id_is_answered_with_some_that_there_are(
    postgres: PostgresDatabase, type_name: str, object_id: str
) -> None:
    with pytest.raises(ObjectNotFound, match=f"there is no {type_name} with the id") as missing:
        read_one(postgres, OBJECT_TYPES[type_name], object_id)
    assert missing.value.some_ids == ([str(n) for n in range(1, 11)] if type_name == "Region" else [])


def test_unknown_ids_are_not_found_over_rest_either(database: Database) -> None:
    for type_name, object_id in (("Region", str(2**40)), ("AgentState", str(2**63 - 1)), ("DataCentre", 'a,b."(')):
        with pytest.raises(ObjectNotFound):
            read_one(database, OBJECT_TYPES[type_name], object_id)


def test_a_cursor_of_another_kind_is_refused(postgres: PostgresDatabase) -> None:
    with pytest.raises(ValueError):
        read_page(postgres, Region, equal={}, limit=5, after="London")
    region = read_one(postgres, Region, "1")
    for after in ("1", "Region/1", "DataCentre/", "Nonsense/1"):
        with pytest.raises(ValueError, match="it is not a cursor of this link"):
            follow_link(postgres, region, "LOCATED_IN", limit=5, after=after)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_link_that_ends_at_several_types_is_walked_whole(postgres: PostgresDatabase, limit: int) -> None:
    store_linked_world(postgres)
    store_data_centres(postgres, [data_centre(number, operator=OPERATOR) for number in range(3, 6)])
    operator = read_one(postgres, OBJECT_TYPES["Operator"], OPERATOR)
    found: list[str] = []
    after = None
    for _ in range(20):
        page, after = follow_link(postgres, operator, "OPERATED_BY", limit=limit, after=after)
        assert len(page) <= limit
        found += [f"{name}/{far.id}" for name, far in page]
        if after is None:
            break
    assert sorted(found) == sorted(
        [f"DataCentre/DC-00{n}" for n in (1, 3, 4, 5)] + ["StorageAsset/BAT-1", f"Agent/{AGENT}"]
    )


def test_an_object_that_is_not_linked_leads_nowhere(postgres: PostgresDatabase) -> None:
    submit(postgres, workload("job-1"))
    (job,) = all_objects(postgres, ComputeWorkload)
    assert follow_link(postgres, job, "HOSTED_BY", limit=5) == ([], None)


def test_a_target_that_is_gone_by_now_leads_nowhere(postgres: PostgresDatabase) -> None:
    store_data_centres(postgres, [data_centre(1)])
    (centre,) = all_objects(postgres, DataCentre)
    moved = centre.model_copy(update={"operator": "OP-GONE"})
    assert follow_link(postgres, moved, "OPERATED_BY", limit=5) == ([], None)
