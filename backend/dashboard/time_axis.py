"""The one time axis that the charts of a page share, and where on it is night."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from grid.half_hours import HALF_HOUR, LONDON, as_utc, half_hour_of

# The middle of Great Britain's people, for sunrise and sunset.
LATITUDE_DEGREES = 52.8
LONGITUDE_DEGREES = -1.6
_SUNRISE_ALTITUDE_DEGREES = -0.83
_OBLIQUITY_DEGREES = 23.44


@dataclass(frozen=True)
class TimeAxis:
    """Consecutive half-hours from `start`; `now` is the moment that parts what was from what is forecast."""

    start: datetime
    half_hours: int
    now: datetime

    @classmethod
    def around(cls, now: datetime, *, before: timedelta, after: timedelta) -> TimeAxis:
        """From `before` the present half-hour to `after` its start."""
        present = half_hour_of(now)
        return cls(present - before, (before + after) // HALF_HOUR, now)

    @property
    def end(self) -> datetime:
        return self.start + self.half_hours * HALF_HOUR

    def slots(self) -> list[datetime]:
        """The starts of its half-hours."""
        return [self.start + number * HALF_HOUR for number in range(self.half_hours)]

    def number_of(self, moment: datetime) -> int:
        """Which of its half-hours contains `moment`; below 0 or beyond the last where none does."""
        return int((half_hour_of(moment) - self.start) / HALF_HOUR)

    def fraction(self, moment: datetime) -> float:
        """Where `moment` lies, 0 at the start and 1 at the end."""
        return (as_utc(moment) - self.start) / (self.half_hours * HALF_HOUR)

    def british_midnights(self) -> Iterator[datetime]:
        """Every midnight of the British clock within it: 23, 24 or 25 hours apart."""
        for slot in self.slots():
            local = slot.astimezone(LONDON)
            if (local.hour, local.minute) == (0, 0):
                yield slot

    def every(self, hours: int) -> Iterator[datetime]:
        """The UTC hours within it that `hours` divides, but for its start."""
        for slot in self.slots()[1:]:
            if slot.minute == 0 and slot.hour % hours == 0:
                yield slot

    def nights(self) -> tuple[tuple[datetime, datetime], ...]:
        """Stretches without sun, as runs of half-hours."""
        return _nights(self.start, self.half_hours)


# Every chart of a page has the same, and so have all pages of a half-hour.
@lru_cache(maxsize=32)
def _nights(start: datetime, half_hours: int) -> tuple[tuple[datetime, datetime], ...]:
    found = []
    begun: datetime | None = None
    for number in range(half_hours):
        slot = start + number * HALF_HOUR
        dark = is_night(slot + HALF_HOUR / 2)
        if dark and begun is None:
            begun = slot
        elif not dark and begun is not None:
            found.append((begun, slot))
            begun = None
    if begun is not None:
        found.append((begun, start + half_hours * HALF_HOUR))
    return tuple(found)


def is_night(moment: datetime) -> bool:
    """Whether the sun is down in the middle of Great Britain, to within some minutes.

    Declination and the hour angle by mean solar time, without the equation of time.
    """
    utc = as_utc(moment)
    day = utc.timetuple().tm_yday
    declination = -math.radians(_OBLIQUITY_DEGREES) * math.cos(2 * math.pi * (day + 10) / 365.25)
    solar_hours = utc.hour + utc.minute / 60 + LONGITUDE_DEGREES / 15
    hour_angle = math.radians(15 * (solar_hours - 12))
    latitude = math.radians(LATITUDE_DEGREES)
    sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(
        hour_angle
    )
    return sine < math.sin(math.radians(_SUNRISE_ALTITUDE_DEGREES))
