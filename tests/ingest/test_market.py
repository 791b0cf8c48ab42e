"""What the balancing market said, stored: every revision of a price, and the events that changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from balancing_payloads import csv_file, dfs_bid, dfs_requirement, dfs_summary
from database.interface import Database, OrderBy
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, UTC
from ingest.market import MarketData, changed_dfs_events, settlement_dates_to_ask, store_market
from upstreams.dfs import BIDS, CSV, REQUIREMENTS, SUMMARIES, parse_file
from upstreams.loss_of_load import LossOfLoad
from upstreams.system_prices import SystemPrice

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
SLOT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EVENING = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
FIRST_RUN = SystemPrice(
    start=SLOT,
    published_at=SLOT + timedelta(hours=24, minutes=44),
    price_gbp_per_mwh=Decimal("160.000000000000000001"),
    net_imbalance_volume_mwh=Decimal("344.24949231481480183"),
    reserve_scarcity_price_gbp_per_mwh=Decimal(0),
    derivation_code="P",
    bsad_defaulted=False,
)


def prices(database: Database, *, every: bool = False) -> list[tuple[int, str]]:
    arguments = {"p_from": SLOT, "p_until": SLOT + timedelta(days=1), "p_every": every}
    return [
        (row["revision"], row["system_price_gbp_mwh"]) for row in database.call("system_prices_between", arguments)
    ]


def with_signal(database: Database) -> None:
    row = {"timestamp": SLOT, "settlement_period": 25}
    database.insert("grid_signals", [row])


def dfs(
    requirements: list[dict[str, object]], bids: list[dict[str, object]], summaries: list[dict[str, object]]
) -> MarketData:
    return MarketData(
        dfs_requirements=parse_file(REQUIREMENTS, CSV.read(csv_file(requirements)), NOW).rows if requirements else (),
        dfs_bids=parse_file(BIDS, CSV.read(csv_file(bids)), NOW).rows if bids else (),
        dfs_summaries=parse_file(SUMMARIES, CSV.read(csv_file(summaries)), NOW).rows if summaries else (),
    )


def test_every_revision_of_a_price_is_kept_and_the_newest_is_read(database: Database) -> None:
    with_signal(database)
    later_run = replace(FIRST_RUN, price_gbp_per_mwh=Decimal("-12.5"), published_at=NOW - timedelta(hours=1))
    same_again = replace(later_run, published_at=NOW)
    for read, revisions in ((FIRST_RUN, 1), (FIRST_RUN, 0), (later_run, 1), (FIRST_RUN, 0), (same_again, 1)):
        counts = store_market(database, MarketData(system_prices=(read,)), NOW)
        assert counts == {"price_revisions": revisions}
    assert prices(database) == [(3, "-12.5")]
    assert prices(database, every=True) == [(1, "160.000000000000000001"), (2, "-12.5"), (3, "-12.5")]
    (shown,) = database.select("system_prices", order=OrderBy(("half_hour",)))
    assert (shown["revision"], shown["system_price_gbp_mwh"]) == (3, -12.5)


def test_a_price_stands_beside_the_grid_s_signal_as_soon_as_there_is_one(postgres: PostgresDatabase) -> None:
    store_market(postgres, MarketData(system_prices=(FIRST_RUN,)), NOW)
    assert prices(postgres) == [(1, "160.000000000000000001")]
    assert postgres.select("system_prices", order=OrderBy(("half_hour",))) == []
    with_signal(postgres)
    store_market(postgres, MarketData(system_prices=(FIRST_RUN,)), NOW)
    assert len(postgres.select("system_prices", order=OrderBy(("half_hour",)))) == 1
    postgres.call("prune_history", {"p_before": NOW})
    assert postgres.select("system_prices", order=OrderBy(("half_hour",))) == []
    assert prices(postgres) == [(1, "160.000000000000000001")]


def test_an_earlier_forecast_of_the_margin_never_replaces_a_later_one(postgres: PostgresDatabase) -> None:
    early = LossOfLoad(EVENING, NOW - timedelta(hours=8), Decimal("0.001"), Decimal("7200.5"), 12)
    late = replace(early, published_at=NOW, probability=Decimal("0.25"), derated_margin_mw=Decimal(-150))
    for read in (early, late, early):
        store_market(postgres, MarketData(loss_of_load=(read,)), NOW)
    (row,) = postgres.call("loss_of_load_between", {"p_from": EVENING, "p_until": EVENING + HALF_HOUR})
    assert (row["probability"], row["derated_margin_mw"]) == ("0.25", "-150")


def test_an_event_is_stored_part_by_part_and_again_only_where_it_changed(database: Database) -> None:
    both = [dfs_requirement(EVENING), dfs_requirement(EVENING + HALF_HOUR, "250.5")]
    assert store_market(database, dfs(both, [], []), NOW) == {"dfs_events": 1}
    assert store_market(database, dfs(both, [], []), NOW) == {"dfs_events": 0}
    bids = [dfs_bid(EVENING, "A-1", "2.0", "150.5"), dfs_bid(EVENING, "A-2", 3, 200, "Rejected")]
    assert store_market(database, dfs(both, bids, [dfs_summary(EVENING, 2, "150.5")]), NOW) == {"dfs_events": 1}
    settled = [dfs_summary(EVENING, "2.00", "150.50", "-7.94", "-495.83")]
    assert store_market(database, dfs(both, bids, settled), NOW) == {"dfs_events": 1}

    found = database.call("dfs_event", {"p_event_ref": "2026-136"})
    assert [bid["cost_gbp"] for bid in found["bids"]] == ["150.50", "0"]
    first, second = found["event"]["half_hours"]
    assert (first["requirement_mw"], first["procured_mw"], first["bids"]) == ("500", "2", 2)
    assert (first["settled_mw"], first["settled_cost_gbp"]) == ("-7.94", "-495.83")
    assert (second["requirement_mw"], second["procured_mw"], second["settled_mw"]) == ("250.5", None, None)

    (needed,) = database.call("dfs_requirements_from", {"p_from": NOW})
    assert (needed["event_id"], needed["requirement_mw"], len(needed["half_hours"])) == ("2026-136", "500", 2)
    assert database.call("dfs_requirements_from", {"p_from": EVENING + timedelta(hours=1)}) == []


def test_what_is_required_says_what_was_accepted_in_the_newest_earlier_event(postgres: PostgresDatabase) -> None:
    evenings = [EVENING - timedelta(days=days) for days in (2, 1, 0)]
    required = [dfs_requirement(start, event_id=134 + place) for place, start in enumerate(evenings)]
    accepted = [
        dfs_summary(evenings[0], 10, 400, event_id=134),
        dfs_summary(evenings[1], 2, 200, event_id=135),
        dfs_summary(evenings[1] + HALF_HOUR, 6, 700, event_id=135),
        dfs_summary(evenings[2], 5, 9000, event_id=136),  # what became of an event says nothing of it beforehand
    ]
    store_market(postgres, dfs(required, [], accepted), NOW)
    (needed,) = postgres.call("dfs_requirements_from", {"p_from": NOW})
    # £900 for 8 MW of half an hour.
    assert (needed["event_id"], needed["accepted_in"], needed["accepted_price_gbp_per_mwh"]) == (
        "2026-136",
        "2026-135",
        "225.00",
    )
    first = postgres.call("dfs_requirements_from", {"p_from": evenings[0]})[0]
    assert (first["event_id"], first["accepted_in"], first["accepted_price_gbp_per_mwh"]) == ("2026-134", None, None)


def test_an_event_that_is_changed_or_shortened_is_stored_as_it_is_now(postgres: PostgresDatabase) -> None:
    store_market(postgres, dfs([dfs_requirement(EVENING), dfs_requirement(EVENING + HALF_HOUR)], [], []), NOW)
    shorter = dfs([dfs_requirement(EVENING, 300)], [], [])
    store_market(postgres, shorter, NOW - timedelta(hours=1))  # read before, stored after: not the newest
    assert postgres.call("dfs_requirements_from", {"p_from": NOW})[0]["requirement_mw"] == "500"
    store_market(postgres, shorter, NOW + timedelta(hours=1))
    (needed,) = postgres.call("dfs_requirements_from", {"p_from": NOW})
    assert (needed["requirement_mw"], len(needed["half_hours"])) == ("300", 1)
    assert needed["to_utc"].startswith("2026-11-22T18:30:00")


def test_a_unit_may_bid_at_several_prices(postgres: PostgresDatabase) -> None:
    bids = [dfs_bid(EVENING, "A-1", 1, 150), dfs_bid(EVENING, "A-1", 2, 120), dfs_bid(EVENING, "A-1", 2, 120)]
    store_market(postgres, dfs([], bids, []), NOW)
    found = postgres.call("dfs_event", {"p_event_ref": "2026-136"})
    assert [bid["price_gbp_per_mwh"] for bid in found["bids"]] == ["120", "120", "150"]


def test_noughts_at_the_end_of_a_fraction_change_no_event() -> None:
    known: dict[str, Any] = {}
    (first,) = changed_dfs_events(dfs([], [dfs_bid(EVENING, "A-1", "2.0", "100")], []), known, NOW)
    known["2026-136"] = {"bids": first["bids_digest"]}
    assert changed_dfs_events(dfs([], [dfs_bid(EVENING, "A-1", "2", "100.00")], []), known, NOW) == []
    assert changed_dfs_events(dfs([], [dfs_bid(EVENING, "A-1", "20", "100")], []), known, NOW) != []


@given(st.integers(0, 40_000), st.sampled_from([1, 2]))
def test_within_three_days_every_date_that_may_be_revised_is_asked_for_again(slots: int, every: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC) + slots * HALF_HOUR
    runs = [start + n * HALF_HOUR for n in range(0, 144, every)]
    asked: set[date] = {day for run in runs for day in settlement_dates_to_ask(run)}
    last = settlement_dates_to_ask(runs[-1])[-1]
    wanted = {last - timedelta(days=days) for days in range(8, 45)}
    assert wanted <= asked
    assert all(len(settlement_dates_to_ask(run)) == 4 for run in runs[:3])
