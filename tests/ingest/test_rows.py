from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from data_fetchers import GenerationMix, MarketIndexPrice, NationalDemand, NationalIntensity, RegionalIntensity
from grid.half_hours import HALF_HOUR, UTC
from ingest.rows import Fetched, GridRows, Known, NationalRow, complete_rows, fetched_rows
from vocabulary import CarbonIndex, Fuel, SignalSource

NOW = datetime(2026, 11, 22, 8, 14, 30, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
AHEAD = [SLOT + n * HALF_HOUR for n in range(96)]
REGIONS = range(1, 18)
MIX = {Fuel.WIND: 60.0, Fuel.GAS: 40.0}


def national(start: datetime, forecast: float | None = 142, actual: float | None = None) -> NationalIntensity:
    return NationalIntensity(start, forecast, actual, CarbonIndex.MODERATE)


def regional(region: int, start: datetime, forecast: float = 142) -> RegionalIntensity:
    return RegionalIntensity(region, start, forecast, CarbonIndex.MODERATE, MIX)


def by_start(rows: GridRows) -> dict[datetime, NationalRow]:
    return {row.timestamp: row for row in rows.national}


def completed(fetched: Fetched | None = None, known: Known | None = None, *, seed: int = 1) -> GridRows:
    return complete_rows(fetched or Fetched(), known or Known(), now=NOW, seed=seed)


def test_the_figures_of_a_half_hour_are_one_row_that_says_where_each_came_from() -> None:
    fetched = Fetched(
        national_carbon=(national(SLOT, 0, 3),),
        elexon_demand=(NationalDemand(SLOT, 30_500),),
        prices=(MarketIndexPrice(SLOT, -12.5, 900),),
    )
    (row,) = fetched_rows(fetched, fetched_at=NOW).national
    assert (row.timestamp, row.settlement_period) == (SLOT, 17)
    assert (row.carbon_intensity_gco2_per_kwh, row.actual_carbon_intensity_gco2_per_kwh, row.carbon_index) == (
        0,
        3,
        "moderate",
    )
    assert (row.demand_mw, row.grid_stress_score, row.wholesale_price_gbp_mwh) == (30_500, 0.5, -12.5)
    assert (row.carbon_source, row.demand_source, row.price_source) == ("carbon_intensity_api", "elexon", "elexon")
    assert {row.carbon_fetched_at, row.demand_fetched_at, row.price_fetched_at} == {NOW}


def test_what_no_source_gave_stays_empty_in_fetched_rows() -> None:
    rows = fetched_rows(Fetched(prices=(MarketIndexPrice(SLOT, 80, 900),)), fetched_at=NOW)
    (row,) = rows.national
    assert (row.carbon_source, row.carbon_intensity_gco2_per_kwh) == (None, None)
    assert (row.demand_source, row.demand_mw, row.grid_stress_score) == (None, None, None)
    assert (rows.regional, rows.national_mix) == ([], [])


def test_neso_s_demand_comes_before_elexon_s_whichever_order() -> None:
    fetched = Fetched(
        neso_demand=(NationalDemand(AHEAD[1], 31_000),),
        elexon_demand=(NationalDemand(AHEAD[0], 29_000), NationalDemand(AHEAD[1], 29_500)),
    )
    rows = fetched_rows(fetched, fetched_at=NOW).national
    assert [(row.demand_mw, row.demand_source) for row in rows] == [(29_000, "elexon"), (31_000, "neso")]


def test_a_published_figure_comes_before_a_point_on_the_curve_which_is_modelled() -> None:
    curve = (NationalDemand(AHEAD[0], 31_000, is_interpolated=True), NationalDemand(AHEAD[1], 32_000, True))
    fetched = Fetched(neso_demand=curve, elexon_demand=(NationalDemand(AHEAD[1], 29_500),))
    rows = fetched_rows(fetched, fetched_at=NOW).national
    assert [(row.demand_mw, row.demand_source, row.demand_interpolated) for row in rows] == [
        (31_000, "modelled", True),
        (29_500, "elexon", False),
    ]


def test_the_curve_comes_before_a_model_and_anchors_none() -> None:
    on_the_curve = NationalDemand(AHEAD[10], 60_000, is_interpolated=True)
    for fetched, known in (
        (Fetched(neso_demand=(on_the_curve,)), Known(demand_mw={SLOT: 30_000.0})),
        (Fetched(), Known(demand_mw={SLOT: 30_000.0}, interpolated_demand_mw={AHEAD[10]: 60_000.0})),
    ):
        rows = by_start(completed(fetched, known))
        without = by_start(completed(known=Known(demand_mw={SLOT: 30_000.0})))
        assert AHEAD[10] not in rows or rows[AHEAD[10]].demand_mw in {60_000, None}
        assert rows[AHEAD[9]].demand_mw == without[AHEAD[9]].demand_mw
        assert rows[AHEAD[11]].demand_mw == without[AHEAD[11]].demand_mw


def test_a_model_is_as_old_as_the_figures_it_rests_on() -> None:
    before = NOW - timedelta(days=3)
    rows = completed(
        known=Known(
            carbon_intensity_gco2_per_kwh={SLOT: 200.0},
            demand_mw={SLOT: 30_000.0},
            price_gbp_per_mwh={SLOT - HALF_HOUR: 80.0},
            regional_carbon_intensity_gco2_per_kwh={13: {SLOT: 150.0}},
            carbon_fetched_at=before,
            demand_fetched_at=before + timedelta(hours=1),
            price_fetched_at=before + timedelta(hours=2),
            regional_fetched_at={13: before + timedelta(hours=3)},
        )
    )
    later = by_start(rows)[AHEAD[1]]
    assert (later.carbon_source, later.carbon_fetched_at) == (SignalSource.MODELLED, before)
    assert (later.demand_source, later.demand_fetched_at) == (SignalSource.MODELLED, before + timedelta(hours=1))
    assert (later.price_source, later.price_fetched_at) == (SignalSource.MODELLED, before + timedelta(hours=2))
    regions = {row.region_id: row for row in rows.regional if row.timestamp == AHEAD[1]}
    assert (regions[13].carbon_source, regions[13].fetched_at) == (SignalSource.MODELLED, before + timedelta(hours=3))
    assert (regions[1].carbon_source, regions[1].fetched_at) == (SignalSource.SYNTHETIC, NOW)


def test_an_intensity_without_a_word_of_its_own_gets_the_word_for_its_number() -> None:
    wordless = NationalIntensity(SLOT, 200, None, None), NationalIntensity(AHEAD[1], None, 10, None)
    rows = fetched_rows(Fetched(national_carbon=wordless), fetched_at=NOW).national
    assert [row.carbon_index for row in rows] == [CarbonIndex.HIGH, CarbonIndex.VERY_LOW]


def test_a_regional_row_keeps_its_mix() -> None:
    (row,) = fetched_rows(Fetched(regional_carbon=(regional(13, SLOT, 0),)), fetched_at=NOW).regional
    assert (row.region_id, row.carbon_intensity_gco2_per_kwh, row.carbon_source) == (13, 0, "carbon_intensity_api")
    assert row.mix == MIX


def test_with_nothing_at_all_the_next_48_hours_are_complete_and_synthetic() -> None:
    rows = completed()
    assert [row.timestamp for row in rows.national] == AHEAD
    assert {(row.region_id, row.timestamp) for row in rows.regional} == {(r, at) for r in REGIONS for at in AHEAD}
    assert len(rows.regional) == 17 * 96
    sources = {
        *(row.carbon_source for row in rows.national),
        *(row.demand_source for row in rows.national),
        *(row.price_source for row in rows.national),
        *(row.carbon_source for row in rows.regional),
        *(mix.mix_source for mix in rows.national_mix),
    }
    assert sources == {SignalSource.SYNTHETIC}
    assert all(row.mix for row in rows.regional)
    assert [mix.timestamp for mix in rows.national_mix] == [SLOT]
    assert all(row.grid_stress_score is not None for row in rows.national)


def test_the_same_seed_invents_the_same_and_another_seed_something_else() -> None:
    assert completed() == completed()
    assert completed().regional != completed(seed=2).regional


def test_a_horizon_that_was_cut_short_is_filled_by_a_model_that_joins_it() -> None:
    rows = by_start(completed(Fetched(national_carbon=tuple(national(at, 142) for at in AHEAD[:29]))))
    assert {rows[at].carbon_source for at in AHEAD[:29]} == {SignalSource.CARBON_INTENSITY_API}
    assert {rows[at].carbon_source for at in AHEAD[29:]} == {SignalSource.MODELLED}
    assert {rows[at].carbon_intensity_gco2_per_kwh for at in AHEAD[29:]} == {142}
    assert {rows[at].carbon_fetched_at for at in AHEAD[29:]} == {NOW}


def test_a_region_that_is_missing_from_one_half_hour_gets_that_half_hour_modelled() -> None:
    fetched = Fetched(
        regional_carbon=tuple(
            regional(region, at, region) for region in REGIONS for at in AHEAD if (region, at) != (13, AHEAD[5])
        )
    )
    rows = [row for row in completed(fetched).regional if (row.region_id, row.timestamp) == (13, AHEAD[5])]
    assert [(row.carbon_intensity_gco2_per_kwh, row.carbon_source, row.mix) for row in rows] == [
        (13, SignalSource.MODELLED, {})
    ]


def test_known_real_figures_are_not_written_again_and_anchor_the_models() -> None:
    known = Known(
        carbon_intensity_gco2_per_kwh=dict.fromkeys(AHEAD[:90], 77.0),
        demand_mw=dict.fromkeys(AHEAD[:90], 30_000.0),
        price_gbp_per_mwh={SLOT - HALF_HOUR: 91.0},
        regional_carbon_intensity_gco2_per_kwh={region: dict.fromkeys(AHEAD, 50.0) for region in REGIONS},
        has_recent_mix=True,
    )
    rows = completed(known=known)
    assert (rows.regional, rows.national_mix) == ([], [])
    assert [row.timestamp for row in rows.national if row.carbon_source is not None] == AHEAD[90:]
    assert [row.timestamp for row in rows.national if row.demand_source is not None] == AHEAD[90:]
    assert {row.carbon_intensity_gco2_per_kwh for row in rows.national if row.carbon_source is not None} == {77}
    assert {row.price_source for row in rows.national} == {SignalSource.MODELLED}


def test_a_fetched_figure_is_kept_beside_a_known_one() -> None:
    rows = by_start(
        completed(Fetched(national_carbon=(national(SLOT, 200),)), Known(carbon_intensity_gco2_per_kwh={SLOT: 77.0}))
    )
    assert rows[SLOT].carbon_intensity_gco2_per_kwh == 200


def test_the_national_mix_of_the_last_two_hours_stands_for_the_present() -> None:
    fetched = Fetched(national_mix=(GenerationMix(SLOT - timedelta(hours=2), MIX),))
    assert [mix.mix_source for mix in completed(fetched).national_mix] == [SignalSource.CARBON_INTENSITY_API]


def test_an_older_national_mix_does_not() -> None:
    fetched = Fetched(national_mix=(GenerationMix(SLOT - timedelta(hours=2, minutes=30), MIX),))
    mixes = completed(fetched).national_mix
    assert [(mix.timestamp, mix.mix_source) for mix in mixes] == [
        (SLOT - timedelta(hours=2, minutes=30), SignalSource.CARBON_INTENSITY_API),
        (SLOT, SignalSource.SYNTHETIC),
    ]


REGIONS_KNOWN = {region: dict.fromkeys(AHEAD, 50.0) for region in REGIONS}
SOME_AHEAD = st.sets(st.sampled_from(AHEAD))


@settings(max_examples=25, deadline=None)
@given(carbon=SOME_AHEAD, demand=SOME_AHEAD, prices=SOME_AHEAD, known=SOME_AHEAD)
def test_whatever_came_every_half_hour_has_a_figure_and_every_fetched_one_is_kept(
    carbon: set[datetime], demand: set[datetime], prices: set[datetime], known: set[datetime]
) -> None:
    fetched = Fetched(
        national_carbon=tuple(national(at, 17) for at in carbon),
        elexon_demand=tuple(NationalDemand(at, 31_234) for at in demand),
        prices=tuple(MarketIndexPrice(at, 12.34, 1) for at in prices),
    )
    already = dict.fromkeys(known, 40.0)
    rows = by_start(
        completed(
            fetched,
            Known(already, dict.fromkeys(known, 20_000.0), already, REGIONS_KNOWN, has_recent_mix=True),
        )
    )
    for at in AHEAD:
        row = rows.get(at, NationalRow(at, 1))
        for value, source, real, came in (
            (row.carbon_intensity_gco2_per_kwh, row.carbon_source, (17, "carbon_intensity_api"), at in carbon),
            (row.demand_mw, row.demand_source, (31_234, "elexon"), at in demand),
            (row.wholesale_price_gbp_mwh, row.price_source, (12.34, "elexon"), at in prices),
        ):
            if came:
                assert (value, source) == real
            elif at in known:
                assert (value, source) == (None, None)
            else:
                assert value is not None
                assert source in {SignalSource.MODELLED, SignalSource.SYNTHETIC}


@settings(max_examples=50)
@given(published=SOME_AHEAD, elexon=SOME_AHEAD, curve=SOME_AHEAD, known=SOME_AHEAD, curve_known=SOME_AHEAD)
def test_demand_is_published_before_interpolated_before_modelled(
    published: set[datetime],
    elexon: set[datetime],
    curve: set[datetime],
    known: set[datetime],
    curve_known: set[datetime],
) -> None:
    fetched = Fetched(
        neso_demand=(
            *(NationalDemand(at, 31_000) for at in published),
            *(NationalDemand(at, 32_000, is_interpolated=True) for at in curve),
        ),
        elexon_demand=tuple(NationalDemand(at, 33_000) for at in elexon),
    )
    stored = Known(
        demand_mw=dict.fromkeys(known, 34_000.0),
        interpolated_demand_mw=dict.fromkeys(curve_known - known, 35_000.0),
        regional_carbon_intensity_gco2_per_kwh=REGIONS_KNOWN,
    )
    rows = by_start(completed(fetched, stored))
    for at in AHEAD:
        found = rows[at].demand_mw, rows[at].demand_source
        if at in published:
            assert found == (31_000, SignalSource.NESO)
        elif at in elexon:
            assert found == (33_000, SignalSource.ELEXON)
        elif at in curve:
            assert found == (32_000, SignalSource.MODELLED)
        elif at in known | curve_known:
            assert found == (None, None)
        else:
            assert found[1] in {SignalSource.MODELLED, SignalSource.SYNTHETIC}
