"""The endpoint that lets agents given in a request negotiate over a shared limit of power. Nothing is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Annotated, Literal

import numpy as np
from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from api.grid import read_forecast
from api.grid_series import read_regional_forecasts
from api.what_if import BUSY, ConcurrencyLimit, refuse
from api.workloads import Key, WrittenTime
from database.interface import Database
from decisions.publishing.schema import tidy
from grid.half_hours import HALF_HOUR, half_hour_of
from grid.provenance import SignalName, in_a_row, origin_remarks, signal_title
from negotiation.agents import (
    HOURS,
    Agent,
    ComputeAgent,
    Figures,
    InterruptibleJob,
    NoFallback,
    ReductionBuyer,
    RigidJob,
    SearchTime,
    StorageAgent,
)
from negotiation.coordination import MOST_ROUNDS, TOLERANCE
from negotiation.rounds import Settlement, negotiate
from negotiation.settling import Award
from ontology.types import Moment, RegionId
from vocabulary import SignalSource
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

TAG = Tag(name="Negotiations", description="Agents that share a limit of power; nothing is stored")
MOST_AGENTS = 20
MOST_HALF_HOURS = 96
MOST_JOBS = 50

Megawatts = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False, strict=True)]
Price = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False, strict=True)]
Prices = Annotated[list[Price], Field(min_length=2, max_length=MOST_HALF_HOURS)]
MegawattsEach = Annotated[list[Megawatts], Field(min_length=2, max_length=MOST_HALF_HOURS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class JobBody(_Strict):
    """Work in half-hours, between which it may pause, or may not."""

    job_id: Key
    energy_mwh: float = Field(gt=0, le=1_000_000, allow_inf_nan=False, strict=True, description="Site energy, MWh")
    max_power_mw: float = Field(gt=0, le=10_000, allow_inf_nan=False, strict=True)
    may_pause: bool = Field(
        True,
        strict=True,
        description="If not it runs in one go, as few half-hours as its power allows, at the same power in each",
    )
    earliest: WrittenTime | None = Field(None, description="By default the first half-hour")
    deadline: WrittenTime | None = Field(None, description="When it must have ended; by default the horizon's end")


class _OfRegion(_Strict):
    agent: Key = Field(description="Its name, one of its own")
    region_id: RegionId | None = Field(
        None, description="A MWh costs it the price and its region's carbon, as they are forecast"
    )
    cost_gbp_per_mwh: Prices | None = Field(None, description="What a MWh costs it instead, by half-hour")


class ComputeBody(_OfRegion):
    """A data centre with waiting work."""

    kind: Literal["compute"]
    endowment_mw: Megawatts | MegawattsEach = Field(description="Its own share of the limit, MW")
    jobs: list[JobBody] = Field(min_length=1, max_length=MOST_JOBS)


class StorageBody(_OfRegion):
    """A battery, which ends with no less than it holds now."""

    kind: Literal["storage"]
    endowment_mw: Megawatts | MegawattsEach = Field(0.0, description="Its own share of the limit, MW")
    power_mw: float = Field(gt=0, le=10_000, allow_inf_nan=False, strict=True)
    capacity_mwh: float = Field(gt=0, le=100_000, allow_inf_nan=False, strict=True)
    charge_mwh: float = Field(ge=0, le=100_000, allow_inf_nan=False, strict=True, description="What it holds now")
    round_trip_efficiency: float = Field(gt=0, le=1, allow_inf_nan=False, strict=True)
    wear_gbp_per_mwh: float = Field(0.0, ge=0, le=10_000, allow_inf_nan=False, strict=True)


class BuyerBody(_Strict):
    """Who pays for power that the others leave unused, such as for a flexibility event."""

    kind: Literal["buyer"]
    agent: Key
    pays_gbp_per_mwh: Price | Prices
    need_mw: Megawatts | MegawattsEach


AgentBody = Annotated[ComputeBody | StorageBody | BuyerBody, Field(discriminator="kind")]


class NegotiationBody(_Strict):
    """Agents that share a limit: what each has of it together."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "half_hours": 2,
                "agents": [
                    {
                        "kind": "compute",
                        "agent": "hall-a",
                        "endowment_mw": 1.5,
                        "cost_gbp_per_mwh": [80, 120],
                        "jobs": [{"job_id": "train", "energy_mwh": 1, "max_power_mw": 2}],
                    },
                    {
                        "kind": "storage",
                        "agent": "battery",
                        "cost_gbp_per_mwh": [80, 100],
                        "power_mw": 0.8,
                        "capacity_mwh": 1,
                        "charge_mwh": 0.5,
                        "round_trip_efficiency": 1,
                        "wear_gbp_per_mwh": 4,
                    },
                ],
            }
        },
    )

    agents: list[AgentBody] = Field(min_length=2, max_length=MOST_AGENTS)
    half_hours: int = Field(48, ge=2, le=MOST_HALF_HOURS, strict=True, description="From the present one on")
    most_rounds: int = Field(MOST_ROUNDS, ge=1, le=MOST_ROUNDS, strict=True)
    time_limit_s: float = Field(
        5.0, ge=0.1, le=15, allow_inf_nan=False, strict=True, description="No round begins after it"
    )


class RoundAnswer(BaseModel):
    """How far apart the two bounds were after a round."""

    upper_bound_gbp: float = Field(
        description="What the best mixture of all proposals costs, £; never rises. Where somebody cannot split, what "
        "the agents would cost alone"
    )
    lower_bound_gbp: float = Field(description="What no plan can be below, £; never falls")


class AwardAnswer(BaseModel):
    """What one agent runs, and what it comes to beside having stayed alone."""

    agent: str
    draw_mw: list[float] = Field(description="MW by half-hour; below 0 it gives")
    moved_mwh: float = Field(description="How much of the limit's energy it took from or left to the others, MWh")
    cost_gbp: float = Field(description="Of its own plan, £")
    pays_gbp: float = Field(description="To the others, £; below 0 it is paid")
    net_gbp: float = Field(description="Both, £")
    alone_gbp: float = Field(description="What its best plan within its own endowment would cost, £")
    gains_gbp: float = Field(description="What it gains by negotiating, £; never below 0")


class NegotiationAnswer(BaseModel):
    """Who draws when, at which prices of the limit, who pays whom, and how good that is."""

    as_of: Moment
    start: Moment = Field(description="Start of the first half-hour")
    half_hours: int
    limit_mw: list[float] = Field(description="The endowments together, MW")
    price_gbp_per_mwh: list[float] = Field(description="Of drawing one more MWh; 0 where the limit does not bind")
    cost_gbp: float = Field(description="Of all plans together, £")
    bound_gbp: float = Field(description="No plan within the limit costs less, by the costs declared, £")
    gap_gbp: float
    alone_gbp: float = Field(description="Without negotiating, £")
    saving_gbp: float
    stop: Literal["gap", "rounds", "time"] = Field(description="Why it ended")
    payments: Literal["prices", "shares"] = Field(
        description="Each pays the prices for what it draws above its endowment; or, where somebody cannot split, "
        "what is saved is shared"
    )
    rounds: list[RoundAnswer]
    awards: list[AwardAnswer] = Field(description="By name; their payments sum to 0")
    explanation: list[str]
    warnings: list[str] = Field(
        description="Which forecasts that agents with a region_id cost their work by are invented or modelled"
    )


def negotiation_endpoints(
    database: Database,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    turns: ConcurrencyLimit,
    carbon_price_gbp_per_t: float,
) -> APIBlueprint:
    """`/api/v1/negotiations/plan`, which waits for its turn: it keeps a processor busy for seconds."""
    endpoints = APIBlueprint("negotiations", __name__, url_prefix="/api/v1/negotiations", abp_tags=[TAG])

    @endpoints.post(
        "/plan",
        summary="How agents would share a limit of power",
        description="An iterated contract net over half-hour prices among the agents of the request. Only one is "
        "worked out at a time: 503 with Retry-After while another is.",
        responses={200: NegotiationAnswer, 503: BUSY},
    )
    def plan(query: NoParameters, body: NegotiationBody) -> Response:  # noqa: ARG001 - refuses parameters
        _check_names(body)
        now = clock()
        with turns.take():
            costs = Costs(database, now, body.half_hours, carbon_price_gbp_per_t)
            until = monotonic() + body.time_limit_s
            searches = SearchTime()
            agents = [_agent(number, each, costs) for number, each in enumerate(body.agents)]
            for each in agents:
                each.searches = searches
            try:
                settlement = negotiate(
                    agents,
                    most_rounds=body.most_rounds,
                    is_over=lambda: monotonic() >= until,
                )
            except NoFallback as error:
                raise refuse("agents", f"cannot negotiate: {error}") from None
        return answer(negotiation_answer(settlement, now, costs.warnings()))

    return endpoints


def negotiation_answer(settlement: Settlement, now: datetime, warnings: list[str]) -> NegotiationAnswer:
    """The answer for a settlement whose first half-hour is that of `now`."""
    limit = np.sum([award.endowment_mw for award in settlement.awards], axis=0)
    alone = sum(award.fallback_gbp for award in settlement.awards)
    return NegotiationAnswer(
        as_of=now,
        start=half_hour_of(now),
        half_hours=len(limit),
        limit_mw=_tidy(limit),
        price_gbp_per_mwh=_tidy(settlement.price_gbp_per_mwh),
        cost_gbp=tidy(settlement.cost_gbp),
        bound_gbp=tidy(settlement.bound_gbp),
        gap_gbp=tidy(settlement.gap_gbp),
        alone_gbp=tidy(alone),
        saving_gbp=tidy(alone - settlement.cost_gbp),
        stop=settlement.stop,
        payments="shares" if settlement.shares_gain else "prices",
        rounds=[
            RoundAnswer(upper_bound_gbp=tidy(each.upper_bound_gbp), lower_bound_gbp=tidy(each.lower_bound_gbp))
            for each in settlement.rounds
        ],
        awards=[_award(award) for award in settlement.awards],
        explanation=_explanation(settlement, alone),
        warnings=warnings,
    )


class Costs:
    """What a MWh costs in each half-hour, from the forecasts, which are read when they are first asked for."""

    def __init__(self, database: Database, now: datetime, half_hours: int, carbon_price_gbp_per_t: float) -> None:
        self.start = half_hour_of(now)
        self.half_hours = half_hours
        self._database = database
        self._now = now
        self._carbon_price = carbon_price_gbp_per_t
        self._of_region: dict[int, Figures] | None = None
        self._asked: set[int] = set()
        self._price_sources: list[str] = []
        self._carbon_sources: dict[int, list[str]] = {}

    def of(self, number: int, body: _OfRegion) -> Figures:
        """
        Raises:
            Problem: 422, neither or both are given, or the forecast does not reach so far.
        """
        if (body.region_id is None) is (body.cost_gbp_per_mwh is None):
            raise refuse(f"agents.{number}", "takes either region_id or cost_gbp_per_mwh")
        if body.cost_gbp_per_mwh is not None:
            return self.each(number, "cost_gbp_per_mwh", body.cost_gbp_per_mwh)
        if self._of_region is None:
            self._of_region = self._read()
        self._asked.add(body.region_id or 0)
        found = self._of_region[body.region_id or 0][: self.half_hours]
        if len(found) < self.half_hours or np.isnan(found).any():
            raise refuse(
                "half_hours", "reaches further than the forecast of prices and carbon is known: ask for less"
            )
        return found

    def warnings(self) -> list[str]:
        """Of the forecasts that were asked for: what of them no source gave."""
        if not self._asked:
            return []
        told: list[tuple[SignalName, int | None, list[str]]] = [
            (SignalName.WHOLESALE_PRICE, None, self._price_sources)
        ]
        told += [
            (SignalName.CARBON_INTENSITY, region_id, self._carbon_sources.get(region_id, []))
            for region_id in sorted(self._asked)
        ]
        return [
            f"The {signal_title(signal, region_id)} {in_a_row(remarks)}."
            for signal, region_id, sources in told
            if (remarks := origin_remarks(signal, Counter(sources)))
        ]

    def each(self, number: int, name: str, given: float | Sequence[float]) -> Figures:
        """One figure a half-hour.

        Raises:
            Problem: 422, they are too few or too many.
        """
        if isinstance(given, (int, float)):
            return np.full(self.half_hours, float(given))
        if len(given) != self.half_hours:
            raise refuse(f"agents.{number}.{name}", f"takes one figure for each of the {self.half_hours} half-hours")
        return np.array(given, dtype=float)

    def _read(self) -> dict[int, Figures]:
        national = read_forecast(self._database, None, self._now).forecast
        prices = np.full(MOST_HALF_HOURS, np.nan)
        for row in national:
            place = (row.timestamp - self.start) // HALF_HOUR
            price = getattr(row, "wholesale_price_gbp_mwh", None)
            if 0 <= place < MOST_HALF_HOURS and price is not None:
                prices[place] = price
            if 0 <= place < self.half_hours and (source := getattr(row, "price_source", None)):
                self._price_sources.append(str(source))
        regional = read_regional_forecasts(self._database, self._now)
        for region_id, changes in zip(regional.region_ids, regional.carbon_source_changes, strict=True):
            self._carbon_sources[region_id] = _by_half_hour(changes, regional.carbon_sources, self.half_hours)
        rows = zip(regional.region_ids, regional.carbon_intensity_gco2, strict=True)
        return {region_id: prices + self._carbon(figures) for region_id, figures in rows}

    def _carbon(self, gco2_per_kwh: Sequence[float | None]) -> Figures:
        """£/MWh: a gram a kWh is a kilogram a MWh."""
        found = np.full(MOST_HALF_HOURS, np.nan)
        known = np.array([np.nan if each is None else each for each in gco2_per_kwh[:MOST_HALF_HOURS]], dtype=float)
        found[: len(known)] = known / 1000 * self._carbon_price
        return found


def _by_half_hour(
    changes: Sequence[tuple[int, int | None]], words: Sequence[SignalSource], half_hours: int
) -> list[str]:
    """The source of each half-hour that has one."""
    ends = [*(begins for begins, _ in changes[1:]), half_hours]
    return [
        str(words[number])
        for (begins, number), end in zip(changes, ends, strict=True)
        if number is not None
        for _ in range(begins, min(end, half_hours))
    ]


def _check_names(body: NegotiationBody) -> None:
    names = [each.agent for each in body.agents]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise refuse(f"agents.{number}.agent", "is another agent's name")


def _agent(number: int, body: ComputeBody | StorageBody | BuyerBody, costs: Costs) -> Agent:
    if isinstance(body, BuyerBody):
        pays = costs.each(number, "pays_gbp_per_mwh", body.pays_gbp_per_mwh)
        return ReductionBuyer(body.agent, pays, costs.each(number, "need_mw", body.need_mw))
    endowment = costs.each(number, "endowment_mw", body.endowment_mw)
    if isinstance(body, ComputeBody):
        jobs = [job_of(f"agents.{number}.jobs.{place}", job, costs) for place, job in enumerate(body.jobs)]
        return ComputeAgent(body.agent, endowment, costs.of(number, body), jobs)
    if body.charge_mwh > body.capacity_mwh:
        raise refuse(f"agents.{number}.charge_mwh", "is more than capacity_mwh")
    return StorageAgent(
        body.agent,
        endowment,
        costs.of(number, body),
        power_mw=body.power_mw,
        capacity_mwh=body.capacity_mwh,
        charge_mwh=body.charge_mwh,
        round_trip_efficiency=body.round_trip_efficiency,
        wear_gbp_per_mwh=body.wear_gbp_per_mwh,
    )


def job_of(where: str, job: JobBody, costs: Costs) -> InterruptibleJob | RigidJob:
    """In whole half-hours that are all within its window."""
    first, end = 0, costs.half_hours
    if job.earliest is not None:
        first = max(0, ceil((job.earliest - costs.start) / HALF_HOUR))
    if job.deadline is not None:
        end = min(end, max(timedelta(0), job.deadline - costs.start) // HALF_HOUR)
    if HOURS * job.max_power_mw * max(0, end - first) < job.energy_mwh - 1e-9:
        raise refuse(where, "needs more energy than its power gives it between earliest and deadline")
    if job.may_pause:
        return InterruptibleJob(job.job_id, job.energy_mwh, job.max_power_mw, first, end)
    length = max(1, ceil(job.energy_mwh / (HOURS * job.max_power_mw) - 1e-9))
    return RigidJob(job.job_id, job.energy_mwh / (HOURS * length), length, first, end)


def _award(award: Award) -> AwardAnswer:
    return AwardAnswer(
        agent=award.agent,
        draw_mw=_tidy(award.draw_mw),
        moved_mwh=tidy(HOURS * float(np.abs(award.draw_mw - award.endowment_mw).sum())),
        cost_gbp=tidy(award.cost_gbp),
        pays_gbp=tidy(award.pays_gbp),
        net_gbp=tidy(award.net_gbp),
        alone_gbp=tidy(award.fallback_gbp),
        gains_gbp=tidy(max(0.0, award.fallback_gbp - award.net_gbp)),
    )


def _explanation(settlement: Settlement, alone_gbp: float) -> list[str]:
    prices = settlement.price_gbp_per_mwh
    binding = int((prices > 0).sum())
    told = [
        f"Alone the agents would cost £{alone_gbp:.2f} together, so £{settlement.cost_gbp:.2f}; no plan within the "
        f"limit costs less than £{settlement.bound_gbp:.2f}, by the costs that they declare."
    ]
    if settlement.shares_gain:
        told.append(
            "Somebody's plans cannot be split, so no prices need support them: what is saved is shared, by what the "
            "prices would give each."
        )
    if binding:
        told.append(f"The limit binds in {binding} of {len(prices)} half-hours, at up to £{prices.max():.2f}/MWh.")
    else:
        told.append("The limit binds nowhere, so its price is 0 and nobody pays.")
    for award in sorted(settlement.awards, key=lambda award: -award.pays_gbp):
        if abs(award.pays_gbp) >= 0.005:
            verb = "pays" if award.pays_gbp > 0 else "is paid"
            gain = max(0.0, award.fallback_gbp - award.net_gbp)
            told.append(f"{award.agent} {verb} £{abs(award.pays_gbp):.2f} and is £{gain:.2f} better off than alone.")
    if settlement.gap_gbp > TOLERANCE * abs(settlement.cost_gbp) + 1e-9:
        why = {"gap": "whole plans", "rounds": "its rounds", "time": "its time"}[settlement.stop]
        told.append(f"It ended by {why}, more than {100 * TOLERANCE:.1f} % above the bound.")
    return told


def _tidy(figures: Figures) -> list[float]:
    return [tidy(float(figure)) for figure in figures]
