"""Stored half-hours of the past, as a replay reads them.

The database keeps, for each half-hour that is over: of the nation the last forecast, the actual intensity, the price
and the grid's stress; of each region the last forecast only. Earlier revisions of a forecast are overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from database.interface import Database
from decisions.scoring.context import HalfHourStart, SourceCounts, StressScore
from decisions.scoring.runs import Floats
from decisions.scoring.signals import GridSignals
from grid.columns import ACTUAL_CARBON_INTENSITY_COLUMN, CARBON_INTENSITY_COLUMN
from grid.half_hours import HALF_HOUR, half_hour_of
from workloads.model import Amount


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class NationalHistory(_Stored):
    carbon_intensity_gco2_per_kwh: tuple[Amount | None, ...] = Field(alias=CARBON_INTENSITY_COLUMN)
    actual_carbon_intensity_gco2_per_kwh: tuple[Amount | None, ...] = Field(alias=ACTUAL_CARBON_INTENSITY_COLUMN)
    grid_stress_score: tuple[StressScore | None, ...]
    wholesale_price_gbp_mwh: tuple[float | None, ...]
    carbon_sources: SourceCounts
    demand_sources: SourceCounts
    price_sources: SourceCounts


class RegionalHistory(_Stored):
    region_id: int
    carbon_intensity_gco2_per_kwh: tuple[Amount | None, ...] = Field(alias=CARBON_INTENSITY_COLUMN)


class SignalHistory(_Stored):
    """What the database function `signal_history` answers: series by half-hour from `start` on."""

    start: HalfHourStart
    national: NationalHistory
    regional: tuple[RegionalHistory, ...]


@dataclass(frozen=True, eq=False)
class History:
    """Half-hours from `origin` on; NaN is unknown. The last regional row is unknown, as in `GridSignals`."""

    origin: datetime
    price_gbp_per_mwh: Floats
    grid_stress_score: Floats
    national_carbon_intensity_gco2_per_kwh: Floats
    national_actual_carbon_intensity_gco2_per_kwh: Floats
    carbon_intensity_gco2_per_kwh: Floats
    """Shape (regions + 1, half-hours)."""
    rows: dict[int, int]
    """Row of each region_id."""

    @property
    def half_hours(self) -> int:
        return len(self.price_gbp_per_mwh)

    def position(self, moment: datetime) -> int:
        """Which half-hour a moment is in."""
        return (half_hour_of(moment) - self.origin) // HALF_HOUR

    def signals(self, first: int, carbon: Floats, price: Floats) -> GridSignals:
        """Half-hours from `first` on, with an intensity and a price of one's own and the stored grid stress."""
        return GridSignals(
            origin=self.origin + first * HALF_HOUR,
            price_gbp_per_mwh=price,
            grid_stress_score=cut(self.grid_stress_score, first, len(price)),
            carbon_intensity_gco2_per_kwh=carbon,
            rows=self.rows,
        )


def history_of(stored: SignalHistory) -> History:
    """The series as arrays."""
    national = stored.national
    regions = sorted(stored.regional, key=lambda region: region.region_id)
    unknown: tuple[float | None, ...] = (None,) * len(national.wholesale_price_gbp_mwh)
    series = [*(region.carbon_intensity_gco2_per_kwh for region in regions), unknown]
    return History(
        origin=stored.start,
        price_gbp_per_mwh=np.array(national.wholesale_price_gbp_mwh, dtype=np.float64),
        grid_stress_score=np.array(national.grid_stress_score, dtype=np.float64),
        national_carbon_intensity_gco2_per_kwh=np.array(national.carbon_intensity_gco2_per_kwh, dtype=np.float64),
        national_actual_carbon_intensity_gco2_per_kwh=np.array(
            national.actual_carbon_intensity_gco2_per_kwh, dtype=np.float64
        ),
        carbon_intensity_gco2_per_kwh=np.array(series, dtype=np.float64),
        rows={region.region_id: row for row, region in enumerate(regions)},
    )


def read_history(database: Database, start: datetime, end: datetime) -> SignalHistory:
    """The half-hours that begin in [start, end), of the nation and of every region with a data centre.

    Raises:
        DatabaseError: see `Database.call`.
    """
    arguments = {"p_from": half_hour_of(start), "p_to": end}
    return SignalHistory.model_validate(database.call("signal_history", arguments, repeatable=True))


def cut(series: Floats, first: int, half_hours: int) -> Floats:
    """A piece of a series along its last axis, unknown where it reaches beyond either end."""
    piece = np.full((*series.shape[:-1], half_hours), np.nan)
    begin, end = max(0, first), min(series.shape[-1], first + half_hours)
    if begin < end:
        piece[..., begin - first : end - first] = series[..., begin:end]
    return piece
