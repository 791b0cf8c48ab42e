"""The pages of data centres: all of them, and one with its power, its grid and its good windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from flask import Blueprint, Response
from markupsafe import Markup

from api.capacity import CapacityTimeline, read_capacity
from api.grid_series import RegionalForecasts, read_history, read_regional_forecasts
from api.workloads import WorkloadsQuery, read_workloads
from dashboard.charts import Chart, Layer, Line, stacked_area
from dashboard.gb_map import Reading
from dashboard.grid_charts import KeyEntry, Panel, carbon_panel, price_panel
from dashboard.now import AHEAD, present_readings, region_names
from dashboard.page import JsonLink, Pages
from dashboard.time_axis import TimeAxis
from dashboard.words import figure, number
from database.interface import Database, OrderBy
from grid.half_hours import HALF_HOUR, rfc3339
from ontology.objects import ObjectNotFound, read_one, read_rows
from ontology.types import DataCentre
from web.problems import Problem

MOST_LISTED = 500
WINDOW_HOURS = (1, 4)
WINDOW_WITHIN = timedelta(hours=24)
WORKLOADS_SHOWN = 20
_KW_PER_MW = 1000


@dataclass(frozen=True)
class Window:
    """The stretch of so many hours, from the present half-hour on, in which a region's mean intensity is least."""

    hours: int
    start: datetime
    mean_gco2_per_kwh: float
    now_gco2_per_kwh: float | None


@dataclass(frozen=True)
class CentreRow:
    """A line of the list."""

    centre: DataCentre
    reading: Reading
    free_mw: float
    windows: tuple[Window, ...]


def data_centre_pages(dashboard: Blueprint, pages: Pages, database: Database, clock: Callable[[], datetime]) -> None:
    """`/dashboard/data-centres` and `/dashboard/data-centres/<dc_id>`"""

    @dashboard.get("/data-centres")
    def data_centres() -> Response:
        now = clock()
        stored = database.select(DataCentre.table, order=OrderBy(("dc_id",)), limit=MOST_LISTED)
        centres = [row for row in read_rows(DataCentre, stored) if isinstance(row, DataCentre)]
        forecasts = read_regional_forecasts(database, now)
        readings = present_readings(forecasts, region_names(database))
        rows = [
            CentreRow(
                centre,
                readings[centre.region_id],
                centre.total_capacity_mw * (1 - centre.current_load_percentage / 100),
                good_windows(forecasts, centre.region_id),
            )
            for centre in centres
        ]
        return pages.page(
            "data_centres.html",
            "data_centres",
            "Data centres",
            json=JsonLink("/api/v1/objects/DataCentre"),
            rows=rows,
        )

    @dashboard.get("/data-centres/<dc_id>")
    def data_centre(dc_id: str) -> Response:
        now = clock()
        centre = _centre(database, dc_id)
        power = read_capacity(database, dc_id, now)
        axis = TimeAxis.around(now, before=timedelta(0), after=AHEAD)
        regional = read_history(database, axis.start, axis.end, centre.region_id, now=now)
        national = read_history(database, axis.start, axis.end, None, now=now)
        panels = [carbon_panel(regional, axis), price_panel(national, axis)]
        return pages.page(
            "data_centre.html",
            "data_centres",
            centre.name,
            json=JsonLink(f"/api/v1/data-centres/{quote(dc_id, safe='')}/capacity"),
            centre=centre,
            region=region_names(database).get(centre.region_id, str(centre.region_id)),
            windows=good_windows(read_regional_forecasts(database, now), centre.region_id),
            panels=[*([] if power is None else [power_panel(power, axis)]), *panels],
            power=power,
            axis=axis,
            jobs=read_workloads(database, WorkloadsQuery(host_dc_id=dc_id, limit=WORKLOADS_SHOWN)).workloads,
            grid_json=(
                f"/api/v1/grid/history?from={rfc3339(axis.start)}&to={rfc3339(axis.end)}&region_id={centre.region_id}"
            ),
        )


def good_windows(forecasts: RegionalForecasts, region_id: int) -> tuple[Window, ...]:
    """The cleanest hour and the cleanest four hours within a day; those that the forecast knows."""
    values = forecasts.carbon_intensity_gco2[forecasts.region_ids.index(region_id)]
    found = []
    for hours in WINDOW_HOURS:
        best = cleanest(values[: WINDOW_WITHIN // HALF_HOUR], hours * 2)
        if best is not None:
            start, mean = best
            found.append(Window(hours, forecasts.start + start * HALF_HOUR, mean, values[0]))
    return tuple(found)


def cleanest(values: Sequence[float | None], length: int) -> tuple[int, float] | None:
    """Where `length` known values in a row have the least mean, the first such place, and that mean."""
    best: tuple[float, int] | None = None
    for start in range(len(values) - length + 1):
        known = [value for value in values[start : start + length] if value is not None]
        if len(known) == length:
            mean = sum(known) / length
            if best is None or (mean, start) < best:
                best = (mean, start)
    return None if best is None else (best[1], best[0])


def power_panel(power: CapacityTimeline, axis: TimeAxis) -> Panel:
    """IT power by the half-hour: what others draw, what runs, what is booked, what is free."""
    running = power.running_kw
    booked = [kw - (0.0 if running is None else running[place]) for place, kw in enumerate(power.booked_kw)]
    parts = [(power.base_kw, "power-base", "base load")]
    if running is not None:
        parts.append((running, "power-running", "running"))
    parts += [(booked, "power-booked", "booked"), (power.free_kw, "power-free", "free")]
    # Booked by the half-hour: between two of them it does not rise or fall, it changes.
    layers = [Layer(_mw(values), css_class, label, is_stepped=True) for values, css_class, label in parts]
    total = Line([power.total_kw / _KW_PER_MW] * power.half_hours, "line-total", "capacity", is_stepped=True)
    least = min(power.free_kw) / _KW_PER_MW
    sentence = (
        f"IT power of {power.name}: {number(power.free_kw[0] / _KW_PER_MW, 2)} MW free now, "
        f"{figure(least, 'MW', 2)} at its least in 48 hours, of {number(power.total_kw / _KW_PER_MW, 1)} MW"
    )
    drawn: Markup = stacked_area(Chart(axis, "MW", sentence, 160), layers, line=total)
    key = (
        KeyEntry("capacity", "line-total solid"),
        *(KeyEntry(layer.label, layer.css_class, is_layer=True) for layer in reversed(layers)),
    )
    return Panel("power", "IT power", "MW", drawn, key, "bookings here, and the present base load for all half-hours")


def _mw(values_kw: Sequence[float]) -> list[float | None]:
    return [value / _KW_PER_MW for value in values_kw]


def _centre(database: Database, dc_id: str) -> DataCentre:
    try:
        found = read_one(database, DataCentre, dc_id)
    except ObjectNotFound as error:
        raise Problem(404, f"there is no data centre {dc_id!r}", some_ids=error.some_ids) from None
    assert isinstance(found, DataCentre)  # noqa: S101 - for the type checker
    return found
