"""The grid in the half-hours of a run that has ended, read from the database."""

from __future__ import annotations

from datetime import datetime

from database.interface import Database, OrderBy, Row, Where
from execution.usage import UsedHalfHour
from grid.columns import ACTUAL_CARBON_INTENSITY_COLUMN, CARBON_INTENSITY_COLUMN
from grid.half_hours import from_rfc3339, half_hour_of
from vocabulary import SignalSource


def used_half_hours(database: Database, region_id: int, start: datetime, end: datetime) -> list[UsedHalfHour]:
    """What is known of every half-hour that [start, end) touches, in their order.

    Raises:
        DatabaseError: the database does not answer.
    """
    within = [Where("timestamp", half_hour_of(start), "gte"), Where("timestamp", end, "lt")]
    order = OrderBy(("timestamp",))
    regional = database.select("regional_grid_signals", where=[Where("region_id", region_id), *within], order=order)
    national = database.select("grid_signals", where=within, order=order)
    prices = {row["timestamp"]: row for row in national}
    intensities = {row["timestamp"]: row for row in regional}
    return [
        UsedHalfHour(
            from_rfc3339(moment),
            carbon_intensity_gco2_per_kwh=_intensity(intensities.get(moment, {}), prices.get(moment, {})),
            price_gbp_per_mwh=prices.get(moment, {}).get("wholesale_price_gbp_mwh"),
            carbon_source=intensities.get(moment, {}).get("carbon_source"),
            price_source=prices.get(moment, {}).get("price_source"),
        )
        for moment in sorted(prices.keys() | intensities.keys())
    ]


def _intensity(regional: Row, national: Row) -> float | None:
    """The region's last forecast, corrected by the nation's actual once that is known: no region has one."""
    forecast: float | None = regional.get(CARBON_INTENSITY_COLUMN)
    said, actual = national.get(CARBON_INTENSITY_COLUMN), national.get(ACTUAL_CARBON_INTENSITY_COLUMN)
    of_the_api = {regional.get("carbon_source"), national.get("carbon_source")} == {SignalSource.CARBON_INTENSITY_API}
    if forecast is None or not (said and actual and of_the_api):
        return forecast
    return forecast * float(actual) / float(said)
