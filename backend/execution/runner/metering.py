"""The energy of runs by the half-hour: what the machine has counted, shared among them, or power x time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from execution.runner.protocol import EnergySource, HalfHourEnergy
from execution.runner.server_time import ServerTime
from grid.half_hours import HALF_HOUR, half_hour_of

LONGEST_COUNTED_S = 60.0
"""The longest interval that the counters are believed for: in a longer one they may go round more than once."""
_J_PER_KWH = 3.6e6


class Meter(BaseModel):
    """What one run has taken so far. It is kept in the journal.

    Attributes:
        until_s: up to when, by the monotonic clock.
        kwh: by the start of the half-hour.
        estimated: the half-hours of which a part is power x time.
    """

    model_config = ConfigDict(validate_assignment=True)

    until_s: float
    kwh: dict[AwareDatetime, float] = Field(default_factory=dict)
    estimated: set[AwareDatetime] = Field(default_factory=set)

    def add(self, to_s: float, joules: float, source: EnergySource, time: ServerTime) -> None:
        """Add what was taken from `until_s` to `to_s`, spread evenly over that time; no earlier `to_s` counts."""
        span_s = to_s - self.until_s
        if span_s <= 0:
            return
        # Told once: the anchor may move between two questions.
        start, self.until_s = time.at(to_s) - timedelta(seconds=span_s), to_s
        for half_hour, part in _parts(start, span_s):
            self.kwh[half_hour] = self.kwh.get(half_hour, 0.0) + part * joules / _J_PER_KWH
            if source is EnergySource.POWER_X_TIME:
                self.estimated.add(half_hour)

    def readings(self) -> list[HalfHourEnergy]:
        """Every half-hour so far, in order. Where a part is power x time, the whole says so."""
        return [
            HalfHourEnergy(
                half_hour=half_hour,
                energy_kwh=kwh,
                source=EnergySource.POWER_X_TIME if half_hour in self.estimated else EnergySource.RAPL,
            )
            for half_hour, kwh in sorted(self.kwh.items())
        ]


def shares(power_kw: Mapping[int, float]) -> dict[int, float]:
    """What part of the machine's energy each run is given, by its template's power."""
    total_kw = sum(power_kw.values())
    return {run_id: kw / total_kw for run_id, kw in power_kw.items()}


def power_x_time(power_kw: float, seconds: float) -> float:
    """Joules."""
    return power_kw * 1000.0 * max(0.0, seconds)


def _parts(start: datetime, span_s: float) -> list[tuple[datetime, float]]:
    """The half-hours that an interval touches, each with its part of it; the parts sum to 1."""
    parts, done = [], 0.0
    half_hour = half_hour_of(start)
    until_s = (half_hour + HALF_HOUR - start).total_seconds()
    while until_s < span_s:
        parts.append((half_hour, until_s / span_s - done))
        done = until_s / span_s
        half_hour += HALF_HOUR
        until_s += HALF_HOUR.total_seconds()
    return [*parts, (half_hour, 1.0 - done)]
