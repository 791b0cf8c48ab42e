"""Every type of event that the log holds, with what a summary of it says. `/asyncapi.json` describes them from here.

The database writes the summaries (`event_summary` in 08_events.sql): the plain members of an event, as many as fit
into some four hundred bytes, the telling ones first. So all but what an event is about may be left out of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from decisions.publishing.topics import Topic
from ontology.types import Moment


class _Summary(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Actuals(_Summary):
    actual_energy_kwh: float | None = Field(
        None, description="What it used, of the whole building (IT power × PUE × time)"
    )
    actual_carbon_gco2: float | None = None
    actual_cost_gbp: float | None = None


class DecisionSummary(_Summary):
    """What was decided of a workload; without a data centre, what it waits for."""

    job_id: str
    decision_id: str
    status: str = Field(description="The workload's status from now on")
    dc_id: str | None = Field(None, description="The data centre that was chosen")
    starts_at: Moment | None = None
    scorer: str | None = Field(None, description="Whose scores they are: a model's, or our own")
    reason: str | None = Field(None, description="Why it waits")
    score: float | None = Field(None, description="Of the chosen data centre, 0 to 100")
    energy_kwh: float | None = None
    carbon_gco2: float | None = None
    cost_gbp: float | None = None


class WorkloadSummary(_Actuals):
    """What became of a workload's run, with its place and times as they are now."""

    job_id: str
    booking_id: int | None = None
    operator: str | None = None
    dc_id: str | None = None
    carried_out_by: str | None = Field(None, description="`simulated` or `runner`")
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    it_power_kw: float | None = None
    status: str | None = Field(None, description="The workload's status from now on")
    status_reason: str | None = None
    reason: str | None = None
    at: Moment | None = Field(None, description="When it was cancelled, moved or given up")


class OrderSummary(_Actuals):
    """What became of what was bought over Beckn."""

    order_id: str
    job_id: str
    dc_id: str | None = None
    bpp_id: str | None = Field(None, description="Who sold")
    bap_id: str | None = Field(None, description="Who bought")
    state: str | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    it_power_kw: float | None = None
    price_gbp: float | None = None
    status: str | None = Field(None, description="The status of the order's workload")
    status_reason: str | None = None
    actual_start: Moment | None = None
    actual_end: Moment | None = None


class GridSummary(_Summary):
    """The grid in this half-hour, as the pipeline run that has just finished leaves it."""

    slot: Moment = Field(description="The half-hour that the run was for")
    state: str = Field(description="How the run went: `succeeded` or `partial`")
    finished_at: Moment | None = None
    half_hour: Moment | None = Field(None, description="Which half-hour the figures are of")
    carbon_intensity_gco2_per_kwh: float | None = None
    carbon_index: str | None = None
    carbon_source: str | None = None
    grid_stress_score: float | None = Field(None, description="0 to 1")
    demand_mw: float | None = None
    demand_source: str | None = None
    wholesale_price_gbp_per_mwh: float | None = None
    price_source: str | None = None


class FlexibilitySummary(_Summary):
    """A flexibility event as it is now."""

    event_id: str
    door: str | None = Field(None, description="How it came in")
    source_id: str | None = Field(None, description="What its source calls it")
    programme: str | None = Field(None, description="The rule that it is paid by")
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    gate_closes_at: Moment | None = None
    compensation: str | None = None
    in_day: str | None = None
    state: str | None = None
    state_reason: str | None = None
    announced_at: Moment | None = None


class SourceSummary(_Summary):
    """An upstream source that has gone, or is back."""

    source: str
    slot: Moment
    state: str
    detail: str | None = Field(None, description="What the source said, or what it lacked")
    rows: int | None = None
    last_success_at: Moment | None = None


class DataCentreSummary(_Summary):
    """A data centre as it is now."""

    dc_id: str
    name: str | None = None
    status: str | None = None
    region_id: int | None = None
    pue: float | None = None
    total_capacity_mw: float | None = None


class AgentSummary(_Summary):
    """The state that an agent is in now, and the one before."""

    agent_id: str
    state: str
    before: str
    detail: str | None = Field(None, description="Why")
    observed_at: Moment | None = None


class NegotiationSummary(_Summary):
    """A negotiation over a shared limit of power as it is now."""

    negotiation_id: str
    name: str | None = None
    started_by: str | None = Field(None, description="`hand`, or the kind of limit that binds")
    limit_key: str | None = Field(None, description="The limit that it is about")
    starts_at: Moment | None = None
    half_hours: int | None = None
    state: str | None = None
    state_reason: str | None = None
    round: int | None = None
    award_number: int | None = None
    cost_gbp: float | None = Field(None, description="Of what is awarded, all agents together")
    alone_gbp: float | None = Field(None, description="What they would cost without it")
    bound_gbp: float | None = Field(None, description="No plan within the limit costs less, as costs are declared")


@dataclass(frozen=True)
class EventType:
    """A type of event.

    Attributes:
        means: what has happened, in a sentence.
        summary: what a summary of it says.
    """

    name: str
    topic: Topic
    means: str
    summary: type[BaseModel]


def _of(topic: Topic, summary: type[BaseModel], **means: str) -> tuple[EventType, ...]:
    beginnings = {
        Topic.WORKLOADS: "workload.",
        Topic.ORDERS: "order.",
        Topic.GRID: "grid.",
        Topic.SOURCES: "source.",
        Topic.NEGOTIATIONS: "negotiation.",
    }
    return tuple(EventType(beginnings[topic] + name, topic, said, summary) for name, said in means.items())


EVENT_TYPES = (
    EventType(
        "decision",
        Topic.DECISIONS,
        "A workload was decided; the whole event is the published output",
        DecisionSummary,
    ),
    *_of(
        Topic.WORKLOADS,
        WorkloadSummary,
        started="A run has begun",
        deferred="A run was put off just before its start, and keeps its place",
        displaced="A run has lost its place, and its workload is decided again",
        moved="A run that had not begun was given another place or start",
        cancelled="The workload's owner wants it no longer",
        expired="Nobody has started a run in its time",
        completed="A run has ended as it should",
        failed="A run has failed",
    ),
    *_of(
        Topic.ORDERS,
        OrderSummary,
        confirmed="An order was placed and holds its capacity",
        running="An order's work has begun",
        completed="An order's work has ended as it should",
        failed="An order's work has failed, or could not be begun in time",
        cancelled="An order was cancelled",
    ),
    *_of(Topic.GRID, GridSummary, updated="A pipeline run has finished"),
    *_of(Topic.GRID, FlexibilitySummary, flexibility="A flexibility event was announced, or has gone on"),
    *_of(
        Topic.SOURCES,
        SourceSummary,
        stale="An upstream source has gone: what is known from it is from before",
        fresh="An upstream source is back",
    ),
    EventType(
        "data_centre.changed", Topic.DATA_CENTRES, "A data centre is another now, but for its load", DataCentreSummary
    ),
    EventType("agent.changed", Topic.AGENTS, "An agent decides otherwise than before", AgentSummary),
    *_of(
        Topic.NEGOTIATIONS,
        NegotiationSummary,
        opened="Agents are asked to share a limit of power",
        awarded="Who draws when and who pays whom is settled; after somebody did not confirm, anew",
        settled="Its half-hours are over",
        failed="It came to nothing: it was taken back, its time was over, or nobody gains",
    ),
)
