"""What a run used in each half-hour, in whole thousandths of a watt-hour that sum to the whole. Pure.

A run's IT energy is rounded once, as a whole, and shared out among its half-hours by largest remainder, and so is the
site's overhead (PUE - 1) on top of it. So nothing is lost or gained by rounding however finely a run is cut, and no
half-hour's site energy is below its IT energy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from database.interface import Row
from execution.usage import shares
from grid.half_hours import rfc3339
from vocabulary import StrEnum

WH_PER_KWH = 1000
STEPS_PER_WH = 1000
"""Energy is kept to the thousandth of a watt-hour: an order of a second on one GPU uses a third of one."""

MICROSECOND = timedelta(microseconds=1)
_US_PER_HOUR = timedelta(hours=1) // MICROSECOND


class ReadingSource(StrEnum):
    """How a run's energy is known."""

    SIMULATED = "simulated"
    """Nothing ran: the power that was booked x the time."""
    RAPL = "rapl"
    """The energy counters of the machine's processors."""
    POWER_X_TIME = "power_x_time"
    """The power that its template states x the time that it really ran."""
    REPORTED = "reported"
    """What another program says that it used."""


@dataclass(frozen=True)
class ItEnergy:
    """The IT energy of a run in one half-hour."""

    half_hour: datetime
    """Its start, UTC."""
    energy_kwh: float | Fraction
    source: ReadingSource


@dataclass(frozen=True)
class Reading:
    """The energy of a run in one half-hour, as it is stored."""

    half_hour: datetime
    """Its start, UTC."""
    it_energy_wh: Fraction
    """A whole number of thousandths."""
    site_energy_wh: Fraction
    source: ReadingSource

    def row(self) -> Row:
        """As the database's `record_readings` takes it."""
        return {
            "half_hour": rfc3339(self.half_hour),
            "it_energy_wh": float(self.it_energy_wh),
            "site_energy_wh": float(self.site_energy_wh),
            "source": str(self.source),
        }


def simulated(start: datetime, end: datetime, it_power_kw: float, pue: float) -> list[Reading]:
    """The readings of a run that drew its power throughout [start, end)."""
    power_kw = Fraction(it_power_kw)
    return metered(
        [
            ItEnergy(slot, power_kw * Fraction(time // MICROSECOND, _US_PER_HOUR), ReadingSource.SIMULATED)
            for slot, time in shares(start, end)
        ],
        pue,
    )


def metered(energy: Iterable[ItEnergy], pue: float) -> list[Reading]:
    """The readings of a run whose IT energy is known by the half-hour, in their order.

    Args:
        energy: at most one of each half-hour, none of them below 0.
        pue: of the data centre it ran in, at least 1.
    """
    used = sorted(energy, key=lambda each: each.half_hour)
    it_parts = [Fraction(each.energy_kwh) * WH_PER_KWH * STEPS_PER_WH for each in used]
    overheads = [part * (Fraction(pue) - 1) for part in it_parts]
    it_steps = rounded(sum(it_parts, Fraction(0)))
    site_steps = rounded(sum(it_parts, Fraction(0)) * Fraction(pue))
    return [
        Reading(each.half_hour, Fraction(it, STEPS_PER_WH), Fraction(it + overhead, STEPS_PER_WH), each.source)
        for each, it, overhead in zip(
            used, apportion(it_steps, it_parts), apportion(site_steps - it_steps, overheads), strict=True
        )
    ]


def rounded(figure: Fraction) -> int:
    """To the nearest whole number, a half up: then two rounded sums differ by what can be apportioned."""
    return math.floor(figure + Fraction(1, 2))


def apportion(total: int, parts: Sequence[Fraction]) -> list[int]:
    """The parts in whole numbers that sum to `total`, which is their sum to within less than 1.

    Each is rounded down, but for as many as are needed, of the largest remainders; the earliest first of equal ones.
    """
    given = [math.floor(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda place: (given[place] - parts[place], place))
    for place in by_remainder[: total - sum(given)]:
        given[place] += 1
    return given
