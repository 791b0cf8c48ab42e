"""What runs came to and would have come to: worked out by the database, held against the same in plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.interface import Database, Row, Where
from database.postgres import PostgresDatabase
from execution.usage import shares
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of, settlement_period
from grid_world import NOW, data_centre, store_data_centres, store_world
from hypothesis_profile import SHARES_A_FIXTURE
from metered_runs import HOUR, ended_run, metered_run, record, run_now, simulated_rows, the_account, the_workload
from new_database import empty

SLOT = half_hour_of(NOW)
PUES = {"DC-001": 1.2, "DC-002": 1.37}


def national(slot: datetime, **figures: Any) -> Row:
    return {
        "timestamp": slot.isoformat(),
        "settlement_period": settlement_period(slot),
        "carbon_source": "carbon_intensity_api",
        "price_source": "elexon",
        "price_fetched_at": (NOW + HOUR).isoformat(),
        **figures,
    }


def store_national(database: Database, *rows: Row) -> None:
    database.call("store_signals", {"p_batch": {"national": list(rows), "regional": [], "national_mix": []}})


def revise(database: Database, now: datetime) -> int:
    answer = database.call("revise_accounts", {"p_now": now, "p_after": 0, "p_limit": 1000})
    assert answer["next"] is None
    revised: int = answer["revised"]
    return revised


def test_a_run_that_was_not_moved_saves_exactly_nothing(database: Database) -> None:
    store_world(database)
    number = metered_run(database, "job", start=NOW, run_now=run_now(NOW), it_power_kw=3.7)
    account = the_account(database, number)
    assert account["run_now_carbon_gco2"] == account["carbon_gco2"]
    assert account["run_now_cost_gbp"] == account["cost_gbp"]
    assert account["run_now_site_energy_wh"] == account["site_energy_wh"]


def test_a_run_that_was_moved_is_compared_with_itself_in_the_half_hours_of_then(database: Database) -> None:
    store_world(database)
    later = NOW + 3 * HOUR
    number = metered_run(database, "job", start=later, run_now=run_now(NOW))
    account = the_account(database, number)
    # As metered: 1721.111, 2000 and 278.889 Wh of IT energy; by the half-hour the intensity rises by 1 g.
    assert account["carbon_gco2"] == pytest.approx(2.065333 * 16 + 2.4 * 17 + 0.334667 * 18)
    assert account["run_now_carbon_gco2"] == pytest.approx(2.065333 * 10 + 2.4 * 11 + 0.334667 * 12)
    assert account["run_now_fits"]


def test_elsewhere_the_it_energy_counts_with_the_pue_of_that_place(database: Database) -> None:
    store_world(database)
    database.update("data_centres", {"pue": 1.5}, where=[where_dc("DC-002")])
    number = metered_run(database, "job", run_now=run_now(NOW, dc_id="DC-002"))
    account = the_account(database, number)
    assert account["site_energy_wh"] == 4800
    assert account["run_now_site_energy_wh"] == 6000
    assert account["run_now_carbon_gco2"] == pytest.approx(1.5 * (1.721111 * 20 + 2 * 21 + 0.278889 * 22))
    # It stays as it was fixed, whatever becomes of the place.
    database.update("data_centres", {"pue": 3}, where=[where_dc("DC-002")])
    revise(database, NOW + 2 * HOUR)
    assert the_account(database, number)["run_now_site_energy_wh"] == 6000


def where_dc(dc_id: str) -> Where:
    return Where("dc_id", dc_id)


def test_counterfactuals_are_credited_only_as_far_as_there_would_have_been_power_for_all_of_them(
    database: Database,
) -> None:
    store_world(database)  # 10 MW are free at each
    heavy: dict[str, Any] = {"it_power_kw": 4000, "start": NOW + 3 * HOUR}
    numbers = [
        metered_run(database, f"job-{place}", run_now=run_now(NOW, it_power_kw=4000), **heavy) for place in range(3)
    ]
    elsewhere = metered_run(database, "elsewhere", run_now=run_now(NOW, dc_id="DC-002", it_power_kw=4000), **heavy)
    later = metered_run(database, "later", run_now=run_now(NOW + 2 * HOUR, it_power_kw=4000), **heavy)
    credited = [the_account(database, number)["run_now_fits"] for number in [*numbers, elsewhere, later]]
    assert credited == [True, True, False, True, True]


def test_a_run_without_a_counterfactual_is_accounted_and_compared_with_nothing(database: Database) -> None:
    store_world(database)
    account = the_account(database, metered_run(database, "job"))
    assert account["carbon_gco2"] > 0
    assert (account["run_now_dc_id"], account["run_now_fits"], account["run_now_carbon_gco2"]) == (None, None, None)


def test_the_figures_are_revised_when_the_actual_ones_come_and_say_so(database: Database) -> None:
    store_world(database)
    number = metered_run(database, "job", start=SLOT, duration=HALF_HOUR, run_now=run_now(SLOT, HALF_HOUR))
    before = the_workload(database, "job")
    assert before["actual_carbon_gco2"] == pytest.approx(2.4 * 10)
    assert revise(database, NOW + HOUR) == 0
    store_national(database, national(SLOT, carbon_intensity_actual=180, wholesale_price_gbp_mwh=-20))
    assert revise(database, NOW + HOUR) == 1
    after = the_workload(database, "job")
    assert after["actual_carbon_gco2"] == pytest.approx(2.4 * 10 * 180 / 150)
    assert after["actual_cost_gbp"] == pytest.approx(2.4 * -20 / 1000)
    assert after["actual_energy_kwh"] == before["actual_energy_kwh"]
    assert after["actuals_basis"] == {
        "half_hours": 1,
        "energy": {"simulated": 1},
        "carbon": {"national_actual": 1},
        "cost": {"elexon": 1},
        "revision": 2,
        "settled": False,
    }
    assert the_account(database, number)["run_now_carbon_gco2"] == pytest.approx(2.4 * 12)


def test_an_account_is_settled_a_day_after_its_run_when_all_is_known_and_a_week_after_in_any_case(
    database: Database,
) -> None:
    store_world(database)
    end = SLOT + HALF_HOUR
    known = metered_run(database, "known", start=SLOT, duration=HALF_HOUR)
    unknown = metered_run(database, "unknown", start=end, duration=HALF_HOUR)
    store_national(database, national(SLOT, carbon_intensity_actual=150))
    revise(database, end + 24 * HOUR)
    assert the_account(database, known)["settled_at"] is None
    revise(database, end + 25 * HOUR)
    assert the_account(database, known)["settled_at"] is not None
    assert the_account(database, unknown)["settled_at"] is None
    revise(database, end + timedelta(days=8))
    assert the_account(database, unknown)["settled_at"] is not None
    assert the_workload(database, "unknown")["actuals_basis"]["settled"]
    store_national(database, national(SLOT, carbon_intensity_actual=999))
    assert revise(database, end + timedelta(days=9)) == 0


def test_accounts_are_revised_page_by_page(database: Database) -> None:
    store_world(database)
    numbers = [metered_run(database, f"job-{place}", start=SLOT, duration=HALF_HOUR) for place in range(3)]
    store_national(database, national(SLOT, carbon_intensity_actual=180))
    page = {"p_now": NOW + HOUR, "p_limit": 2}
    assert database.call("revise_accounts", {**page, "p_after": 0}) == {"revised": 2, "next": numbers[1]}
    assert database.call("revise_accounts", {**page, "p_after": numbers[1]}) == {"revised": 1, "next": None}


def test_what_is_unknown_for_one_half_hour_is_unknown_for_the_run_and_comes_with_the_figure(
    database: Database,
) -> None:
    store_data_centres(database, [data_centre(1)])
    store_national(database, national(SLOT, wholesale_price_gbp_mwh=50))
    metered_run(database, "job", start=SLOT, duration=HOUR)
    work = the_workload(database, "job")
    assert (work["actual_energy_kwh"], work["actual_carbon_gco2"], work["actual_cost_gbp"]) == (4.8, None, None)
    assert work["actuals_basis"]["carbon"] == {"unknown": 2}
    assert work["actuals_basis"]["cost"] == {"elexon": 1, "unknown": 1}
    store_world(database)
    revise(database, NOW + HOUR)
    assert the_workload(database, "job")["actual_cost_gbp"] == pytest.approx(4.8 * 80 / 1000)


def test_a_workload_that_ran_twice_has_used_what_both_runs_used(database: Database) -> None:
    store_world(database)
    first = metered_run(database, "job", start=SLOT, duration=HALF_HOUR)
    booking = {
        "dc_id": "DC-002",
        "tenant": "local",
        "job_id": "job",
        "source": "decision",
        "starts_at": SLOT + HOUR,
        "ends_at": SLOT + 2 * HOUR,
        "it_power_kw": 1,
        "carried_out_by": "simulation",
        "state": "ENDED",
        "work_state": "completed",
        "scheduled_at": SLOT,
    }
    (second,) = database.insert("capacity_bookings", [booking])
    record(database, second["booking_id"], simulated_rows(SLOT + HOUR, HOUR, 1, 1.2), SLOT + 3 * HOUR)
    work = the_workload(database, "job")
    assert work["actual_energy_kwh"] == 3.6
    total = sum(the_account(database, number)["carbon_gco2"] for number in (first, second["booking_id"]))
    assert work["actual_carbon_gco2"] == pytest.approx(total)
    assert len(work["actuals_basis"]["runs"]) == 2


# The same once more, in plain arithmetic -----------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Figures by half-hours from SLOT on; None is unknown."""

    forecast: list[float | None]
    actual: list[float | None]
    price: list[float | None]
    regional: dict[str, list[float | None]]

    def gco2_per_kwh(self, dc_id: str, place: int) -> Fraction | None:
        regional, forecast, actual = self.regional[dc_id][place], self.forecast[place], self.actual[place]
        if regional is None:
            return None
        ratio = Fraction(actual) / Fraction(forecast) if forecast and actual else Fraction(1)
        return Fraction(regional) * ratio

    def sums(self, dc_id: str, wh: dict[int, Fraction]) -> tuple[Fraction | None, Fraction | None]:
        """Carbon in g, and cost in GBP."""
        carbon = cost = Fraction(0)
        known = [True, True]
        for place, energy in wh.items():
            if energy == 0:
                continue
            intensity, price = self.gco2_per_kwh(dc_id, place), self.price[place]
            known[0] &= intensity is not None
            known[1] &= price is not None
            carbon += energy / 1000 * (intensity or 0)
            cost += energy / 1_000_000 * Fraction(price or 0)
        return carbon if known[0] else None, cost if known[1] else None


HALF_HOURS = 16
figures = st.lists(st.none() | st.integers(0, 500).map(float), min_size=HALF_HOURS, max_size=HALF_HOURS)
mostly = st.lists(st.integers(0, 500).map(float), min_size=HALF_HOURS, max_size=HALF_HOURS)
GRIDS = st.builds(
    Grid,
    forecast=figures | mostly,
    actual=figures | mostly,
    price=figures | mostly,
    regional=st.fixed_dictionaries({"DC-001": figures | mostly, "DC-002": figures | mostly}),
)
SECONDS = st.integers(0, 4 * 3600 - 1)


@settings(max_examples=40, suppress_health_check=SHARES_A_FIXTURE)
@given(
    grid=GRIDS,
    start_s=SECONDS,
    duration_s=st.integers(1, 4 * 3600),
    run_now_s=SECONDS,
    run_now_dc=st.sampled_from(sorted(PUES)),
    it_power_kw=st.floats(0, 5000),
)
def test_an_account_is_what_the_same_run_comes_to_in_plain_arithmetic(
    postgres: PostgresDatabase,
    conninfo: str,
    grid: Grid,
    start_s: int,
    duration_s: int,
    run_now_s: int,
    run_now_dc: str,
    it_power_kw: float,
) -> None:
    empty(conninfo, hang_up=False)  # for each example, and not only for the first
    start, duration = SLOT + timedelta(seconds=start_s), timedelta(seconds=duration_s)
    at_once = SLOT + timedelta(seconds=run_now_s)
    rows = simulated_rows(start, duration, it_power_kw, PUES["DC-001"])
    store(postgres, grid)
    number = ended_run(
        postgres, "job", start=start, duration=duration, run_now=run_now(at_once, duration, run_now_dc)
    )
    record(postgres, number, rows, SLOT + timedelta(days=1))
    account = the_account(postgres, number)
    used = {place_of(row): Fraction(row["site_energy_wh"]) for row in rows}
    same(grid.sums("DC-001", used), account["carbon_gco2"], account["cost_gbp"])
    moved = moved_wh(rows, start, duration, at_once - start, run_now_dc)
    same(grid.sums(run_now_dc, moved), account["run_now_carbon_gco2"], account["run_now_cost_gbp"])


def store(database: Database, grid: Grid) -> None:
    store_data_centres(database, [data_centre(int(dc_id[-3:]), pue=pue) for dc_id, pue in PUES.items()])
    slots = [SLOT + place * HALF_HOUR for place in range(HALF_HOURS)]
    nation = [
        national(
            slot,
            carbon_intensity_forecast=grid.forecast[place],
            carbon_intensity_actual=grid.actual[place],
            wholesale_price_gbp_mwh=grid.price[place],
        )
        for place, slot in enumerate(slots)
    ]
    regional: list[Row] = [
        {
            "region_id": int(dc_id[-3:]),
            "timestamp": slot.isoformat(),
            "carbon_intensity_forecast": of_region[place],
            "carbon_source": "carbon_intensity_api",
            "fetched_at": NOW.isoformat(),
            "mix": {},
        }
        for dc_id, of_region in grid.regional.items()
        for place, slot in enumerate(slots)
        if of_region[place] is not None
    ]
    database.call("store_signals", {"p_batch": {"national": nation, "regional": regional, "national_mix": []}})


def place_of(row: Row) -> int:
    return (from_rfc3339(row["half_hour"]) - SLOT) // HALF_HOUR


def moved_wh(rows: list[Row], start: datetime, duration: timedelta, by: timedelta, dc_id: str) -> dict[int, Fraction]:
    """Site energy of the same run, moved: each half-hour's share is spread evenly over the time it was used in."""
    moved: dict[int, Fraction] = {}
    parts = dict(shares(start, start + duration))
    for row in rows:
        slot = from_rfc3339(row["half_hour"])
        since, time = max(slot, start), parts[slot]
        wh = Fraction(row["site_energy_wh"])
        if dc_id != "DC-001":
            wh = Fraction(row["it_energy_wh"]) * Fraction(str(PUES[dc_id]))
        for touched, part in shares(since + by, since + by + time):
            place = (touched - SLOT) // HALF_HOUR
            moved[place] = moved.get(place, Fraction(0)) + wh * Fraction(part / time)
    return moved


def same(expected: tuple[Fraction | None, Fraction | None], *found: float | None) -> None:
    for wanted, figure in zip(expected, found, strict=True):
        assert figure == (None if wanted is None else pytest.approx(float(wanted), rel=1e-9, abs=1e-6))
