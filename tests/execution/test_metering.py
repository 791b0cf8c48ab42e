"""The energy of a run by the half-hour: to the thousandth of a watt-hour, and not one of them lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from execution.metering import STEPS_PER_WH, ItEnergy, Reading, ReadingSource, apportion, metered, rounded, simulated
from grid.half_hours import HALF_HOUR, UTC, half_hour_of

EIGHT = datetime(2026, 11, 22, 8, tzinfo=UTC)
MOMENTS = st.integers(0, 48 * 3_600_000_000).map(lambda number: EIGHT + timedelta(microseconds=number))
DURATIONS = st.integers(1, 48 * 3_600_000_000).map(lambda number: timedelta(microseconds=number))
POWERS_KW = st.floats(0, 20_000)
PUES = st.floats(1, 3)


def to_the_step(energy_wh: Fraction) -> Fraction:
    return Fraction(rounded(energy_wh * STEPS_PER_WH), STEPS_PER_WH)


def test_each_half_hour_has_the_energy_of_the_time_that_the_run_spent_in_it() -> None:
    readings = simulated(EIGHT + timedelta(minutes=15), EIGHT + timedelta(minutes=65), 4, 1.25)
    assert readings == [
        Reading(EIGHT, Fraction(1000), Fraction(1250), ReadingSource.SIMULATED),
        Reading(EIGHT + HALF_HOUR, Fraction(2000), Fraction(2500), ReadingSource.SIMULATED),
        Reading(EIGHT + 2 * HALF_HOUR, Fraction("333.333"), Fraction("416.667"), ReadingSource.SIMULATED),
    ]
    assert readings[0].row() == {
        "half_hour": "2026-11-22T08:00:00Z",
        "it_energy_wh": 1000,
        "site_energy_wh": 1250,
        "source": "simulated",
    }


def test_a_run_of_less_than_a_thousandth_in_each_half_hour_still_adds_up() -> None:
    # 3 half-hours of 0.0004 Wh: rounded one by one there would be none.
    readings = simulated(EIGHT, EIGHT + 3 * HALF_HOUR, 0.0000008, 1)
    assert [reading.it_energy_wh for reading in readings] == [Fraction(1, STEPS_PER_WH), 0, 0]


@given(start=MOMENTS, duration=DURATIONS, it_power_kw=POWERS_KW, pue=PUES)
def test_the_half_hours_sum_to_the_run_s_energy_to_the_thousandth_of_a_watt_hour(
    start: datetime, duration: timedelta, it_power_kw: float, pue: float
) -> None:
    readings = simulated(start, start + duration, it_power_kw, pue)
    it_wh = Fraction(it_power_kw) * Fraction(duration // timedelta(microseconds=1), 3_600_000)
    assert sum(reading.it_energy_wh for reading in readings) == to_the_step(it_wh)
    assert sum(reading.site_energy_wh for reading in readings) == to_the_step(it_wh * Fraction(pue))
    assert all(0 <= reading.it_energy_wh <= reading.site_energy_wh for reading in readings)
    slots = [reading.half_hour for reading in readings]
    assert slots[0] == half_hour_of(start)
    assert slots[-1] == half_hour_of(start + duration - timedelta(microseconds=1))
    assert slots == [slots[0] + number * HALF_HOUR for number in range(len(slots))]


@given(kwh=st.lists(st.floats(0, 1e6), max_size=60), pue=PUES)
def test_what_a_machine_counted_is_kept_to_the_thousandth_of_a_watt_hour(kwh: list[float], pue: float) -> None:
    energy = [ItEnergy(EIGHT + number * HALF_HOUR, each, ReadingSource.RAPL) for number, each in enumerate(kwh)]
    readings = metered(reversed(energy), pue)
    assert [reading.half_hour for reading in readings] == [each.half_hour for each in energy]
    assert sum(reading.it_energy_wh for reading in readings) == to_the_step(
        sum(map(Fraction, kwh), Fraction(0)) * 1000
    )
    assert all(
        abs(reading.it_energy_wh - Fraction(each) * 1000) < Fraction(1, STEPS_PER_WH)
        for reading, each in zip(readings, kwh, strict=True)
    )
    assert all(reading.site_energy_wh >= reading.it_energy_wh for reading in readings)
    assert {reading.source for reading in readings} <= {ReadingSource.RAPL}


@given(parts=st.lists(st.fractions(0, 10**9, max_denominator=10**6), min_size=1, max_size=60))
def test_parts_are_apportioned_to_within_one_and_whole_parts_not_touched(parts: list[Fraction]) -> None:
    total = rounded(sum(parts, Fraction(0)))
    given_to = apportion(total, parts)
    assert sum(given_to) == total
    assert all(abs(got - part) < 1 for got, part in zip(given_to, parts, strict=True))
