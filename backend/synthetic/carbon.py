"""Invented generation mixes and carbon intensities for a world without a network: national and all 17
regions.

Each region's mix lies between two mixes of its own, one for calm and one for windy weather, with solar on
top; a slow, seeded wind and cloud cover move all regions together, with a little weather of each region's
own. The intensity is derived from the mix, so the two always agree. `docs/modelled_data.md` says more. All
of it is `SignalSource.SYNTHETIC`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import cos, floor, pi, radians, sin

from grid.half_hours import as_utc
from grid.model import grid_stress_score, intensity_from_mix, modelled_demand_mw
from synthetic.noise import smooth_noise
from vocabulary import Fuel

# The countries of the Carbon Intensity API and the licence areas they are made of. Region 6 straddles the
# border and is counted as Wales, as in the regions table.
AGGREGATE_MEMBERS: dict[int, tuple[int, ...]] = {
    15: (3, 4, 5, 8, 9, 10, 11, 12, 13, 14),
    16: (1, 2),
    17: (6, 7),
}

_GB_LATITUDE, _GB_LONGITUDE = radians(53.0), -1.5
_EARTH_TILT = radians(23.44)
# Sine of the sun's highest elevation of the year there, so that `_sunshine` is 1 at noon on a clear
# midsummer day.
_HIGHEST_SUN = cos(_GB_LATITUDE - _EARTH_TILT)


@dataclass(frozen=True)
class SyntheticFigures:
    """One place in one half-hour: the nine fuels in per cent, one decimal, 100.0 in sum, and their
    intensity.
    """

    mix: Mapping[Fuel, float]
    carbon_intensity_gco2_per_kwh: int


@dataclass(frozen=True)
class SyntheticCarbon:
    """One half-hour of the invented grid. `regions` has the keys 1 to 17; 15 to 17 are countries."""

    half_hour_start: datetime
    national: SyntheticFigures
    regions: Mapping[int, SyntheticFigures]


@dataclass(frozen=True)
class _RegionCharacter:
    """Shares in per cent of the order gas, wind, nuclear, biomass, hydro, imports, other; each tuple sums
    to 100.
    """

    supply_twh: float
    calm: tuple[float, ...]
    windy: tuple[float, ...]
    solar_at_best: float


_CHARACTER_FUELS = (Fuel.GAS, Fuel.WIND, Fuel.NUCLEAR, Fuel.BIOMASS, Fuel.HYDRO, Fuel.IMPORTS, Fuel.OTHER)

# Drawn after the regions' figures in the Carbon Intensity API in 2026: Scotland lives on wind, hydro and
# nuclear, South Wales and the South West on gas, the South East and London largely on interconnectors. No
# coal: Britain's last coal-fired station closed on 30 September 2024. Yearly supply in TWh, rounded, only
# weighs the aggregates.
_REGIONS: dict[int, _RegionCharacter] = {
    1: _RegionCharacter(7.5, (8, 68, 0, 0, 22, 2, 0), (0, 96, 0, 0, 4, 0, 0), 3),
    2: _RegionCharacter(18, (16, 32, 42, 4, 3, 3, 0), (0, 70, 28, 0, 2, 0, 0), 6),
    3: _RegionCharacter(21, (32, 8, 48, 7, 0, 5, 0), (8, 36, 48, 5, 0, 3, 0), 10),
    4: _RegionCharacter(14, (16, 4, 46, 22, 0, 12, 0), (2, 24, 44, 16, 0, 14, 0), 10),
    5: _RegionCharacter(21, (54, 5, 2, 38, 0, 1, 0), (16, 46, 2, 34, 0, 2, 0), 14),
    6: _RegionCharacter(14.5, (66, 8, 14, 4, 4, 4, 0), (16, 56, 16, 3, 5, 4, 0), 14),
    7: _RegionCharacter(10.5, (96, 2, 0, 0, 1, 0, 1), (80, 18, 0, 0, 1, 0, 1), 22),
    8: _RegionCharacter(22.5, (70, 5, 14, 7, 0, 3, 1), (34, 40, 16, 6, 0, 3, 1), 24),
    9: _RegionCharacter(24, (76, 6, 3, 12, 0, 2, 1), (30, 44, 3, 20, 0, 2, 1), 30),
    10: _RegionCharacter(31, (46, 10, 30, 5, 0, 8, 1), (10, 58, 22, 4, 0, 5, 1), 34),
    11: _RegionCharacter(14, (88, 4, 0, 2, 1, 4, 1), (66, 26, 0, 2, 1, 4, 1), 40),
    12: _RegionCharacter(28, (70, 4, 3, 4, 0, 18, 1), (46, 24, 3, 4, 0, 22, 1), 34),
    13: _RegionCharacter(24, (56, 6, 8, 4, 1, 24, 1), (34, 26, 7, 4, 1, 27, 1), 16),
    14: _RegionCharacter(18, (50, 6, 0, 0, 1, 42, 1), (34, 24, 0, 0, 1, 40, 1), 32),
}


def synthetic_carbon(half_hour_start: datetime, seed: int) -> SyntheticCarbon:
    """The invented grid in one half-hour: the same seed and half-hour give the same figures."""
    start = as_utc(half_hour_start)
    sun, gas_factor = _sunshine(start, seed), _gas_factor(start)
    shares = {
        region_id: _shares(character, _wind(start, seed, region_id), sun, gas_factor)
        for region_id, character in _REGIONS.items()
    }
    for aggregate_id, members in AGGREGATE_MEMBERS.items():
        shares[aggregate_id] = _weighted(shares, members)
    return SyntheticCarbon(
        half_hour_start=start,
        national=_figures(_weighted(shares, _REGIONS)),
        regions={region_id: _figures(region_shares) for region_id, region_shares in shares.items()},
    )


def _sunshine(moment: datetime, seed: int) -> float:
    """Solar output over its best of the year, 0 to 1: the sun's height over mid-Britain, less cloud.

    The height is the usual approximation by declination and hour angle; cloud lets 35 to 100 % through.
    """
    utc = as_utc(moment)
    declination = -_EARTH_TILT * cos(2 * pi * (utc.timetuple().tm_yday + 10) / 365.25)
    hour_angle = radians(15 * (utc.hour + utc.minute / 60 - 12) + _GB_LONGITUDE)
    height = sin(_GB_LATITUDE) * sin(declination) + cos(_GB_LATITUDE) * cos(declination) * cos(hour_angle)
    let_through = 0.675 + 0.325 * smooth_noise(utc, timedelta(hours=9), seed, "cloud")
    return min(max(height, 0.0) / _HIGHEST_SUN, 1.0) * let_through


def _wind(moment: datetime, seed: int, region_id: int) -> float:
    """How far a region is from its calm to its windy mix, 0 to 1: mostly the wind over all Britain."""
    national = 0.7 * smooth_noise(moment, timedelta(hours=30), seed, "wind") + 0.3 * smooth_noise(
        moment, timedelta(hours=9), seed, "gusts"
    )
    regional = smooth_noise(moment, timedelta(hours=12), seed, "wind", region_id)
    # Stretched so that the calm and the windy mix are both really reached, now and then for hours.
    return min(max(0.5 + 0.8 * (0.75 * national + 0.25 * regional), 0.0), 1.0)


def _gas_factor(moment: datetime) -> float:
    """Gas follows demand: 0.75 of its usual share at the lowest demand, 1.25 at the highest."""
    return 0.75 + 0.5 * grid_stress_score(modelled_demand_mw(moment))


def _shares(character: _RegionCharacter, wind: float, sun: float, gas_factor: float) -> dict[Fuel, float]:
    weather = (calm + (windy - calm) * wind for calm, windy in zip(character.calm, character.windy, strict=True))
    shares = dict(zip(_CHARACTER_FUELS, weather, strict=True))
    shares[Fuel.GAS] *= gas_factor
    solar = character.solar_at_best * sun
    not_solar = (100 - solar) / sum(shares.values())
    return {**{fuel: share * not_solar for fuel, share in shares.items()}, Fuel.SOLAR: solar, Fuel.COAL: 0.0}


def _weighted(shares: Mapping[int, Mapping[Fuel, float]], members: Iterable[int]) -> dict[Fuel, float]:
    """The members' mix together, each weighing as much as it supplies in a year."""
    weights = {region_id: _REGIONS[region_id].supply_twh for region_id in members}
    total = sum(weights.values())
    return {
        fuel: sum(weight * shares[region_id][fuel] for region_id, weight in weights.items()) / total for fuel in Fuel
    }


def _figures(shares: Mapping[Fuel, float]) -> SyntheticFigures:
    mix = to_tenths(shares)
    return SyntheticFigures(mix, round(intensity_from_mix(mix)))


def to_tenths(shares: Mapping[Fuel, float]) -> dict[Fuel, float]:
    """All nine fuels in tenths of a per cent that sum to exactly 100.0 (largest-remainder rounding).

    `shares` holds non-negative weights in any unit with a sum above 0; absent fuels are 0.
    """
    total = sum(shares.values())
    exact = {fuel: 1000 * shares.get(fuel, 0.0) / total for fuel in Fuel}
    tenths = {fuel: floor(value) for fuel, value in exact.items()}
    by_remainder = sorted(Fuel, key=lambda fuel: tenths[fuel] - exact[fuel])
    for fuel in by_remainder[: 1000 - sum(tenths.values())]:
        tenths[fuel] += 1
    return {fuel: tenth / 10 for fuel, tenth in tenths.items()}
