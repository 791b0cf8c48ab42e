"""Rows as the pipeline stores them, and their assembly: real figures first, then models, then invention.

Pure: what was fetched and what is known come in, rows go out. No clock, no network, no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from grid.columns import ACTUAL_CARBON_INTENSITY_COLUMN, CARBON_INTENSITY_COLUMN
from grid.half_hours import half_hour_of, half_hours, settlement_period
from grid.model import anchored_carbon, anchored_demand, anchored_price, carbon_index, grid_stress_score
from synthetic.carbon import SyntheticCarbon, synthetic_carbon
from upstreams.carbon_intensity_answers import GenerationMix, NationalIntensity, RegionalIntensity
from upstreams.demand import NationalDemand
from upstreams.elexon import MarketIndexPrice
from vocabulary import CarbonIndex, Fuel, SignalSource

HORIZON = timedelta(hours=48)
MIX_STANDS_FOR = timedelta(hours=2)  # how long the last published national mix passes for the present one
REGION_IDS = range(1, 18)
REAL_SOURCES = frozenset({SignalSource.CARBON_INTENSITY_API, SignalSource.NESO, SignalSource.ELEXON})

# Where a field is not called as its column.
_COLUMN_NAMES = {
    "carbon_intensity_gco2_per_kwh": CARBON_INTENSITY_COLUMN,
    "actual_carbon_intensity_gco2_per_kwh": ACTUAL_CARBON_INTENSITY_COLUMN,
}


@dataclass
class NationalRow:
    """One half-hour of `grid_signals`.

    A `…_fetched_at` is the age of what is real: when the figure, or the figures it is modelled on, came from their
    source. Only where nothing real stands behind a figure is it the time it was made.
    """

    timestamp: datetime
    settlement_period: int
    carbon_intensity_gco2_per_kwh: float | None = None
    actual_carbon_intensity_gco2_per_kwh: float | None = None
    carbon_index: CarbonIndex | None = None
    carbon_source: SignalSource | None = None
    carbon_fetched_at: datetime | None = None
    demand_mw: float | None = None
    grid_stress_score: float | None = None
    demand_source: SignalSource | None = None
    demand_fetched_at: datetime | None = None
    wholesale_price_gbp_mwh: float | None = None
    price_source: SignalSource | None = None
    price_fetched_at: datetime | None = None
    demand_interpolated: bool = False


@dataclass(frozen=True)
class RegionalRow:
    """One region's half-hour of `regional_grid_signals`, with its generation mix in per cent."""

    region_id: int
    timestamp: datetime
    carbon_intensity_gco2_per_kwh: float
    carbon_index: CarbonIndex | None
    carbon_source: SignalSource
    fetched_at: datetime
    mix: Mapping[Fuel, float] = field(default_factory=dict)


@dataclass(frozen=True)
class NationalMixRow:
    """The national generation mix of one half-hour in per cent."""

    timestamp: datetime
    mix_source: SignalSource
    mix: Mapping[Fuel, float]


@dataclass(frozen=True)
class GridRows:
    """Everything one run stores about the grid."""

    national: list[NationalRow]
    regional: list[RegionalRow]
    national_mix: list[NationalMixRow]

    def batch(self) -> dict[str, list[dict[str, Any]]]:
        """The rows by the names of their columns, as `store_run` and `store_signals` take them."""
        return {
            "national": [_by_column(row) for row in self.national],
            "regional": [_by_column(row) for row in self.regional],
            "national_mix": [_by_column(row) for row in self.national_mix],
        }


@dataclass(frozen=True)
class Fetched:
    """What the sources answered, each part possibly empty; `neso_demand` is both of NESO's files in one."""

    national_carbon: tuple[NationalIntensity, ...] = ()
    regional_carbon: tuple[RegionalIntensity, ...] = ()
    national_mix: tuple[GenerationMix, ...] = ()
    neso_demand: tuple[NationalDemand, ...] = ()
    elexon_demand: tuple[NationalDemand, ...] = ()
    prices: tuple[MarketIndexPrice, ...] = ()


@dataclass(frozen=True)
class Known:
    """Real figures that earlier runs stored, by half-hour (and region), and when the newest of them were fetched.

    `interpolated_demand_mw` is what they stored of the curve between NESO's cardinal points: it comes before a model,
    and no model is anchored on it.
    """

    carbon_intensity_gco2_per_kwh: Mapping[datetime, float] = field(default_factory=dict)
    demand_mw: Mapping[datetime, float] = field(default_factory=dict)
    price_gbp_per_mwh: Mapping[datetime, float] = field(default_factory=dict)
    regional_carbon_intensity_gco2_per_kwh: Mapping[int, Mapping[datetime, float]] = field(default_factory=dict)
    has_recent_mix: bool = False
    interpolated_demand_mw: Mapping[datetime, float] = field(default_factory=dict)
    carbon_fetched_at: datetime | None = None
    demand_fetched_at: datetime | None = None
    price_fetched_at: datetime | None = None
    regional_fetched_at: Mapping[int, datetime] = field(default_factory=dict)


def fetched_rows(fetched: Fetched, *, fetched_at: datetime) -> GridRows:
    """Rows of the sources' own figures, and of the curve between NESO's cardinal points.

    Of two published figures for a half-hour NESO's comes first; a published one always comes before the curve, whose
    half-hours are `modelled`: no source gave them.
    """
    rows = _NationalRows()
    for intensity in fetched.national_carbon:
        row = rows.at(intensity.start)
        row.carbon_intensity_gco2_per_kwh = intensity.carbon_intensity_gco2_per_kwh
        row.actual_carbon_intensity_gco2_per_kwh = intensity.actual_carbon_intensity_gco2_per_kwh
        row.carbon_index = intensity.index or _index_of(intensity)
        row.carbon_source = SignalSource.CARBON_INTENSITY_API
        row.carbon_fetched_at = fetched_at
    published = [demand for demand in fetched.neso_demand if not demand.is_interpolated]
    curve = [demand for demand in fetched.neso_demand if demand.is_interpolated]
    for demand, source in [
        *((demand, SignalSource.NESO) for demand in published),
        *((demand, SignalSource.ELEXON) for demand in fetched.elexon_demand),
        *((demand, SignalSource.MODELLED) for demand in curve),
    ]:
        row = rows.at(demand.start)
        if row.demand_mw is None:
            rows.set_demand(demand.start, demand.demand_mw, source, fetched_at)
            row.demand_interpolated = demand.is_interpolated
    for price in fetched.prices:
        rows.set_price(price.start, price.price_gbp_per_mwh, SignalSource.ELEXON, fetched_at)
    return GridRows(
        national=rows.in_order(),
        regional=[_regional_row(row, fetched_at) for row in fetched.regional_carbon],
        national_mix=[
            NationalMixRow(mix.start, SignalSource.CARBON_INTENSITY_API, mix.percent_by_fuel)
            for mix in fetched.national_mix
        ],
    )


def complete_rows(fetched: Fetched, known: Known, *, now: datetime, seed: int) -> GridRows:
    """The fetched rows, and a figure for every half-hour of the next 48 that neither they nor `known` have.

    A gap is filled by a model anchored on real figures (`modelled`), or where there are none nearby by an
    invented figure (`synthetic`); each says which.
    """
    slot = half_hour_of(now)
    ahead = list(half_hours(slot, slot + HORIZON))
    rows = fetched_rows(fetched, fetched_at=now)
    national = _NationalRows(rows.national)
    invented = _Invention(seed)
    _fill_national_carbon(national, known, ahead, now, invented)
    _fill_demand(national, known, ahead, now)
    _fill_price(national, known, ahead, now)
    regional = [*rows.regional, *_missing_regional(rows.regional, known, ahead, now, invented)]
    mixes = rows.national_mix
    if not any(slot - MIX_STANDS_FOR <= mix.timestamp <= slot for mix in mixes) and not known.has_recent_mix:
        mixes = [*mixes, NationalMixRow(slot, SignalSource.SYNTHETIC, invented.at(slot).national.mix)]
    return GridRows(national.in_order(), regional, mixes)


class _NationalRows:
    """Rows by half-hour, made when first asked for."""

    def __init__(self, rows: Iterable[NationalRow] = ()) -> None:
        self._rows = {row.timestamp: row for row in rows}

    def at(self, start: datetime) -> NationalRow:
        if start not in self._rows:
            self._rows[start] = NationalRow(start, settlement_period(start))
        return self._rows[start]

    def in_order(self) -> list[NationalRow]:
        return [self._rows[start] for start in sorted(self._rows)]

    def set_demand(self, start: datetime, demand_mw: float, source: SignalSource, at: datetime) -> None:
        row = self.at(start)
        row.demand_mw, row.demand_source, row.demand_fetched_at = demand_mw, source, at
        row.grid_stress_score = grid_stress_score(demand_mw)

    def set_price(self, start: datetime, gbp_per_mwh: float, source: SignalSource, at: datetime) -> None:
        row = self.at(start)
        row.wholesale_price_gbp_mwh, row.price_source, row.price_fetched_at = gbp_per_mwh, source, at


class _Invention:
    """The synthetic carbon world, made half-hour by half-hour as it is needed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made: dict[datetime, SyntheticCarbon] = {}

    def at(self, start: datetime) -> SyntheticCarbon:
        if start not in self._made:
            self._made[start] = synthetic_carbon(start, self._seed)
        return self._made[start]


def _fill_national_carbon(
    rows: _NationalRows, known: Known, ahead: list[datetime], now: datetime, invented: _Invention
) -> None:
    came = _values(rows, "carbon_intensity_gco2_per_kwh")
    real = {**known.carbon_intensity_gco2_per_kwh, **came}
    behind_models = now if came else known.carbon_fetched_at
    missing = [start for start in ahead if start not in real]
    modelled = anchored_carbon(real, missing)
    for start in missing:
        row = rows.at(start)
        if start in modelled:
            intensity: float = modelled[start].carbon_intensity_gco2_per_kwh
            row.carbon_source = modelled[start].source
            row.carbon_fetched_at = _age_of(row.carbon_source, behind_models, now)
        else:
            intensity = invented.at(start).national.carbon_intensity_gco2_per_kwh
            row.carbon_source = SignalSource.SYNTHETIC
            row.carbon_fetched_at = now
        row.carbon_intensity_gco2_per_kwh = intensity
        row.carbon_index = carbon_index(intensity, start.year)


def _fill_demand(rows: _NationalRows, known: Known, ahead: list[datetime], now: datetime) -> None:
    came = {row.timestamp: row.demand_mw for row in rows.in_order() if row.demand_mw and not row.demand_interpolated}
    real = {**known.demand_mw, **came}
    there = {*real, *known.interpolated_demand_mw, *_values(rows, "demand_mw")}
    behind_models = now if came else known.demand_fetched_at
    for start, estimate in anchored_demand(real, [start for start in ahead if start not in there]).items():
        rows.set_demand(start, estimate.demand_mw, estimate.source, _age_of(estimate.source, behind_models, now))


def _fill_price(rows: _NationalRows, known: Known, ahead: list[datetime], now: datetime) -> None:
    came = _values(rows, "wholesale_price_gbp_mwh")
    real = {**known.price_gbp_per_mwh, **came}
    behind_models = now if came else known.price_fetched_at
    demand = {**known.interpolated_demand_mw, **known.demand_mw, **_values(rows, "demand_mw")}
    for start, estimate in anchored_price(real, [start for start in ahead if start not in real], demand).items():
        fetched_at = _age_of(estimate.source, behind_models, now)
        rows.set_price(start, estimate.price_gbp_per_mwh, estimate.source, fetched_at)


def _age_of(source: SignalSource, behind_models: datetime | None, now: datetime) -> datetime:
    """When what stands behind an estimate was fetched: an invented one is as old as itself."""
    return now if source is SignalSource.SYNTHETIC or behind_models is None else behind_models


def _values(rows: _NationalRows, name: str) -> dict[datetime, float]:
    return {row.timestamp: value for row in rows.in_order() if (value := getattr(row, name)) is not None}


def _missing_regional(
    fetched: list[RegionalRow], known: Known, ahead: list[datetime], now: datetime, invented: _Invention
) -> Iterable[RegionalRow]:
    real: dict[int, dict[datetime, float]] = {
        region: dict(known.regional_carbon_intensity_gco2_per_kwh.get(region, {})) for region in REGION_IDS
    }
    came = {row.region_id for row in fetched}
    for row in fetched:
        real[row.region_id][row.timestamp] = row.carbon_intensity_gco2_per_kwh
    for region in REGION_IDS:
        missing = [start for start in ahead if start not in real[region]]
        modelled = anchored_carbon(real[region], missing)
        behind_models = now if region in came else known.regional_fetched_at.get(region)
        for start in missing:
            if start in modelled:
                intensity: float = modelled[start].carbon_intensity_gco2_per_kwh
                source, mix = modelled[start].source, {}
            else:
                figures = invented.at(start).regions[region]
                intensity, source, mix = (
                    figures.carbon_intensity_gco2_per_kwh,
                    SignalSource.SYNTHETIC,
                    dict(figures.mix),
                )
            index, fetched_at = carbon_index(intensity, start.year), _age_of(source, behind_models, now)
            yield RegionalRow(region, start, intensity, index, source, fetched_at, mix)


def _by_column(row: NationalRow | RegionalRow | NationalMixRow) -> dict[str, Any]:
    return {_COLUMN_NAMES.get(name, name): value for name, value in vars(row).items()}


def _index_of(intensity: NationalIntensity) -> CarbonIndex | None:
    """The word for an intensity that came without one."""
    figure = intensity.actual_carbon_intensity_gco2_per_kwh
    if figure is None:
        figure = intensity.carbon_intensity_gco2_per_kwh
    return None if figure is None else carbon_index(figure, intensity.start.year)


def _regional_row(row: RegionalIntensity, fetched_at: datetime) -> RegionalRow:
    return RegionalRow(
        region_id=row.region_id,
        timestamp=row.start,
        carbon_intensity_gco2_per_kwh=row.carbon_intensity_gco2_per_kwh,
        carbon_index=row.index or carbon_index(row.carbon_intensity_gco2_per_kwh, row.start.year),
        carbon_source=SignalSource.CARBON_INTENSITY_API,
        fetched_at=fetched_at,
        mix=row.percent_by_fuel,
    )
