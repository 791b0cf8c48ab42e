"""The invented grid of the offline world."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import HALF_HOUR, UTC
from grid.model import intensity_from_mix
from synthetic.carbon import (
    AGGREGATE_MEMBERS,
    SyntheticCarbon,
    SyntheticFigures,
    synthetic_carbon,
    to_tenths,
)
from vocabulary import Fuel

half_hour_starts = st.integers(0, 48 * 365).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + n * HALF_HOUR)
seeds = st.integers(0, 1_000)


@pytest.fixture(scope="module")
def fortnight() -> list[SyntheticCarbon]:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    return [synthetic_carbon(start + n * HALF_HOUR, seed=1) for n in range(14 * 48)]


def tenths(mix: SyntheticFigures) -> list[int]:
    return [round(10 * percentage) for percentage in mix.mix.values()]


@given(half_hour_starts, seeds)
def test_every_mix_has_the_nine_fuels_and_sums_to_exactly_100_with_one_decimal(start: datetime, seed: int) -> None:
    carbon = synthetic_carbon(start, seed)
    assert sorted(carbon.regions) == list(range(1, 18))
    for figures in (carbon.national, *carbon.regions.values()):
        assert set(figures.mix) == set(Fuel)
        assert all(percentage == round(percentage, 1) >= 0 for percentage in figures.mix.values())
        assert sum(tenths(figures)) == 1000


@given(half_hour_starts, seeds)
def test_every_intensity_is_that_of_its_mix(start: datetime, seed: int) -> None:
    carbon = synthetic_carbon(start, seed)
    for figures in (carbon.national, *carbon.regions.values()):
        assert figures.carbon_intensity_gco2_per_kwh == round(intensity_from_mix(figures.mix))


@given(half_hour_starts, seeds)
def test_a_country_and_the_nation_lie_between_their_members(start: datetime, seed: int) -> None:
    carbon = synthetic_carbon(start, seed)
    groups = [(carbon.regions[country], members) for country, members in AGGREGATE_MEMBERS.items()]
    for whole, members in [*groups, (carbon.national, range(1, 15))]:
        parts = [carbon.regions[member].carbon_intensity_gco2_per_kwh for member in members]
        assert min(parts) - 2 <= whole.carbon_intensity_gco2_per_kwh <= max(parts) + 2
        for fuel in Fuel:
            shares = [carbon.regions[member].mix[fuel] for member in members]
            assert min(shares) - 0.2 <= whole.mix[fuel] <= max(shares) + 0.2


def test_the_countries_are_made_of_all_fourteen_licence_areas() -> None:
    assert sorted(member for members in AGGREGATE_MEMBERS.values() for member in members) == list(range(1, 15))


@given(half_hour_starts, seeds)
def test_the_same_seed_gives_the_same_grid_and_another_seed_another(start: datetime, seed: int) -> None:
    assert synthetic_carbon(start, seed) == synthetic_carbon(start, seed)
    assert synthetic_carbon(start, seed) != synthetic_carbon(start, seed + 1)


def test_moves_smoothly_and_all_the_time(fortnight: list[SyntheticCarbon]) -> None:
    for region_id in range(1, 18):
        series = [carbon.regions[region_id].carbon_intensity_gco2_per_kwh for carbon in fortnight]
        assert max(abs(after - before) for before, after in pairwise(series)) <= 20
        assert len(set(series)) > 10


def test_regions_keep_their_character(fortnight: list[SyntheticCarbon]) -> None:
    def intensities(region_id: int) -> list[int]:
        return [carbon.regions[region_id].carbon_intensity_gco2_per_kwh for carbon in fortnight]

    assert max(intensities(1)) <= 40
    assert min(intensities(7)) >= 230
    assert all(
        south > london > north
        for north, london, south in zip(intensities(1), intensities(13), intensities(7), strict=True)
    )


def test_the_wind_changes_which_region_is_cleaner() -> None:
    # Otherwise the place to run would be the same always, and only the time would matter.
    start = datetime(2026, 1, 1, tzinfo=UTC)
    year = [synthetic_carbon(start + n * 31 * HALF_HOUR, seed=1) for n in range(300)]
    cleaner = {c.regions[6].carbon_intensity_gco2_per_kwh < c.regions[14].carbon_intensity_gco2_per_kwh for c in year}
    assert cleaner == {True, False}


def test_the_sun_shines_by_day_and_more_in_summer() -> None:
    def solar(*moment: int) -> float:
        return synthetic_carbon(datetime(2026, *moment, tzinfo=UTC), seed=1).national.mix[Fuel.SOLAR]  # type: ignore[arg-type, misc]

    for day in range(1, 29):
        assert solar(6, day, 0) == solar(12, day, 0) == solar(12, day, 18) == 0
        assert 0 < solar(12, day, 12) < solar(6, day, 12)


def test_burns_no_coal(fortnight: list[SyntheticCarbon]) -> None:
    assert {figures.mix[Fuel.COAL] for carbon in fortnight for figures in carbon.regions.values()} == {0.0}


@given(st.dictionaries(st.sampled_from(Fuel), st.floats(0, 1e6), min_size=1).filter(lambda s: sum(s.values()) > 1e-3))
def test_rounding_to_tenths_sums_to_100_and_moves_no_fuel_by_a_tenth(shares: dict[Fuel, float]) -> None:
    rounded = to_tenths(shares)
    total = sum(shares.values())
    assert sum(round(10 * percentage) for percentage in rounded.values()) == 1000
    for fuel in Fuel:
        assert rounded[fuel] == pytest.approx(100 * shares.get(fuel, 0.0) / total, abs=0.1 + 1e-9)
