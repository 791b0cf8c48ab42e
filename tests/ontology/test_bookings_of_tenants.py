"""Bookings and runs as objects: a tenant reads its own, by no number that counts the others'."""

from __future__ import annotations

import pytest

from booked_work import book
from database.interface import Database, OrderBy, Where
from database.tenant_door import TenantDatabase
from grid_world import NOW, data_centre, store_data_centres, store_grid
from metered_runs import metered_run
from ontology.live_state import LiveStateReader
from ontology.objects import ObjectNotFound, follow_link, read_one, read_page
from ontology.types import CapacityBooking, DataCentre, ObjectType, WorkloadRun
from two_operators import A, B, as_tenant, claims, door_of, make_operators


@pytest.fixture
def service(database: Database) -> Database:
    """Two operators, each with a run that has ended and one that is to come, all of them in A's data centre."""
    make_operators(database)
    store_grid(database, NOW, regions=(1,))
    store_data_centres(database, [data_centre(1, operator=A)], NOW)
    for operator in (A, B):
        metered_run(database, f"{operator}-ran", operator=operator)
        book(database, f"{operator}-waits", operator=operator)
    return database


def jobs(objects: list[ObjectType]) -> set[str]:
    return {str(one.job_id) for one in objects if isinstance(one, CapacityBooking | WorkloadRun)}


def test_a_tenant_reads_its_own_bookings_and_runs_whatever_way_it_takes(service: Database, conninfo: str) -> None:
    with door_of(service, conninfo) as door:
        for operator in (A, B):
            tenant = as_tenant(door, claims(operator))
            own = {f"{operator}-ran", f"{operator}-waits"}
            assert jobs(read_page(tenant, CapacityBooking, equal={}, limit=10).objects) == own
            assert jobs(read_page(tenant, WorkloadRun, equal={}, limit=10).objects) == {f"{operator}-ran"}
            place = read_one(tenant, DataCentre, "DC-001")
            found = [follow_link(tenant, place, rel, limit=10)[0] for rel in ("BOOKED_AT", "RAN_AT")]
            assert [jobs([far for _, far in step]) for step in found] == [own, {f"{operator}-ran"}]
            live = LiveStateReader(tenant).read(NOW, ["CapacityBooking"]).parts["CapacityBooking"]
            assert jobs(live.objects) == {f"{operator}-waits"}
            assert {link["rel"] for link in live.links} == {"BOOKED_FOR", "BOOKED_AT"}


def test_what_a_tenant_reads_holds_no_number_that_counts_everybody_s(service: Database, conninfo: str) -> None:
    with door_of(service, conninfo) as door:
        tenant: TenantDatabase = as_tenant(door, claims(B))
        rows = [
            *tenant.select("capacity_bookings", order=OrderBy(("booking_key",))),
            *tenant.select("run_accounts", order=OrderBy(("booking_key",))),
            *tenant.call("live_state", {"p_now": NOW, "p_types": ["CapacityBooking"]})["CapacityBooking"],
        ]
    assert len(rows) == 4
    for row in rows:
        assert not row.keys() & {"booking_id", "notification_id"}


def test_another_s_booking_is_not_there(service: Database, conninfo: str) -> None:
    (others,) = service.select(
        "capacity_bookings", where=[Where("job_id", f"{A}-waits")], order=OrderBy(("booking_id",))
    )
    with door_of(service, conninfo) as door, pytest.raises(ObjectNotFound) as missing:
        read_one(as_tenant(door, claims(B)), CapacityBooking, others["booking_key"])
    assert others["booking_key"] not in missing.value.some_ids


def test_a_run_leads_to_its_booking_and_both_to_their_workload(service: Database) -> None:
    (run,) = read_page(service, WorkloadRun, equal={"job_id": f"{A}-ran"}, limit=2).objects
    ((name, booking),) = follow_link(service, run, "RAN_BY", limit=2)[0]
    assert name == "CapacityBooking"
    assert isinstance(booking, CapacityBooking)
    assert (booking.state, booking.id) == ("ENDED", run.id)
    (back,) = follow_link(service, booking, "RAN_BY", limit=2)[0]
    assert back == ("WorkloadRun", run)
    for one, rel in ((run, "RUN_OF"), (booking, "BOOKED_FOR")):
        ((name, work),) = follow_link(service, one, rel, limit=2)[0]
        assert (name, work.id) == ("ComputeWorkload", f"{A}-ran")
