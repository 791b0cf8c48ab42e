"""A world in which every link type of the ontology has a link."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from database.interface import Database, OrderBy, Row, Where
from flexibility.event_model import Door, NewEvent
from flexibility.events import announce
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid, submit, workload
from ingest.market import MarketData, store_market
from upstreams.system_prices import SystemPrice

OPERATOR = "OP-GRID"
AGENT = "AGENT-1"
RAN = "00000000-0000-4000-8000-0000000000f1"
"""The booking of a run that has ended."""


def store_linked_world(database: Database, now: datetime = NOW) -> None:
    """The grid of `grid_world`, and a price, operator, agent, battery, hosted workload, decision, run, reading and
    flexibility event."""
    store_grid(database, now)
    price = SystemPrice(
        start=half_hour_of(now),
        published_at=half_hour_of(now) + timedelta(hours=24, minutes=44),
        price_gbp_per_mwh=Decimal("96.79"),
        net_imbalance_volume_mwh=Decimal("-37.99"),
        reserve_scarcity_price_gbp_per_mwh=Decimal(0),
        derivation_code="P",
        bsad_defaulted=False,
    )
    store_market(database, MarketData(system_prices=(price,)), now)
    database.insert("operators", [{"operator_id": OPERATOR, "name": "Grid & Co", "operator_type": "GRID"}])
    store_data_centres(database, [data_centre(1, operator=OPERATOR), data_centre(2)], now)
    battery: Row = {
        "asset_id": "BAT-1",
        "name": "Battery",
        "operator": OPERATOR,
        "region_id": 1,
        "asset_type": "BATTERY",
        "capacity_mwh": 40,
        "power_mw": 20,
        "state_of_charge_percentage": 0,
        "round_trip_efficiency": 0.88,
        "status": "ACTIVE",
        "is_synthetic": False,
    }
    database.call("store_world", {"p_batch": {"storage_assets": [battery]}, "p_slot": half_hour_of(now)})
    database.insert("agents", [{"agent_id": AGENT, "name": "Gateway", "agent_type": "gateway", "operator": OPERATOR}])
    database.insert("agent_states", [{"agent_id": AGENT, "state": "STARTED", "observed_at": now}])
    submit(database, workload("job-1", operator=OPERATOR, host_dc_id="DC-001"), workload("job-2"))
    database.insert("orchestration_decisions", [decision("job-1", 1)])
    window: Row = {
        "dc_id": "DC-001",
        "tenant": OPERATOR,
        "job_id": "job-1",
        "source": "decision",
        "starts_at": half_hour_of(now),
        "ends_at": half_hour_of(now) + HALF_HOUR,
        "scheduled_at": half_hour_of(now),
        "it_power_kw": 0.96,
        "carried_out_by": "simulation",
    }
    database.insert("capacity_bookings", [window])
    database.insert("capacity_bookings", [{**window, "state": "ENDED", "booking_key": RAN}])
    (ran,) = database.select(
        "capacity_bookings",
        where=[Where("booking_key", RAN)],
        order=OrderBy(("booking_id",)),
        columns=("booking_id",),
    )
    account: Row = {
        **ran,
        "booking_key": RAN,
        "tenant": OPERATOR,
        "job_id": "job-1",
        "dc_id": "DC-001",
        "started_at": half_hour_of(now),
        "ended_at": half_hour_of(now) + HALF_HOUR,
        "it_energy_wh": 480,
        "site_energy_wh": 576,
        "accounted_at": now,
    }
    database.insert("run_accounts", [account])
    metered: Row = {
        "booking_id": 1,
        "dc_id": "DC-001",
        "tenant": OPERATOR,
        "job_id": "job-1",
        "half_hour": half_hour_of(now),
        "it_energy_wh": 480,
        "site_energy_wh": 576,
        "source": "simulated",
        "revision": 1,
    }
    database.insert("meter_readings", [metered])
    _store_flexibility(database, now, window)


def _store_flexibility(database: Database, now: datetime, window: Row) -> None:
    """An event that a workload has given way for, and the power that it keeps free."""
    event = NewEvent.model_validate(
        {
            "tenant": OPERATOR,
            "door": Door.MANUAL,
            "source_id": "evening-peak",
            "starts_at": half_hour_of(now) + timedelta(hours=12),
            "need_mw": ["1"],
            "price_gbp_per_mwh": ["200"],
        }
    )
    announced = announce(database, event, now).event
    assert announced is not None
    held: Row = {
        "job_id": None,
        "source": "flexibility",
        "carried_out_by": "flexibility",
        "flexibility_event_id": str(announced.event_id),
        "starts_at": announced.starts_at,
        "ends_at": announced.ends_at,
    }
    database.insert("capacity_bookings", [window | held])
    (unit,) = database.select("flexibility_units", order=OrderBy(("unit_id",)))
    moved: Row = {
        "event_id": str(announced.event_id),
        "tenant": OPERATOR,
        "job_id": "job-1",
        "unit_id": unit["unit_id"],
        "from_dc_id": "DC-001",
        "from_starts_at": announced.starts_at,
        "to_dc_id": "DC-002",
        "to_starts_at": announced.ends_at,
        "it_power_kw": 0.96,
        "keep_gbp": "0.1",
        "delta_gbp": "0.02",
        "freed_mwh": ["0.000576"],
        "notification_id": 1,
    }
    database.insert("flexibility_moves", [moved])


def decision(job_id: str, sequence: int, **changes: object) -> Row:
    """A decision that places the job in DC-001."""
    return {
        "job_id": job_id,
        "sequence": sequence,
        "agent_id": AGENT,
        "chosen_dc_id": "DC-001",
        "recommended_start": half_hour_of(NOW),
        "scorer": "deterministic",
        "scorer_version": "1.0.0",
        "reasoning": "It is the greenest.",
        "context": {"as_of": "2026-11-22T08:04:11Z"},
        "output": {"task": {"job_id": job_id}},
        **changes,
    }
