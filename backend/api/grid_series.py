"""Endpoints that give the grid in columns: all regions ahead, and what came of the half-hours that are over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from api.what_if import refuse
from api.workloads import WrittenTime
from database.interface import Database
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of, rfc3339
from grid.model import margin_stress_score
from ontology.types import Moment, RegionId
from vocabulary import CarbonIndex, Fuel, SignalSource
from web.api_blueprint import APIBlueprint
from web.kept_answers import UNCHANGED, KeptAnswers
from web.parameters import NoParameters, StrictQuery

TAG = Tag(name="Grid", description="Great Britain's grid, half-hour by half-hour")

USUAL_HISTORY = timedelta(days=1)
LONGEST_HISTORY = timedelta(days=31)

Figures = list[int | float | None]
"""One a half-hour; null where nothing is known."""
Sources = list[tuple[int, SignalSource | None]]
"""Where it changes: [[0, "elexon"], [12, "modelled"]] is elexon from position 0 on and modelled from 12 on."""


class RegionalForecasts(BaseModel):
    """All regions in the 96 half-hours from the present one, in columns.

    The i-th row of each list is of the i-th region, the k-th figure of it of the k-th half-hour.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "as_of": "2026-11-22T08:04:11Z",
                "start": "2026-11-22T08:00:00Z",
                "half_hours": 3,
                "region_ids": [1, 2],
                "carbon_intensity_gco2": [[31, 28, None], [142, 139.5, 170]],
                "carbon_indices": ["low", "moderate", "high"],
                "carbon_index_changes": [[[0, 0], [2, None]], [[0, 1], [2, 2]]],
                "carbon_sources": ["carbon_intensity_api", "modelled"],
                "carbon_source_changes": [[[0, 0], [2, None]], [[0, 0], [1, 1]]],
                "oldest_fetched_at": "2026-11-22T08:04:11Z",
            }
        }
    )

    as_of: Moment
    start: Moment = Field(description="Start of the first half-hour")
    half_hours: int
    region_ids: list[int]
    carbon_intensity_gco2: list[Figures] = Field(description="gCO2/kWh; null where nothing is known")
    carbon_indices: list[CarbonIndex] = Field(description="The words that carbon_index_changes counts from 0")
    carbon_index_changes: list[list[tuple[int, int | None]]] = Field(
        description="[[k, n]…]: from the k-th half-hour on the n-th word of carbon_indices; null where none is known"
    )
    carbon_sources: list[SignalSource] = Field(description="The words that carbon_source_changes counts from 0")
    carbon_source_changes: list[list[tuple[int, int | None]]] = Field(description="As carbon_index_changes")
    oldest_fetched_at: Moment | None = Field(
        description="When the oldest figure that is not synthetic was fetched; null where there is none"
    )


class HistoryQuery(StrictQuery):
    from_: WrittenTime | None = Field(
        None, alias="from", description="From the half-hour of this time on; by default a day before `to`"
    )
    to: WrittenTime | None = Field(
        None, description="Half-hours that begin before this time, at most 31 days after `from`; by default now"
    )
    region_id: RegionId | None = Field(
        None, description="A region; the nation without it", json_schema_extra={"example": 13}
    )


class GridHistory(BaseModel):
    """Half-hours that are over, in columns: what was forecast last, and what came."""

    as_of: Moment
    region_id: int | None = Field(description="null: the nation")
    start: Moment = Field(description="Start of the first half-hour")
    half_hours: int
    carbon_intensity_forecast_gco2: Figures = Field(description="gCO2/kWh, as it was forecast last")
    carbon_intensity_actual_gco2: Figures = Field(
        description="gCO2/kWh, as it came; of a region estimated: its forecast x the nation's actual / the nation's "
        "forecast"
    )
    actual_is_estimated: bool = Field(description="Of a region: none publishes its actual intensity")
    carbon_index_changes: list[tuple[int, CarbonIndex | None]] = Field(
        description='[[0, "low"], [12, "moderate"]]: low from the 0th half-hour on, moderate from the 12th on'
    )
    carbon_source_changes: Sources = Field(description="As carbon_index_changes")
    demand_mw: Figures = Field(description="Of the nation only, as are stress and price")
    demand_source_changes: Sources
    grid_stress_score: Figures = Field(description="0 to 1; reckoned from demand")
    wholesale_price_gbp_mwh: Figures
    price_source_changes: Sources
    system_price_gbp_mwh: Figures = Field(
        description="Imbalance price, of its newest revision (/api/v1/grid/system-prices gives it exactly)"
    )
    derated_margin_mw: Figures = Field(description="Spare supply, as it was forecast last")
    loss_of_load_probability: Figures = Field(description="That demand could not be met, as it was forecast last")
    margin_stress_score: Figures = Field(description="0 to 1; a second opinion on stress, reckoned from these two")
    generation_mix: dict[Fuel, Figures] = Field(description="Per cent by fuel; empty where none is known")
    mix_source_changes: Sources


def grid_series_endpoints(database: Database, clock: Callable[[], datetime], answers: KeptAnswers) -> APIBlueprint:
    """`/api/v1/grid/forecast/regions` and `/api/v1/grid/history`"""
    endpoints = APIBlueprint("grid_series", __name__, url_prefix="/api/v1/grid", abp_tags=[TAG])

    @endpoints.get(
        "/forecast/regions",
        summary="The 48-hour forecast of all regions",
        responses={200: RegionalForecasts, **UNCHANGED},
    )
    def forecast_of_regions(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answers.answer(lambda now: read_regional_forecasts(database, now))

    @endpoints.get("/history", summary="What was forecast, and what came", responses={200: GridHistory, **UNCHANGED})
    def history(query: HistoryQuery) -> Response:
        _period(query, clock())

        def read(now: datetime) -> GridHistory:
            return read_history(database, *_period(query, now), query.region_id, now=now)

        return answers.answer(read)

    return endpoints


def _period(query: HistoryQuery, now: datetime) -> tuple[datetime, datetime]:
    until = query.to or now
    start = query.from_ or until - USUAL_HISTORY
    if start >= until:
        raise refuse("from", "is not earlier than to")
    if until - half_hour_of(start) > LONGEST_HISTORY + HALF_HOUR:
        raise refuse("from", f"is more than {LONGEST_HISTORY.days} days before to ({rfc3339(until)}): ask in pieces")
    return start, until


def read_regional_forecasts(database: Database, now: datetime) -> RegionalForecasts:
    """All regions in the 96 half-hours from that of `now`.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("regional_forecasts", {"p_now": now}, repeatable=True)
    regions = found["regions"]
    indices, index_changes = _numbered([region["carbon_index"] for region in regions])
    sources, source_changes = _numbered([region["carbon_sources"] for region in regions])
    fetched = [from_rfc3339(text) for region in regions if (text := region["oldest_fetched_at"]) is not None]
    return RegionalForecasts(
        as_of=now,
        start=found["start"],
        half_hours=len(regions[0]["carbon_intensity"]),
        region_ids=[region["region_id"] for region in regions],
        carbon_intensity_gco2=[_tidy(region["carbon_intensity"]) for region in regions],
        carbon_indices=indices,
        carbon_index_changes=index_changes,
        carbon_sources=sources,
        carbon_source_changes=source_changes,
        oldest_fetched_at=min(fetched, default=None),
    )


def read_history(
    database: Database, start: datetime, until: datetime, region_id: int | None, *, now: datetime
) -> GridHistory:
    """The half-hours from that of `start` on that begin before `until`, of a region or of the nation.

    Raises:
        DatabaseError: the database does not answer.
    """
    arguments = {"p_from": start, "p_until": until, "p_region_id": region_id}
    found = database.call("grid_history", arguments, repeatable=True)
    return GridHistory(
        as_of=now,
        region_id=region_id,
        start=found["start"],
        half_hours=found["half_hours"],
        carbon_intensity_forecast_gco2=found["carbon_intensity_forecast"],
        carbon_intensity_actual_gco2=found["carbon_intensity_actual"],
        actual_is_estimated=region_id is not None,
        carbon_index_changes=found["carbon_index"],
        carbon_source_changes=found["carbon_sources"],
        demand_mw=found["demand_mw"],
        demand_source_changes=found["demand_sources"],
        grid_stress_score=found["grid_stress_score"],
        wholesale_price_gbp_mwh=found["wholesale_price_gbp_mwh"],
        price_source_changes=found["price_sources"],
        system_price_gbp_mwh=found["system_price_gbp_mwh"],
        derated_margin_mw=found["derated_margin_mw"],
        loss_of_load_probability=found["loss_of_load_probability"],
        margin_stress_score=_margin_stress(found["derated_margin_mw"], found["loss_of_load_probability"]),
        generation_mix=found["generation_mix"],
        mix_source_changes=found["mix_sources"],
    )


def _margin_stress(margins_mw: Figures, probabilities: Figures) -> Figures:
    return [
        None if margin is None or probability is None else margin_stress_score(margin, probability)
        for margin, probability in zip(margins_mw, probabilities, strict=True)
    ]


def _numbered(columns: Sequence[Sequence[Sequence[Any]]]) -> tuple[list[Any], list[list[tuple[int, int | None]]]]:
    """The words in lists of changes, and the lists with their numbers instead."""
    words = list(dict.fromkeys(word for changes in columns for _, word in changes if word is not None))
    number = {word: n for n, word in enumerate(words)}
    return words, [[(position, number.get(word)) for position, word in changes] for changes in columns]


def _tidy(figures: Figures) -> Figures:
    """A tenth of a gram is more than any forecast knows."""
    return [figure if figure is None or isinstance(figure, int) else round(figure, 1) for figure in figures]
