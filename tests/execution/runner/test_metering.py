"""Energy by the half-hour: none is lost or made up between half-hours, and the weaker source is named."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.runner.metering import Meter, power_x_time, shares
from execution.runner.processes import boot_id
from execution.runner.protocol import EnergySource
from execution.runner.server_time import Anchor, ServerTime
from grid.half_hours import UTC

MOMENT = datetime(2026, 11, 27, 12, 10, tzinfo=UTC)


def server_time(moment: datetime = MOMENT) -> ServerTime:
    return ServerTime(lambda: 0.0, lambda: MOMENT, Anchor(moment=moment, monotonic_s=0.0, boot_id=boot_id()))


def test_a_run_over_two_half_hours_has_a_figure_for_each() -> None:
    meter = Meter(until_s=0.0)
    meter.add(3600.0, power_x_time(2.0, 3600.0), EnergySource.POWER_X_TIME, server_time())
    half_hours = [MOMENT.replace(minute=0), MOMENT.replace(minute=30), MOMENT.replace(hour=13, minute=0)]
    assert [r.half_hour for r in meter.readings()] == half_hours
    assert [r.energy_kwh for r in meter.readings()] == pytest.approx([2 / 3, 1.0, 1 / 3])


@given(st.lists(st.tuples(st.floats(-100, 4000), st.floats(0, 1e9)), max_size=30))
def test_what_is_added_is_what_is_read(pieces: list[tuple[float, float]]) -> None:
    meter, now, total = Meter(until_s=0.0), 0.0, 0.0
    for span_s, joules in pieces:
        now += span_s
        total += joules if now > meter.until_s else 0.0
        meter.add(now, joules, EnergySource.RAPL, server_time())
    assert sum(r.energy_kwh for r in meter.readings()) == pytest.approx(total / 3.6e6)
    assert {r.source for r in meter.readings()} <= {EnergySource.RAPL}


def test_a_half_hour_that_is_partly_estimated_says_so() -> None:
    meter = Meter(until_s=0.0)
    meter.add(60.0, 100.0, EnergySource.RAPL, server_time())
    meter.add(120.0, 100.0, EnergySource.POWER_X_TIME, server_time())
    meter.add(2400.0, 100.0, EnergySource.RAPL, server_time())
    assert [r.source for r in meter.readings()] == [EnergySource.POWER_X_TIME, EnergySource.RAPL]


def test_a_meter_is_kept_as_json() -> None:
    meter = Meter(until_s=0.0)
    meter.add(2400.0, 100.0, EnergySource.POWER_X_TIME, server_time())
    assert Meter.model_validate(meter.model_dump(mode="json")) == meter


def test_the_machines_energy_is_shared_by_power() -> None:
    assert shares({1: 1.0, 2: 3.0}) == {1: 0.25, 2: 0.75}


def test_the_servers_time_goes_by_the_monotonic_clock() -> None:
    monotonic = [100.0]
    time = ServerTime(lambda: monotonic[0], lambda: MOMENT)
    assert time.at(160.0) == MOMENT + timedelta(seconds=60)
    monotonic[0] = 200.0
    time.heard(MOMENT + timedelta(days=1))
    assert time.at(200.0) == MOMENT + timedelta(days=1)
    assert time.at(190.0) == MOMENT + timedelta(days=1, seconds=-10)


def test_an_anchor_of_another_boot_is_worth_nothing() -> None:
    kept = Anchor(moment=MOMENT - timedelta(days=9), monotonic_s=0.0, boot_id="another")
    assert ServerTime(lambda: 5.0, lambda: MOMENT, kept).at(5.0) == MOMENT
