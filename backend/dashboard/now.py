"""The page that says how the grid stands, and the page of one region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, Response, request

from api.grid_series import RegionalForecasts, read_history, read_regional_forecasts
from dashboard.gb_map import AREAS, Reading, draw_map, index_class
from dashboard.grid_charts import grid_panels, spread
from dashboard.newest_work import EXAMPLE, read_newest_work
from dashboard.page import JsonLink, Pages
from dashboard.time_axis import TimeAxis
from dashboard.workloads import centre_names
from database.interface import Database, OrderBy, Where
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from ontology.objects import read_rows
from ontology.types import DataCentre, GridSignal, Region
from tenancy.guard import caller_of
from vocabulary import CarbonIndex, SignalSource
from web.problems import Problem

BEFORE, AHEAD = timedelta(hours=24), timedelta(hours=48)
INDEX_ORDER = tuple(CarbonIndex)
_REGION_NAMES = {area.region_id: area.name for area in AREAS}


@dataclass(frozen=True)
class RankedRegion:
    """A line of the list beside the map."""

    region_id: int
    reading: Reading

    @property
    def index_class(self) -> str:
        return index_class(self.reading.index)


@dataclass(frozen=True)
class MapSeries:
    """What the slider steps through: figures and words of the fourteen areas, half-hour by half-hour.

    `words` has one digit a half-hour, a place in `INDEX_ORDER`, or `-` where the word is unknown.
    """

    start: str
    region_ids: list[int]
    names: list[str]
    figures: list[list[int | None]]
    words: list[str]
    nights: list[tuple[int, int]]

    def document(self) -> dict[str, object]:
        return {
            "start": self.start,
            "ids": self.region_ids,
            "names": self.names,
            "figures": self.figures,
            "words": self.words,
            "nights": self.nights,
        }


def now_pages(
    dashboard: Blueprint,
    pages: Pages,
    database: Database,
    clock: Callable[[], datetime],
    carbon_price_gbp_per_t: float,
) -> None:
    """`/dashboard/` and `/dashboard/regions/<region_id>`"""

    @dashboard.get("/")
    def now() -> Response:
        moment = clock()
        axis = TimeAxis.around(moment, before=BEFORE, after=AHEAD)
        forecasts = read_regional_forecasts(database, moment)
        names = region_names(database)
        readings = present_readings(forecasts, names)
        history = read_history(database, axis.start, axis.end, None, now=moment)
        link = f"/api/v1/grid/history?from={rfc3339(axis.start)}&to={rfc3339(axis.end)}"
        return pages.page(
            "now.html",
            "now",
            "Now",
            json=JsonLink("/api/v1/grid/forecast/regions", "The map as JSON"),
            charts_json=link,
            map=draw_map(readings, "/dashboard/regions/{}"),
            ranked=ranked(readings),
            series=map_series(forecasts, names, moment).document(),
            signal=_present_signal(database, moment),
            history=history,
            axis=axis,
            panels=grid_panels(history, axis),
            work=read_newest_work(database, caller_of(request.environ), moment, carbon_price_gbp_per_t),
            centres=centre_names(database),
            example=EXAMPLE,
            indices=INDEX_ORDER,
            index_class=index_class,
            present_slot=axis.number_of(moment),
            slots_before=BEFORE // HALF_HOUR,
        )

    @dashboard.get("/regions/<int:region_id>")
    def region(region_id: int) -> Response:
        moment = clock()
        names = region_names(database)
        if region_id not in names:
            raise Problem(404, f"there is no region {region_id}: they are 1 to 17")
        axis = TimeAxis.around(moment, before=BEFORE, after=AHEAD)
        history = read_history(database, axis.start, axis.end, region_id, now=moment)
        centres = database.select(
            DataCentre.table, where=[Where("region_id", region_id)], order=OrderBy(("dc_id",)), limit=200
        )
        return pages.page(
            "region.html",
            "now",
            names[region_id],
            json=JsonLink(
                f"/api/v1/grid/history?from={rfc3339(axis.start)}&to={rfc3339(axis.end)}&region_id={region_id}"
            ),
            region_id=region_id,
            name=names[region_id],
            history=history,
            axis=axis,
            present_slot=axis.number_of(moment),
            panels=grid_panels(history, axis),
            centres=read_rows(DataCentre, centres),
            index=spread(history.carbon_index_changes, history.half_hours)[axis.number_of(moment)],
            source=spread(history.carbon_source_changes, history.half_hours)[axis.number_of(moment)],
            index_class=index_class,
        )


def region_names(database: Database) -> dict[int, str]:
    """The full names of the regions."""
    rows = database.select(Region.table, order=OrderBy(("region_id",)), columns=["region_id", "short_name"])
    return {row["region_id"]: row["short_name"] for row in rows}


def present_readings(forecasts: RegionalForecasts, names: dict[int, str]) -> dict[int, Reading]:
    """What each region shows in the present half-hour."""
    found = {}
    for place, region_id in enumerate(forecasts.region_ids):
        word = spread(forecasts.carbon_index_changes[place], forecasts.half_hours)[0]
        source = spread(forecasts.carbon_source_changes[place], forecasts.half_hours)[0]
        found[region_id] = Reading(
            names.get(region_id, str(region_id)),
            forecasts.carbon_intensity_gco2[place][0],
            None if word is None else forecasts.carbon_indices[word],
            source is not None and forecasts.carbon_sources[source] is SignalSource.SYNTHETIC,
        )
    return found


def ranked(readings: dict[int, Reading]) -> list[RankedRegion]:
    """The fourteen areas, the least carbon first; those without a figure last."""
    found = [RankedRegion(area.region_id, readings[area.region_id]) for area in AREAS if area.region_id in readings]
    return sorted(found, key=lambda region: (_or_last(region.reading.intensity_gco2_per_kwh), region.region_id))


def map_series(forecasts: RegionalForecasts, names: dict[int, str], now: datetime) -> MapSeries:
    """The areas' figures, whole grams, for the slider."""
    ids = [region_id for region_id in forecasts.region_ids if region_id in _REGION_NAMES]
    places = [forecasts.region_ids.index(region_id) for region_id in ids]
    digits = [str(INDEX_ORDER.index(word)) for word in forecasts.carbon_indices]
    axis = TimeAxis(forecasts.start, forecasts.half_hours, now)
    return MapSeries(
        start=rfc3339(forecasts.start),
        region_ids=ids,
        names=[names.get(region_id, str(region_id)) for region_id in ids],
        figures=[
            [None if value is None else round(value) for value in forecasts.carbon_intensity_gco2[place]]
            for place in places
        ],
        words=[
            "".join(
                "-" if word is None else digits[word]
                for word in spread(forecasts.carbon_index_changes[place], forecasts.half_hours)
            )
            for place in places
        ],
        nights=[(axis.number_of(begun), axis.number_of(ended)) for begun, ended in axis.nights()],
    )


def _present_signal(database: Database, now: datetime) -> GridSignal | None:
    where = [Where("timestamp", half_hour_of(now))]
    rows = database.select(GridSignal.table, where=where, order=OrderBy(("timestamp",)), limit=1)
    return next((row for row in read_rows(GridSignal, rows) if isinstance(row, GridSignal)), None)


def _or_last(value: float | None) -> float:
    return float("inf") if value is None else value
