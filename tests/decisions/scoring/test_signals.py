from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from decision_contexts import HALF_HOUR, NOON, a_context, context_json, task
from decisions.scoring.context import DecisionContext
from decisions.scoring.signals import read_signals

UNKNOWN = None


def known_or_none(series: Any) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in series]


def test_half_hour_zero_is_the_one_that_contains_as_of() -> None:
    signals = read_signals(a_context(price=[1, 2, 3], as_of=NOON + timedelta(minutes=44)))
    assert signals.origin == NOON + HALF_HOUR
    assert known_or_none(signals.price_gbp_per_mwh[:3]) == [1, 2, 3]


def test_half_hours_that_are_over_are_dropped() -> None:
    signals = read_signals(a_context(price=[1, 2, 3], as_of=NOON + HALF_HOUR, start=NOON))
    assert known_or_none(signals.price_gbp_per_mwh[:3]) == [2, 3, UNKNOWN]


def test_a_series_that_begins_later_leaves_the_present_unknown() -> None:
    signals = read_signals(a_context(price=[1, 2], carbon={13: [5, 6]}, start=NOON + HALF_HOUR))
    assert known_or_none(signals.price_gbp_per_mwh) == [UNKNOWN, 1, 2]
    assert known_or_none(signals.carbon_intensity_gco2_per_kwh[0]) == [UNKNOWN, 5, 6]


def test_series_of_different_lengths_share_the_longest_axis() -> None:
    signals = read_signals(a_context(price=[1], stress=[0.1, 0.2], carbon={13: [5, 6, 7], 14: []}))
    assert known_or_none(signals.price_gbp_per_mwh) == [1, UNKNOWN, UNKNOWN]
    assert known_or_none(signals.grid_stress_score) == [0.1, 0.2, UNKNOWN]
    assert known_or_none(signals.carbon_intensity_gco2_per_kwh[signals.row_of(14)]) == [UNKNOWN] * 3
    assert signals.known[signals.row_of(13)].tolist() == [True, False, False]


def test_a_region_without_a_signal_is_unknown_throughout() -> None:
    signals = read_signals(a_context())
    assert known_or_none(signals.carbon_intensity_gco2_per_kwh[signals.row_of(2)]) == [UNKNOWN] * 6


def test_no_forecast_at_all_is_one_unknown_half_hour() -> None:
    signals = read_signals(a_context(price=[], carbon={}))
    assert signals.half_hours == 1
    assert not signals.known.any()


def with_present(**present: Any) -> DecisionContext:
    document = context_json(task=task(), price=[UNKNOWN, 2], carbon={13: [UNKNOWN, 6]})
    timestamp = present.pop("timestamp", NOON.isoformat())
    document["national"]["current"] = {"timestamp": timestamp, "wholesale_price_gbp_mwh": 77}
    document["regional"][0]["current"] = {"timestamp": timestamp, "carbon_intensity_forecast": 55}
    return DecisionContext.model_validate(document)


def test_the_present_half_hour_is_taken_from_the_current_signal_where_the_series_lacks_it() -> None:
    signals = read_signals(with_present())
    assert known_or_none(signals.price_gbp_per_mwh) == [77, 2]
    assert known_or_none(signals.carbon_intensity_gco2_per_kwh[0]) == [55, 6]


def test_a_known_figure_of_the_series_is_kept_whatever_the_current_signal_says() -> None:
    document = context_json(task=task(), price=[1, 2], carbon={13: [5, 6]})
    document["national"]["current"] = {"timestamp": NOON.isoformat(), "wholesale_price_gbp_mwh": 77}
    document["regional"][0]["current"] = {"timestamp": NOON.isoformat(), "carbon_intensity_forecast": 55}
    signals = read_signals(DecisionContext.model_validate(document))
    assert known_or_none(signals.price_gbp_per_mwh) == [1, 2]
    assert known_or_none(signals.carbon_intensity_gco2_per_kwh[0]) == [5, 6]


def test_a_current_signal_of_another_half_hour_is_not_the_present_one() -> None:
    signals = read_signals(with_present(timestamp=(NOON - HALF_HOUR).isoformat()))
    assert known_or_none(signals.price_gbp_per_mwh) == [UNKNOWN, 2]
