"""What the data centres offer: the right slots, at the figures of the grid they were read from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beckn.catalogue.compute_offers import (
    SLOTS_OFFERED,
    UNSTATED_OPERATOR,
    compute_offers,
    gbp_per_gpu_minute,
)
from beckn.catalogue.grid_reading import renewable_percent
from beckn.protocol.objects import Catalog, Item, Price, Provider
from beckn_worlds import NOON, amounts, grids, moments, prices
from database.interface import Database
from decision_contexts import capacity, centre
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.energy import compute_load
from decisions.scoring.grid_context import GridContext
from grid.half_hours import HALF_HOUR, UTC, half_hour_of
from grid_world import NOW, store_data_centres, store_grid
from grid_world import data_centre as stored_centre
from hardware import GPU_IT_POWER_KW
from vocabulary import WorkloadType

HALF_PAST = NOON + HALF_HOUR


def a_grid(*centres: dict[str, Any], now: datetime = NOON, **parts: Any) -> GridContext:
    """London at £100/MWh, 200 g/kWh and stress 0.5 for six half-hours, all fetched at `now`."""
    slot = half_hour_of(now)
    national = {
        "current": {
            "timestamp": slot,
            "wholesale_price_gbp_mwh": 100,
            "grid_stress_score": 0.5,
            "price_source": "elexon",
            "demand_source": "neso",
            "fetched_at": now,
        },
        "forecast": {
            "start": slot,
            "wholesale_price_gbp_mwh": [100, 110, -20.5, None, 130, 140],
            "grid_stress_score": [0.5] * 6,
            "price_sources": {"elexon": 1, "modelled": 4},
            "demand_sources": {"neso": 6},
            "oldest_fetched_at": now,
        },
    }
    london = {
        "region_id": 13,
        "short_name": "London",
        "current": {
            "timestamp": slot,
            "carbon_intensity_forecast": 200,
            "carbon_index": "high",
            "carbon_source": "carbon_intensity_api",
            "fetched_at": now,
        },
        "forecast": {
            "start": slot,
            "carbon_intensity_gco2_per_kwh": [200, 180.25, 0, None, 150, 140],
            "carbon_sources": {"carbon_intensity_api": 5},
            "oldest_fetched_at": now,
        },
    }
    mix = {"region_id": 13, "timestamp": slot, "mix": {"wind": 31.2, "solar": 4.1, "hydro": 0, "gas": 64.7}}
    document = {
        "as_of": now,
        "national": national,
        "regional": [london],
        "data_centres": list(centres) or [centre(operator="OP-A", latitude=51.5, longitude=-0.1)],
        "generation_mix": [mix],
    }
    return GridContext.model_validate({**document, **parts})


def items(catalog: Catalog) -> list[Item]:
    return [item for provider in catalog.providers for item in provider.items]


def tags(item: Item, code: str) -> dict[str, str]:
    """The values of one group of tags."""
    groups = [group for group in item.tags if group.descriptor.code == code]
    return {tag.descriptor.code: tag.value for group in groups for tag in group.list}


def available(item: Item) -> int:
    quantity = item.quantity.available
    assert quantity is not None
    assert quantity.measure is not None
    assert quantity.measure.unit == "GPU-min"
    return int(quantity.measure.value)


def test_a_data_centre_is_a_location_of_its_operator_and_offers_the_next_half_hours() -> None:
    (provider,) = compute_offers(a_grid(), now=NOON + timedelta(minutes=4)).providers
    assert (provider.id, [location.id for location in provider.locations]) == ("OP-A", ["DC-001"])
    assert [item.id for item in provider.items] == [
        "DC-001:gpu-slot:20261122T1200Z",
        "DC-001:gpu-slot:20261122T1230Z",
        "DC-001:gpu-slot:20261122T1300Z",
        "DC-001:gpu-slot:20261122T1330Z",
    ]
    assert len(provider.items) == SLOTS_OFFERED
    (location,) = provider.locations
    assert location.model_dump(mode="json") == {
        "id": "DC-001",
        "descriptor": {"name": "Site DC-001"},
        "gps": "51.5, -0.1",
        "state": {"name": "London", "code": "GB-CI-REGION-13"},
        "country": {"name": "United Kingdom", "code": "GBR"},
    }


def test_a_slot_is_a_half_hour_that_its_fulfilment_spans() -> None:
    (provider,) = compute_offers(a_grid(), now=NOON, slots=2).providers
    second = provider.items[1].model_dump(mode="json")
    assert second["time"]["range"] == {"start": "2026-11-22T12:30:00Z", "end": "2026-11-22T13:00:00Z"}
    (fulfillment,) = [each for each in provider.fulfillments or () if each.id in second["fulfillment_ids"]]
    stops = fulfillment.model_dump(mode="json")["stops"]
    assert [(stop["type"], stop["location"]["id"], stop["time"]["timestamp"]) for stop in stops] == [
        ("start", "DC-001", "2026-11-22T12:30:00Z"),
        ("end", "DC-001", "2026-11-22T13:00:00Z"),
    ]


def test_the_price_of_a_gpu_minute_is_that_of_its_electricity() -> None:
    # 0.96 kW x 1.2 for a minute at £100/MWh, £110/MWh, -£20.50/MWh and an unknown price.
    assert [item.price for item in items(compute_offers(a_grid(), now=NOON))] == [
        Price(currency="GBP", value="0.00192"),
        Price(currency="GBP", value="0.002112"),
        Price(currency="GBP", value="-0.0003936"),
        Price(currency="GBP"),
    ]


@given(prices, amounts(1, 3), amounts(1, 100_000))
@settings(deadline=None)
def test_a_slot_costs_what_the_scorer_reckons_for_the_same_gpu_time(price: float, pue: float, minutes: float) -> None:
    load = compute_load(Task(job_id="job-1", workload_type=WorkloadType.OTHER, required_gpu_mins=minutes))
    scorers_gbp = load.it_energy_kwh * pue * price / 1000
    assert gbp_per_gpu_minute(price, pue) * minutes == pytest.approx(scorers_gbp, rel=1e-12, abs=1e-12)


def test_whole_gpus_are_offered_for_the_minutes_still_to_come() -> None:
    # 20 MW at 60 % leave 8,000 kW, which feed 8,333 GPUs of 0.96 kW.
    listed = items(compute_offers(a_grid(), now=NOON + timedelta(minutes=17)))
    assert [available(item) for item in listed] == [8333 * 13, 8333 * 30, 8333 * 30, 8333 * 30]
    assert tags(listed[0], "facility")["gpu-it-power-kw"] == "0.96"


def test_each_slot_offers_the_power_that_is_free_in_its_half_hour() -> None:
    free = capacity({"DC-001": [(0, 0.0), (1, 9.6), (2, 19.2)]})
    offered_minutes = [available(item) for item in items(compute_offers(a_grid(centre(), capacity=free), now=NOON))]
    assert offered_minutes == [0, 10 * 30, 20 * 30, 20 * 30]


def test_the_last_second_of_a_half_hour_is_still_offered() -> None:
    first = items(compute_offers(a_grid(), now=HALF_PAST - timedelta(seconds=1)))[0]
    assert first.id == "DC-001:gpu-slot:20261122T1200Z"
    assert available(first) == 8333 // 60


@pytest.mark.parametrize("full", [{"current_load_percentage": 100}, {"total_capacity_mw": 0}])
def test_a_full_data_centre_is_listed_with_nothing_available(full: dict[str, Any]) -> None:
    listed = items(compute_offers(a_grid(centre(**full)), now=NOON))
    assert [available(item) for item in listed] == [0] * SLOTS_OFFERED


def test_only_data_centres_that_take_work_offer_any() -> None:
    states = ["ACTIVE", "MAINTENANCE", "OFFLINE", "CONSTRAINED"]
    grid = a_grid(*(centre(f"DC-{state}", status=state) for state in states))
    assert {item.location_ids for item in items(compute_offers(grid, now=NOON))} == {("DC-ACTIVE",)}


def test_the_present_slot_shows_the_grid_with_its_sources() -> None:
    first = items(compute_offers(a_grid(), now=NOON))[0]
    assert tags(first, "grid-signal") == {
        "carbon-intensity-gco2-per-kwh": "200",
        "carbon-intensity-kind": "forecast",
        "carbon-intensity-source": "carbon_intensity_api",
        "carbon-index": "high",
        "wholesale-price-gbp-per-mwh": "100",
        "wholesale-price-source": "elexon",
        "grid-stress-score": "0.5",
        "demand-source": "neso",
        "renewable-mix-percent": "35.3",
        "mix-gas-percent": "64.7",
        "mix-hydro-percent": "0",
        "mix-solar-percent": "4.1",
        "mix-wind-percent": "31.2",
        "mix-half-hour": "2026-11-22T12:00:00Z",
        "observed-at": "2026-11-22T12:00:00Z",
    }


def test_a_later_slot_shows_what_the_forecast_knows_and_no_more() -> None:
    # Two sources share the price's series, so which one this figure has is not known.
    second, third, fourth = items(compute_offers(a_grid(), now=NOON))[1:]
    assert tags(second, "grid-signal") == {
        "carbon-intensity-gco2-per-kwh": "180.25",
        "carbon-intensity-kind": "forecast",
        "carbon-intensity-source": "carbon_intensity_api",
        "wholesale-price-gbp-per-mwh": "110",
        "grid-stress-score": "0.5",
        "demand-source": "neso",
        "observed-at": "2026-11-22T12:00:00Z",
    }
    assert tags(third, "grid-signal")["carbon-intensity-gco2-per-kwh"] == "0"
    assert tags(fourth, "grid-signal").keys() == {"grid-stress-score", "demand-source", "observed-at"}


def test_a_signal_of_another_half_hour_is_not_the_present_one() -> None:
    without_forecast = {"forecast": {"start": NOON}}
    old = {"timestamp": NOON, "wholesale_price_gbp_mwh": 100, "fetched_at": NOON}
    grid = a_grid(national={"current": old, **without_forecast}, regional=[], generation_mix=[])
    assert items(compute_offers(grid, now=NOON))[0].price.value == "0.00192"
    assert items(compute_offers(grid, now=HALF_PAST))[0].price.value is None


def test_an_unknown_grid_leaves_the_facility() -> None:
    grid = a_grid(national={"forecast": {"start": NOON}}, regional=[], generation_mix=[])
    listed = items(compute_offers(grid, now=NOON))
    assert {group.descriptor.code for item in listed for group in item.tags} == {"facility"}
    assert {item.price for item in listed} == {Price(currency="GBP")}


def test_an_offer_says_in_words_what_no_source_gave() -> None:
    grid = a_grid().model_dump(mode="json")
    grid["national"]["forecast"] |= {
        "price_sources": {"synthetic": 6},
        "demand_sources": {"elexon": 4, "modelled": 2},
    }
    grid["regional"][0]["forecast"]["carbon_sources"] = {"carbon_intensity_api": 3, "synthetic": 2}
    listed = items(compute_offers(GridContext.model_validate(grid), now=NOON))
    for item in listed:
        assert tags(item, "grid-signal-origin") == {
            "wholesale-price": "The wholesale price is invented (synthetic), with no real figure behind it.",
            "grid-stress": "The grid stress is modelled in 2 of 6 half-hours.",
            "carbon-intensity": "The carbon intensity of London (region 13) is invented (synthetic) in 2 of 5 "
            "half-hours.",
        }
    assert tags(items(compute_offers(a_grid(), now=NOON))[0], "grid-signal-origin") == {}


def test_a_facility_is_shown_as_it_is_stored() -> None:
    stored = centre(min_load_percentage=10, ramp_rate_mw_per_min=None, is_synthetic=True)
    assert tags(items(compute_offers(a_grid(stored), now=NOON))[0], "facility") == {
        "pue": "1.2",
        "capacity-mw": "20",
        "capacity-teraflops": "40000",
        "current-load-percent": "60",
        "flexibility-rating": "0.5",
        "min-load-percent": "10",
        "gpu-it-power-kw": "0.96",
        "status": "ACTIVE",
        "synthetic": "true",
    }


def test_a_data_centre_without_an_operator_is_listed_by_none() -> None:
    (provider,) = compute_offers(a_grid(centre(operator=None)), now=NOON).providers
    assert (provider.id, provider.descriptor.name) == (UNSTATED_OPERATOR, "Operator not stated")


@pytest.mark.parametrize(
    ("age", "expires"),
    [
        (timedelta(0), HALF_PAST),
        (timedelta(minutes=95), NOON + timedelta(minutes=25)),
        (timedelta(hours=9), NOON + timedelta(minutes=4)),
    ],
    ids=["fresh: with the half-hour", "ageing: when it is stale", "stale: at once"],
)
def test_a_catalogue_expires_with_the_half_hour_or_with_its_oldest_signal(age: timedelta, expires: datetime) -> None:
    # The national signal is fetched at noon; that of London is `age` older.
    london = {"region_id": 13, "forecast": {"start": NOON, "oldest_fetched_at": NOON - age}}
    catalog = compute_offers(a_grid(regional=[london]), now=NOON + timedelta(minutes=4))
    assert catalog.exp == expires
    assert [provider.exp for provider in catalog.providers] == [expires]


def test_the_staler_of_two_regions_ends_the_list_of_an_operator_in_both() -> None:
    fetched = {13: NOON, 1: NOON - timedelta(minutes=100), 2: NOON - timedelta(minutes=110)}
    regional = [
        {"region_id": region_id, "forecast": {"start": NOON, "oldest_fetched_at": moment}}
        for region_id, moment in fetched.items()
    ]
    centres = [
        centre("DC-001", operator="OP-A"),
        centre("DC-002", operator="OP-A", region_id=1),
        centre("DC-003", operator="OP-B", region_id=2),
    ]
    catalog = compute_offers(a_grid(*centres, regional=regional), now=NOON)
    assert {provider.id: provider.exp for provider in catalog.providers} == {
        "OP-A": NOON + timedelta(minutes=20),
        "OP-B": NOON + timedelta(minutes=10),
    }
    assert catalog.exp == NOON + timedelta(minutes=10)


def test_a_catalogue_of_nothing_expires_with_the_half_hour() -> None:
    catalog = compute_offers(a_grid(data_centres=[]), now=NOON)
    assert (catalog.providers, catalog.exp) == ((), HALF_PAST)


def test_no_slots_cannot_be_offered() -> None:
    with pytest.raises(ValueError, match="at least 1 slot, not 0"):
        compute_offers(a_grid(), now=NOON, slots=0)


@pytest.mark.parametrize(
    ("mix", "percent"),
    [
        ({"wind": 30.1, "solar": 4.2, "hydro": 0, "gas": 60, "biomass": 5.7}, 34.3),
        ({"wind": 30.1, "solar": None, "hydro": 0}, None),
        ({"gas": 100}, None),
    ],
)
def test_renewables_are_wind_solar_and_hydro_when_all_are_known(
    mix: dict[str, float | None], percent: float | None
) -> None:
    assert renewable_percent(mix) == percent


def expected(grid: GridContext, dc: DataCentre, slot: datetime, now: datetime) -> dict[str, float | None]:
    """The figures of one half-hour, looked up by time: the forecast's, else the present signal's."""

    def look_up(start: datetime, series: tuple[float | None, ...], present: float | None) -> float | None:
        place = (slot - start) // HALF_HOUR
        figure = series[place] if 0 <= place < len(series) else None
        return figure if figure is not None or slot != half_hour_of(now) else present

    national = grid.national
    present = national.current if national.current and national.current.timestamp == slot else None
    figures = {
        "wholesale-price-gbp-per-mwh": look_up(
            national.forecast.start,
            national.forecast.wholesale_price_gbp_mwh,
            present.wholesale_price_gbp_mwh if present else None,
        ),
        "grid-stress-score": look_up(
            national.forecast.start,
            national.forecast.grid_stress_score,
            present.grid_stress_score if present else None,
        ),
        "carbon-intensity-gco2-per-kwh": None,
    }
    for region in grid.regional:
        if region.region_id == dc.region_id:
            signal = region.current if region.current and region.current.timestamp == slot else None
            figures["carbon-intensity-gco2-per-kwh"] = look_up(
                region.forecast.start,
                region.forecast.carbon_intensity_gco2_per_kwh,
                signal.carbon_intensity_gco2_per_kwh if signal else None,
            )
    return figures


def offered(catalog: Catalog) -> Iterator[tuple[Provider, Item]]:
    for provider in catalog.providers:
        for item in provider.items:
            yield provider, item


@given(st.data(), moments, st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_every_figure_is_the_worlds_own(data: st.DataObject, now: datetime, slots: int) -> None:
    grid = data.draw(grids(now))
    centres = {dc.dc_id: dc for dc in grid.data_centres}
    catalog = compute_offers(grid, now=now, slots=slots)
    for provider, item in offered(catalog):
        dc = centres[item.location_ids[0]]
        assert provider.id == (dc.operator or UNSTATED_OPERATOR)
        slot = datetime.strptime(item.id.rsplit(":", 1)[1], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
        figures = expected(grid, dc, slot, now)
        shown = tags(item, "grid-signal")
        assert {code: float(shown[code]) if code in shown else None for code in figures} == figures
        facility = tags(item, "facility")
        assert (float(facility["pue"]), float(facility["capacity-mw"])) == (dc.pue, dc.total_capacity_mw)
        price = figures["wholesale-price-gbp-per-mwh"]
        if price is None:
            assert item.price.value is None
        else:
            assert float(item.price.value or "nan") == pytest.approx(price * 0.96 * dc.pue / 60_000, abs=1e-9)
        free_kw = dc.total_capacity_mw * 1000 * (1 - dc.current_load_percentage / 100)
        minutes = (slot + HALF_HOUR - max(slot, now)) / timedelta(minutes=1)
        most = free_kw / GPU_IT_POWER_KW * minutes
        assert most - minutes - 1.001 <= available(item) <= most + 0.001


@given(st.data(), moments)
@settings(max_examples=40, deadline=None)
def test_every_active_data_centre_is_listed_in_order(data: st.DataObject, now: datetime) -> None:
    grid = data.draw(grids(now))
    catalog = compute_offers(grid, now=now)
    active = sorted(dc.dc_id for dc in grid.data_centres if dc.status.value == "ACTIVE")
    assert sorted(str(place.id) for provider in catalog.providers for place in provider.locations) == active
    assert [provider.id for provider in catalog.providers] == sorted(provider.id for provider in catalog.providers)
    for provider in catalog.providers:
        places = [str(place.id) for place in provider.locations]
        assert places == sorted(places)
        assert [item.location_ids for item in provider.items] == [(place,) for place in places for _ in range(4)]
        starts = [item.time.range.start for item in provider.items if item.time and item.time.range]
        assert starts == [half_hour_of(now) + ahead * HALF_HOUR for _ in places for ahead in range(4)]


@given(st.data(), moments, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_input_does_not_matter(data: st.DataObject, now: datetime, rng: random.Random) -> None:
    grid = data.draw(grids(now))
    shuffled = {
        name: rng.sample(getattr(grid, name), len(getattr(grid, name)))
        for name in ("data_centres", "regional", "generation_mix")
    }
    other = grid.model_copy(update={name: tuple(rows) for name, rows in shuffled.items()})
    assert compute_offers(other, now=now).model_dump_json() == compute_offers(grid, now=now).model_dump_json()


def test_the_databases_grid_is_offered(database: Database) -> None:
    store_grid(database, NOW, price_gbp_mwh=80)
    store_data_centres(database, [stored_centre(1), stored_centre(2, status="MAINTENANCE"), stored_centre(3)], NOW)
    grid = GridContext.model_validate(database.call("grid_context", {"p_now": NOW.isoformat()}))
    catalog = compute_offers(grid, now=NOW)
    listed = items(catalog)
    assert [item.id for item in listed[:1] + listed[4:5]] == [
        "DC-001:gpu-slot:20261122T0800Z",
        "DC-003:gpu-slot:20261122T0800Z",
    ]
    assert [tags(item, "grid-signal")["carbon-intensity-gco2-per-kwh"] for item in listed] == [
        *("10", "11", "12", "13"),
        *("30", "31", "32", "33"),
    ]
    assert {item.price.value for item in listed} == {"0.001536"}
    assert catalog.exp == half_hour_of(NOW) + HALF_HOUR
