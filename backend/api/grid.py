"""Endpoints about the grid: the regions now, and the forecast."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from database.interface import Database, OrderBy, Where
from grid.half_hours import half_hour_of
from ontology.objects import read_rows
from ontology.types import GridSignal, Moment, RegionalGridSignal
from vocabulary import CarbonIndex, Fuel, SignalSource
from web.api_blueprint import APIBlueprint
from web.kept_answers import UNCHANGED, KeptAnswers
from web.parameters import NoParameters, StrictQuery

TAG = Tag(name="Grid", description="Great Britain's grid, half-hour by half-hour")
HORIZON = timedelta(hours=48)


class RegionNow(BaseModel):
    """One region in the present half-hour; null where nothing is known."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "region_id": 13,
                "short_name": "London",
                "dno_region": "UKPN London",
                "country": "England",
                "is_aggregate": False,
                "timestamp": "2026-11-22T08:00:00Z",
                "carbon_intensity_gco2": 142,
                "carbon_index": "moderate",
                "generation_mix": {"gas": 46.1, "imports": 21.4, "wind": 20, "nuclear": 9, "biomass": 3.5},
                "data_source": "carbon_intensity_api",
                "fetched_at": "2026-11-22T08:04:11Z",
            }
        }
    )

    region_id: int
    short_name: str
    dno_region: str
    country: str
    is_aggregate: bool
    timestamp: Moment | None = Field(description="Start of the half-hour")
    carbon_intensity_gco2: float | None = Field(description="gCO2/kWh")
    carbon_index: CarbonIndex | None
    generation_mix: dict[Fuel, float] = Field(description="Per cent by fuel; empty where it is unknown")
    data_source: SignalSource | None
    fetched_at: Moment | None


class RegionsNow(BaseModel):
    """All 17 regions in the present half-hour."""

    as_of: Moment
    regions: list[RegionNow]


class ForecastQuery(StrictQuery):
    region_id: int | None = Field(
        None,
        ge=1,
        le=17,
        description="A region; the national forecast without it",
        json_schema_extra={"example": 13},
    )


class NationalForecast(BaseModel):
    """The national half-hours of the next 48 hours, starting with the present one."""

    as_of: Moment
    region_id: None = None
    forecast: list[GridSignal]


class RegionalForecast(BaseModel):
    """One region's half-hours of the next 48 hours, starting with the present one."""

    as_of: Moment
    region_id: int
    forecast: list[RegionalGridSignal]


class Forecast(BaseModel):
    """A forecast: `GridSignal`s, or one region's `RegionalGridSignal`s."""

    as_of: Moment
    region_id: int | None = Field(description="Null for the national forecast")
    forecast: list[GridSignal] | list[RegionalGridSignal]


_REGIONS = TypeAdapter(list[RegionNow])


def grid_endpoints(database: Database, answers: KeptAnswers) -> APIBlueprint:
    """`/api/v1/grid/…`"""
    endpoints = APIBlueprint("grid", __name__, url_prefix="/api/v1/grid", abp_tags=[TAG])

    @endpoints.get("/regional", summary="All 17 regions now", responses={200: RegionsNow, **UNCHANGED})
    def regional(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answers.answer(lambda now: read_regions(database, now))

    @endpoints.get("/forecast", summary="The 48-hour forecast", responses={200: Forecast, **UNCHANGED})
    def forecast(query: ForecastQuery) -> Response:
        return answers.answer(lambda now: read_forecast(database, query.region_id, now))

    return endpoints


def read_regions(database: Database, now: datetime) -> RegionsNow:
    """All regions in the half-hour of `now`.

    Raises:
        DatabaseError: the database does not answer.
    """
    rows = database.call("regional_overview", {"p_now": now}, repeatable=True)
    return RegionsNow(as_of=now, regions=_REGIONS.validate_python(rows))


def read_forecast(database: Database, region_id: int | None, now: datetime) -> NationalForecast | RegionalForecast:
    """The 48 hours from the half-hour of `now`, of a region or of the nation.

    Raises:
        DatabaseError: the database does not answer.
    """
    slot = half_hour_of(now)
    ahead = [Where("timestamp", slot, "gte"), Where("timestamp", slot + HORIZON, "lt")]
    by_time = OrderBy(("timestamp",))
    if region_id is None:
        national = database.select(GridSignal.table, where=ahead, order=by_time)
        return NationalForecast(as_of=now, forecast=read_rows(GridSignal, national))
    ahead.append(Where("region_id", region_id))
    rows = database.select(RegionalGridSignal.table, where=ahead, order=by_time)
    return RegionalForecast(as_of=now, region_id=region_id, forecast=read_rows(RegionalGridSignal, rows))
