"""Derived figures and the curves that stand in for missing ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import HALF_HOUR, UTC
from grid.model import (
    ANCHOR_REACH,
    anchored_carbon,
    anchored_demand,
    anchored_price,
    carbon_index,
    grid_stress_score,
    intensity_from_mix,
    margin_stress_score,
    modelled_demand_mw,
    modelled_price_gbp_per_mwh,
)
from vocabulary import CarbonIndex, Fuel, SignalSource

SUNDAY_MORNING = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)

half_hour_starts = st.integers(0, 48 * 3650).map(lambda n: datetime(2020, 1, 1, tzinfo=UTC) + n * HALF_HOUR)
demands_mw = st.floats(10_000, 60_000)
prices_gbp_per_mwh = st.floats(-200, 1_500)
intensities = st.floats(0, 450)


def following(start: datetime, count: int) -> list[datetime]:
    return [start + n * HALF_HOUR for n in range(count)]


def series(values: Iterable[float], start: datetime = SUNDAY_MORNING) -> dict[datetime, float]:
    return {start + n * HALF_HOUR: value for n, value in enumerate(values)}


def somewhere(values: st.SearchStrategy[float]) -> st.SearchStrategy[dict[datetime, float]]:
    """Real figures at any of the 96 half-hours around a moment."""
    places = st.integers(-48, 47).map(lambda n: SUNDAY_MORNING + n * HALF_HOUR)
    return st.dictionaries(places, values, min_size=1, max_size=96)


class TestGridStress:
    @pytest.mark.parametrize(
        ("demand_mw", "score"),
        [(10_000, 0.0), (16_000, 0.0), (30_500, 0.5), (45_000, 1.0), (52_000, 1.0)],
    )
    def test_is_linear_between_the_lowest_and_the_highest_demand(self, demand_mw: float, score: float) -> None:
        assert grid_stress_score(demand_mw) == score

    def test_of_unknown_demand_is_unknown(self) -> None:
        assert grid_stress_score(None) is None

    @given(demands_mw, demands_mw)
    def test_never_falls_as_demand_rises(self, one: float, other: float) -> None:
        assert grid_stress_score(min(one, other)) <= grid_stress_score(max(one, other))


class TestCarbonIndex:
    @pytest.mark.parametrize(
        ("intensity", "word"),
        [
            (0, CarbonIndex.VERY_LOW),
            (24, CarbonIndex.VERY_LOW),
            (25, CarbonIndex.LOW),
            (89, CarbonIndex.LOW),
            (90, CarbonIndex.MODERATE),
            (169.9, CarbonIndex.MODERATE),
            (170, CarbonIndex.HIGH),
            (229, CarbonIndex.HIGH),
            (230, CarbonIndex.VERY_HIGH),
            (600, CarbonIndex.VERY_HIGH),
        ],
    )
    def test_of_2026_follows_the_published_bands(self, intensity: float, word: CarbonIndex) -> None:
        assert carbon_index(intensity, 2026) is word

    def test_of_a_year_without_bands_uses_the_nearest_earlier_ones_or_the_oldest(self) -> None:
        assert carbon_index(100, 2031) is carbon_index(100, 2021) is CarbonIndex.MODERATE


class TestIntensityFromMix:
    # Rows without imports as the Carbon Intensity API published them: the mix in per cent, and its intensity.
    @pytest.mark.parametrize(
        ("mix", "published_gco2_per_kwh"),
        [
            ({Fuel.GAS: 96.4, Fuel.WIND: 3.6}, 380),
            ({Fuel.NUCLEAR: 48.3, Fuel.WIND: 51.7}, 0),
            ({Fuel.GAS: 2.9, Fuel.NUCLEAR: 42.1, Fuel.WIND: 55.0}, 11),
            ({Fuel.BIOMASS: 29.4, Fuel.GAS: 17.5, Fuel.NUCLEAR: 51.2, Fuel.WIND: 1.9}, 104),
            ({Fuel.BIOMASS: 39.5, Fuel.GAS: 57.3, Fuel.WIND: 3.1}, 273),
        ],
    )
    def test_meets_published_rows_within_2_g(self, mix: dict[Fuel, float], published_gco2_per_kwh: float) -> None:
        assert intensity_from_mix(mix) == pytest.approx(published_gco2_per_kwh, abs=2)

    def test_counts_coal_and_other_fuels(self) -> None:
        assert intensity_from_mix({Fuel.COAL: 100}) == 937
        assert intensity_from_mix({Fuel.OTHER: 100}) == 300


class TestDemandCurve:
    @given(half_hour_starts)
    def test_stays_within_what_great_britain_sees(self, start: datetime) -> None:
        assert 16_000 <= modelled_demand_mw(start) <= 45_000

    def test_peaks_on_a_winter_evening_and_rests_on_a_summer_night(self) -> None:
        year = following(datetime(2026, 1, 1, tzinfo=UTC), 48 * 365)
        highest, lowest = max(year, key=modelled_demand_mw), min(year, key=modelled_demand_mw)
        assert (highest.month, highest.hour) == (1, 17)
        assert lowest.month == 7
        assert 3 <= lowest.hour <= 5

    def test_is_lower_at_the_weekend(self) -> None:
        saturday = datetime(2026, 11, 21, tzinfo=UTC)
        weekend = sum(modelled_demand_mw(start) for start in following(saturday, 96))
        weekdays = sum(modelled_demand_mw(start) for start in following(saturday + 2 * DAY, 96))
        assert weekend < 0.95 * weekdays

    def test_follows_the_london_clock_across_a_clock_change(self) -> None:
        # The clocks went back on 25 October 2026: the Friday before and the Friday after are alike by the
        # clock.
        summer_time = modelled_demand_mw(datetime(2026, 10, 23, 6, 0, tzinfo=UTC))
        winter_time = modelled_demand_mw(datetime(2026, 10, 30, 7, 0, tzinfo=UTC))
        assert winter_time == pytest.approx(summer_time, rel=0.05)
        assert modelled_demand_mw(datetime(2026, 10, 30, 6, 0, tzinfo=UTC)) < 0.95 * summer_time

    @given(half_hour_starts)
    def test_has_no_jumps(self, start: datetime) -> None:
        assert abs(modelled_demand_mw(start + HALF_HOUR) - modelled_demand_mw(start)) < 3_500


class TestPriceCurve:
    @given(demands_mw, demands_mw)
    def test_never_falls_as_demand_rises(self, one: float, other: float) -> None:
        assert modelled_price_gbp_per_mwh(min(one, other)) <= modelled_price_gbp_per_mwh(max(one, other))

    def test_runs_from_55_to_145_pounds(self) -> None:
        assert modelled_price_gbp_per_mwh(16_000) == 55
        assert modelled_price_gbp_per_mwh(45_000) == 145


class TestAnchoredDemand:
    def test_answers_only_what_is_asked_and_not_known(self) -> None:
        known = series([25_000, 26_000])
        asked = following(SUNDAY_MORNING, 4)
        assert list(anchored_demand(known, asked)) == asked[2:]

    def test_without_real_figures_is_the_curve_and_synthetic(self) -> None:
        estimate = anchored_demand({}, [SUNDAY_MORNING])[SUNDAY_MORNING]
        assert estimate.demand_mw == modelled_demand_mw(SUNDAY_MORNING)
        assert estimate.source is SignalSource.SYNTHETIC

    def test_with_a_real_figure_within_reach_is_modelled(self) -> None:
        known = {SUNDAY_MORNING: 25_000.0}
        last, beyond = SUNDAY_MORNING + ANCHOR_REACH, SUNDAY_MORNING + ANCHOR_REACH + HALF_HOUR
        estimates = anchored_demand(known, [last, beyond])
        assert estimates[last].source is SignalSource.MODELLED
        assert estimates[beyond].source is SignalSource.SYNTHETIC

    @given(somewhere(demands_mw))
    def test_passes_through_its_anchors(self, known: dict[datetime, float]) -> None:
        for start, demand_mw in known.items():
            beside = start + timedelta(microseconds=1)
            assert anchored_demand(known, [beside])[beside].demand_mw == pytest.approx(demand_mw, abs=1)

    @given(somewhere(demands_mw))
    def test_scales_the_curve_no_further_than_the_known_figures_do(self, known: dict[datetime, float]) -> None:
        scales = [demand_mw / modelled_demand_mw(start) for start, demand_mw in known.items()]
        asked = following(SUNDAY_MORNING - DAY, 192)
        for start, estimate in anchored_demand(known, asked).items():
            scale = estimate.demand_mw / modelled_demand_mw(start)
            assert min([*scales, 1]) - 0.001 <= scale <= max([*scales, 1]) + 0.001

    def test_decays_back_to_the_curve(self) -> None:
        known = {SUNDAY_MORNING: 1.3 * modelled_demand_mw(SUNDAY_MORNING)}
        asked = [SUNDAY_MORNING + timedelta(hours=hours) for hours in (1, 24, 96, 160)]
        scales = [e.demand_mw / modelled_demand_mw(start) for start, e in anchored_demand(known, asked).items()]
        assert scales == sorted(scales, reverse=True)
        assert scales[0] == pytest.approx(1.3, abs=0.01)
        assert scales[-1] == pytest.approx(1.0, abs=0.02)

    def test_fills_a_gap_between_its_two_sides(self) -> None:
        known = {start: 1.2 * modelled_demand_mw(start) for start in following(SUNDAY_MORNING, 12)}
        gap = list(known)[5]
        truth = known.pop(gap)
        assert anchored_demand(known, [gap])[gap].demand_mw == pytest.approx(truth, rel=0.005)


class TestAnchoredPrice:
    def test_answers_only_what_is_asked_and_not_known(self) -> None:
        known = series([80.0, -5.0])
        asked = following(SUNDAY_MORNING, 4)
        assert list(anchored_price(known, asked)) == asked[2:]

    def test_without_real_prices_is_what_demand_suggests_and_synthetic(self) -> None:
        estimate = anchored_price({}, [SUNDAY_MORNING], {SUNDAY_MORNING: 40_000})[SUNDAY_MORNING]
        assert estimate.price_gbp_per_mwh == round(modelled_price_gbp_per_mwh(40_000), 2)
        assert estimate.source is SignalSource.SYNTHETIC

    def test_without_demand_uses_the_demand_curve(self) -> None:
        curve = {SUNDAY_MORNING: float(modelled_demand_mw(SUNDAY_MORNING))}
        assert anchored_price({}, [SUNDAY_MORNING]) == anchored_price({}, [SUNDAY_MORNING], curve)

    def test_with_a_real_price_within_reach_is_modelled(self) -> None:
        known = {SUNDAY_MORNING: 90.0}
        last, beyond = SUNDAY_MORNING + ANCHOR_REACH, SUNDAY_MORNING + ANCHOR_REACH + HALF_HOUR
        estimates = anchored_price(known, [last, beyond])
        assert estimates[last].source is SignalSource.MODELLED
        assert estimates[beyond].source is SignalSource.SYNTHETIC

    def test_starts_from_the_last_real_price(self) -> None:
        start = SUNDAY_MORNING + 47 * HALF_HOUR
        ordinary = series([70.0] * 47)
        raised = anchored_price({**ordinary, start: 95.0}, following(start, 12))
        flat = anchored_price({**ordinary, start: 70.0}, following(start, 12))
        lifts = [raised[s].price_gbp_per_mwh - flat[s].price_gbp_per_mwh for s in raised]
        assert 10 < lifts[0] < 25
        assert lifts == sorted(lifts, reverse=True)
        assert lifts[-1] < 5

    def test_expects_negative_nights_after_negative_nights(self) -> None:
        week = following(SUNDAY_MORNING - 7 * DAY, 7 * 48)
        known = {start: -30.0 if start.hour < 5 else 80.0 for start in week}
        tomorrow = anchored_price(known, following(SUNDAY_MORNING, 48))
        assert tomorrow[datetime(2026, 11, 23, 3, 0, tzinfo=UTC)].price_gbp_per_mwh < 0
        assert tomorrow[datetime(2026, 11, 22, 14, 0, tzinfo=UTC)].price_gbp_per_mwh > 60

    def test_does_not_expect_one_spike_again_the_next_day(self) -> None:
        week = following(SUNDAY_MORNING - 7 * DAY, 7 * 48)
        known = dict.fromkeys(week, 80.0)
        calm = anchored_price(known, following(SUNDAY_MORNING, 48))
        spike = SUNDAY_MORNING - timedelta(hours=15)
        spiked = anchored_price({**known, spike: 1_500.0}, following(SUNDAY_MORNING, 48))
        for start in calm:
            assert spiked[start].price_gbp_per_mwh == pytest.approx(calm[start].price_gbp_per_mwh, abs=2)

    def test_follows_the_forecast_demand(self) -> None:
        known = series([80.0] * 48, SUNDAY_MORNING - DAY)
        slack, tight = (
            anchored_price(known, [SUNDAY_MORNING], {SUNDAY_MORNING: demand_mw}) for demand_mw in (20_000, 42_000)
        )
        assert slack[SUNDAY_MORNING].price_gbp_per_mwh + 30 < tight[SUNDAY_MORNING].price_gbp_per_mwh

    @given(somewhere(prices_gbp_per_mwh))
    def test_stays_near_the_range_of_the_known_prices(self, known: dict[datetime, float]) -> None:
        # Demand can move it by the 90 pounds of its curve either way, and a deviation by 40.
        low, high = min([*known.values(), 55]) - 130, max([*known.values(), 145]) + 130
        for estimate in anchored_price(known, following(SUNDAY_MORNING, 96)).values():
            assert low <= estimate.price_gbp_per_mwh <= high


class TestAnchoredCarbon:
    def test_answers_only_what_is_asked_and_not_known(self) -> None:
        known = series([100, 110])
        asked = following(SUNDAY_MORNING, 4)
        assert list(anchored_carbon(known, asked)) == asked[2:]

    def test_knows_nothing_without_real_figures_within_reach(self) -> None:
        assert anchored_carbon({}, [SUNDAY_MORNING]) == {}
        far = SUNDAY_MORNING + ANCHOR_REACH + HALF_HOUR
        assert anchored_carbon({SUNDAY_MORNING: 100}, [far]) == {}

    def test_is_modelled(self) -> None:
        estimates = anchored_carbon(series([100]), following(SUNDAY_MORNING, 96))
        assert {estimate.source for estimate in estimates.values()} == {SignalSource.MODELLED}
        assert len(estimates) == 95

    @given(intensities, st.integers(1, 96))
    def test_continues_a_constant_as_a_constant(self, intensity: float, count: int) -> None:
        estimates = anchored_carbon(series([intensity] * count), following(SUNDAY_MORNING, 144))
        assert {estimate.carbon_intensity_gco2_per_kwh for estimate in estimates.values()} == {round(intensity)}

    @given(st.lists(st.integers(0, 400), min_size=48, max_size=48))
    def test_repeats_a_day_that_repeated_itself(self, day: list[int]) -> None:
        known = series(day * 2)
        estimates = anchored_carbon(known, following(SUNDAY_MORNING + 2 * DAY, 48))
        assert [estimate.carbon_intensity_gco2_per_kwh for estimate in estimates.values()] == day

    def test_carries_on_a_forecast_cut_short_by_yesterday_and_the_present_difference(self) -> None:
        yesterday = [100 + 4 * n for n in range(48)]
        today_so_far = [gco2 + 50 for gco2 in yesterday[:29]]
        known = series(yesterday + today_so_far, SUNDAY_MORNING - DAY)
        rest = anchored_carbon(known, following(SUNDAY_MORNING, 48))
        above_yesterday = [
            estimate.carbon_intensity_gco2_per_kwh - known[start - DAY] for start, estimate in rest.items()
        ]
        assert len(rest) == 48 - 29
        assert above_yesterday[0] == pytest.approx(48, abs=1)
        assert above_yesterday == sorted(above_yesterday, reverse=True)
        assert 0 < above_yesterday[-1] < 25

    def test_fills_a_missing_row_between_its_neighbours(self) -> None:
        known = series([100, 110, 120, 130])
        gap = SUNDAY_MORNING + 2 * HALF_HOUR
        del known[gap]
        assert anchored_carbon(known, [gap])[gap].carbon_intensity_gco2_per_kwh == pytest.approx(120, abs=2)

    def test_keeps_a_region_at_zero_at_zero(self) -> None:
        estimates = anchored_carbon(series([0.0] * 29), following(SUNDAY_MORNING, 96))
        assert {estimate.carbon_intensity_gco2_per_kwh for estimate in estimates.values()} == {0}

    @given(somewhere(intensities))
    def test_is_never_negative(self, known: dict[datetime, float]) -> None:
        for estimate in anchored_carbon(known, following(SUNDAY_MORNING, 96)).values():
            assert estimate.carbon_intensity_gco2_per_kwh >= 0


@pytest.mark.parametrize(
    ("margin_mw", "probability", "score"),
    [(12_000, 0.0, 0.0), (10_000, 0.0, 0.0), (2_500, 0.0, 0.75), (2_500, 0.9, 0.9), (0, 0.0, 1.0), (-800, 0.1, 1.0)],
)
def test_the_second_opinion_on_stress_is_what_is_to_spare(margin_mw: float, probability: float, score: float) -> None:
    assert margin_stress_score(margin_mw, probability) == score
