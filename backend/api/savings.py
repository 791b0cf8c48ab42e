"""The endpoint that says what runs used, and what deciding where and when they run has saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.what_if import refuse
from api.workloads import WrittenTime
from database.interface import Database
from decisions.publishing.schema import tidy
from grid.half_hours import rfc3339
from ontology.types import Moment
from vocabulary import StrEnum
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import StrictQuery

TAG = Tag(name="Savings", description="What runs used, and what deciding has saved")

LONGEST_PERIOD = timedelta(days=366)
USUAL_PERIOD = timedelta(days=7)

ACCOUNTING = [
    "Each run is compared with itself, moved to where and when it would have run without a decision, on the same "
    "actual figures of the grid. A saving is that less what the run came to: below 0 where the decision did harm.",
    "Counterfactuals count only as far as there would have been power for all of them together; the others are "
    "counted apart, as runs without room to run now, and are in no saving.",
    "Intensities are averages of a region, not marginal: a saving is not by how much the grid's emissions fell.",
    "Nothing here is an offset, a certificate or anybody's bill. Costs are energy at the wholesale price.",
    "Regions have no actual intensity: theirs is estimated from the nation's. Runs that may be revised are counted.",
]


class GroupedBy(StrEnum):
    """What savings are summed by."""

    DAY = "day"
    DATA_CENTRE = "data_centre"
    OPERATOR = "operator"
    WORKLOAD_TYPE = "workload_type"


class SavingsQuery(StrictQuery):
    from_: WrittenTime | None = Field(
        None, alias="from", description="Runs that began at this time or later; by default a week before `to`"
    )
    to: WrittenTime | None = Field(
        None, description="Runs that began before this time, at most 366 days after `from`; by default now"
    )
    by: GroupedBy = Field(GroupedBy.DAY, description="What to sum by; a day is that of the run's start, UTC")


class ComparedAnswer(BaseModel):
    """The runs whose counterfactual counts, and of which every figure is known."""

    runs: int
    site_energy_kwh: float
    carbon_gco2: float
    cost_gbp: float
    run_now_site_energy_kwh: float = Field(description="Of the same runs at once, without a decision")
    run_now_carbon_gco2: float
    run_now_cost_gbp: float
    realised_saving_kwh: float = Field(description="Energy that run now would have used more; by PUE alone")
    realised_saving_gco2: float
    realised_saving_gbp: float
    runs_worse_in_carbon: int = Field(description="Runs that emitted more than they would have at once")
    runs_worse_in_cost: int
    runs_worse_than_run_now: int = Field(description="Runs whose cost and carbon at its price came to more")
    share_worse_than_run_now: float = Field(description="Of these runs, 0 to 1")


class PredictedAnswer(BaseModel):
    """Those of the compared runs whose decision foretold both sides: what it foretold, and what came of it."""

    runs: int
    predicted_saving_gco2: float
    predicted_saving_gbp: float
    realised_saving_gco2: float
    realised_saving_gbp: float


class SavingsOf(BaseModel):
    """The runs of one group, or all. What is unknown of a run is not in the sum, and the run is counted."""

    key: str | None = Field(description="A day, dc_id, operator_id or workload type; null for all together")
    runs: int
    it_energy_kwh: float
    site_energy_kwh: float
    carbon_gco2: float
    cost_gbp: float
    runs_of_unknown_carbon: int
    runs_of_unknown_cost: int
    runs_to_be_revised: int = Field(description="Runs whose figures may yet change")
    runs_without_counterfactual: int = Field(description="Runs of no decision: orders, and what its owner moved")
    runs_without_room_to_run_now: int = Field(
        description="Runs that could not have been at once, since the others would have held the power"
    )
    compared: ComparedAnswer | None = Field(description="null where no run can be compared")
    predicted: PredictedAnswer | None = Field(description="null where nothing was foretold of them")


class SavingsAnswer(BaseModel):
    """Savings, and what they must not be read as."""

    as_of: Moment
    period_from: Moment
    period_to: Moment = Field(description="The runs are those that began before it")
    by: GroupedBy
    carbon_price_gbp_per_t: float = Field(description="What carbon counts for in runs_worse_than_run_now")
    groups: list[SavingsOf]
    total: SavingsOf
    accounting: list[str] = Field(description="How it is reckoned, and what it must not be read as")


def savings_endpoints(
    database: Database, clock: Callable[[], datetime], carbon_price_gbp_per_t: float
) -> APIBlueprint:
    """`/api/v1/savings`"""
    endpoints = APIBlueprint("savings", __name__, url_prefix="/api/v1/savings", abp_tags=[TAG])

    @endpoints.get("", summary="What runs used, and what deciding has saved", responses={200: SavingsAnswer})
    def savings(query: SavingsQuery) -> Response:
        return answer(read_savings(database, query, clock(), carbon_price_gbp_per_t))

    return endpoints


def read_savings(
    database: Database, query: SavingsQuery, now: datetime, carbon_price_gbp_per_t: float
) -> SavingsAnswer:
    """What the caller's runs of the period used, and what deciding has saved.

    Raises:
        Problem: (422) there is no such period.
    """
    start, end = _period(query, now)
    arguments = {
        "p_from": start,
        "p_until": end,
        "p_by": str(query.by),
        "p_carbon_price_gbp_per_t": carbon_price_gbp_per_t,
    }
    *groups, total = database.call("savings", arguments, repeatable=True)
    return SavingsAnswer(
        as_of=now,
        period_from=start,
        period_to=end,
        by=query.by,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        groups=[_savings_of(group) for group in groups],
        total=_savings_of(total),
        accounting=ACCOUNTING,
    )


def _period(query: SavingsQuery, now: datetime) -> tuple[datetime, datetime]:
    end = query.to or now
    start = query.from_ or end - USUAL_PERIOD
    if start >= end:
        raise refuse("from", "is not earlier than to")
    if end - start > LONGEST_PERIOD:
        raise refuse("from", f"is more than {LONGEST_PERIOD.days} days before to ({rfc3339(end)}): ask in pieces")
    return start, end


Sums = Mapping[str, Any]


def _savings_of(sums: Sums) -> SavingsOf:
    return SavingsOf(
        key=sums["key"],
        runs=sums["runs"],
        it_energy_kwh=_kwh(sums["it_energy_wh"]),
        site_energy_kwh=_kwh(sums["site_energy_wh"]),
        carbon_gco2=_sum(sums["carbon_gco2"]),
        cost_gbp=_sum(sums["cost_gbp"]),
        runs_of_unknown_carbon=sums["runs_of_unknown_carbon"],
        runs_of_unknown_cost=sums["runs_of_unknown_cost"],
        runs_to_be_revised=sums["runs_to_be_revised"],
        runs_without_counterfactual=sums["runs_without_counterfactual"],
        runs_without_room_to_run_now=sums["runs_without_room_to_run_now"],
        compared=_compared(sums) if sums["compared_runs"] else None,
        predicted=_predicted(sums) if sums["predicted_runs"] else None,
    )


def _compared(sums: Sums) -> ComparedAnswer:
    return ComparedAnswer(
        runs=sums["compared_runs"],
        site_energy_kwh=_kwh(sums["compared_site_energy_wh"]),
        carbon_gco2=_sum(sums["compared_carbon_gco2"]),
        cost_gbp=_sum(sums["compared_cost_gbp"]),
        run_now_site_energy_kwh=_kwh(sums["run_now_site_energy_wh"]),
        run_now_carbon_gco2=_sum(sums["run_now_carbon_gco2"]),
        run_now_cost_gbp=_sum(sums["run_now_cost_gbp"]),
        realised_saving_kwh=_kwh(sums["run_now_site_energy_wh"] - sums["compared_site_energy_wh"]),
        realised_saving_gco2=_sum(sums["run_now_carbon_gco2"] - sums["compared_carbon_gco2"]),
        realised_saving_gbp=_sum(sums["run_now_cost_gbp"] - sums["compared_cost_gbp"]),
        runs_worse_in_carbon=sums["runs_worse_in_carbon"],
        runs_worse_in_cost=sums["runs_worse_in_cost"],
        runs_worse_than_run_now=sums["runs_worse"],
        share_worse_than_run_now=tidy(sums["runs_worse"] / sums["compared_runs"]),
    )


def _predicted(sums: Sums) -> PredictedAnswer:
    return PredictedAnswer(
        runs=sums["predicted_runs"],
        predicted_saving_gco2=_sum(sums["predicted_carbon_saving_gco2"]),
        predicted_saving_gbp=_sum(sums["predicted_cost_saving_gbp"]),
        realised_saving_gco2=_sum(sums["realised_carbon_saving_gco2"]),
        realised_saving_gbp=_sum(sums["realised_cost_saving_gbp"]),
    )


def _kwh(energy_wh: float | None) -> float:
    return round((energy_wh or 0) / 1000, 6)


def _sum(figure: float | None) -> float:
    """Nothing that is known sums to 0."""
    return tidy(figure or 0.0)
