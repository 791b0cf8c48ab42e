"""One workload's life from submission to account, as its decisions, bookings, meters and the event log tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.workloads import JobPath, WorkloadRow, read_workload
from database.interface import Database, OrderBy, Row, Where
from ontology.objects import read_rows
from ontology.types import CapacityBooking, MeterReading, Moment, ObjectType, OrchestrationDecision, WorkloadRun
from vocabulary import StrEnum, WorkloadStatus
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

TAG = Tag(name="Workloads")
AT_ITS_END = frozenset({WorkloadStatus.COMPLETED, WorkloadStatus.FAILED, WorkloadStatus.CANCELLED})
MOST_EVENTS = 200
MOST_OF_EACH = 50
MOST_READINGS = 1000
TOPICS = ("workloads", "orders")
_WH_PER_KWH = 1000
_WRITTEN_WITHIN = timedelta(seconds=30)
_STARTED = "workload.started"
_ENDS = frozenset({"workload.completed", "workload.failed", "workload.cancelled", "workload.expired"})

Kind = TypeVar("Kind", bound=ObjectType)


class StepKind(StrEnum):
    """What happens in a workload's life. `changed` is told by the log of events alone, and by its type."""

    SUBMITTED = "submitted"
    DECIDED = "decided"
    HELD = "held"
    CHANGED = "changed"
    RELEASED = "released"
    STARTED = "started"
    ENDED = "ended"
    METERED = "metered"
    ACCOUNTED = "accounted"


_ORDER = tuple(StepKind)


class Origin(StrEnum):
    """What tells of a step."""

    WORKLOAD = "workload"
    DECISION = "decision"
    BOOKING = "booking"
    EVENT_LOG = "event log"
    METER = "meter"
    ACCOUNT = "account"


class LifeStep(BaseModel):
    """One step. What does not belong to its kind, or is not known, is null."""

    step: StepKind
    at: Moment | None = Field(description="When it happened, or is to happen; null where nobody knows")
    is_done: bool
    told_by: Origin
    event: int | None = Field(None, description="Its number in the log of events, while that still has it")
    event_type: str | None = None
    decision_id: UUID | None = None
    scorer: str | None = None
    booking_key: UUID | None = None
    source: str | None = Field(None, description="Of a booking: who promised; of readings: how they are known")
    dc_id: str | None = None
    starts_at: Moment | None = Field(None, description="Start of the window that was decided or is held")
    ends_at: Moment | None = None
    it_power_kw: float | None = None
    half_hours: int | None = Field(None, description="How many half-hours were metered")
    energy_kwh: float | None = Field(None, description="Site energy")
    carbon_gco2: float | None = None
    cost_gbp: float | None = None
    run_now_carbon_gco2: float | None = Field(None, description="Of the run at once that it is compared with")
    run_now_cost_gbp: float | None = None
    is_final: bool | None = Field(None, description="Of an account: whether its figures may no longer be revised")
    reason: str | None = None


class WorkloadLife(BaseModel):
    """A workload's steps: those that are done by their time, then those that are to come."""

    job_id: str
    status: WorkloadStatus
    steps: list[LifeStep]


class LoggedEvent(BaseModel):
    """An event of the log about one workload."""

    sequence: int
    event_type: str
    created_at: Moment
    event: dict[str, Any]


class DecisionStep(BaseModel):
    """What a life tells of a decision."""

    decision_id: UUID
    sequence: int | None
    chosen_dc_id: str | None
    recommended_start: Moment | None
    scorer: str
    reasoning: str | None
    decided_at: Moment


@dataclass(frozen=True)
class Told:
    """All that is stored about one workload's life, each oldest first."""

    decisions: Sequence[DecisionStep] = ()
    bookings: Sequence[CapacityBooking] = ()
    events: Sequence[LoggedEvent] = ()
    readings: Sequence[MeterReading] = ()
    runs: Sequence[WorkloadRun] = ()


def workload_life_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/workloads/<job_id>/life`"""
    endpoints = APIBlueprint("workload_life", __name__, url_prefix="/api/v1/workloads", abp_tags=[TAG])

    @endpoints.get(
        "/<job_id>/life",
        summary="Its life, from submission to account",
        description="Each decision, booking, change, run, its metered energy and its account, by their times; then "
        "what is still to come. Of a booking that was moved the window that it has now is told.",
        responses={200: WorkloadLife},
    )
    def life(path: JobPath, query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(read_life(database, read_workload(database, path.job_id)))

    return endpoints


def read_life(database: Database, row: WorkloadRow) -> WorkloadLife:
    """The life of a workload that has been read.

    Raises:
        DatabaseError: the database does not answer.
    """
    return WorkloadLife(job_id=row.job_id, status=row.status, steps=life_of(row, read_told(database, row.job_id)))


def read_told(database: Database, job_id: str) -> Told:
    """What is stored about a workload besides itself; of each kind the first so many."""
    asked = {"p_after": 0, "p_limit": MOST_EVENTS, "p_topics": list(TOPICS), "p_job_id": job_id}
    events = database.call("events_after", asked, repeatable=True)["events"]
    of_it = [Where("job_id", job_id)]
    decisions = database.select(
        OrchestrationDecision.table,
        where=of_it,
        order=OrderBy(("decided_at", "decision_id")),
        limit=MOST_OF_EACH,
        columns=tuple(DecisionStep.model_fields),
    )
    bookings = database.select(
        CapacityBooking.table,
        where=of_it,
        order=OrderBy(("created_at", "booking_id")),
        limit=MOST_OF_EACH,
        columns=_with_number(CapacityBooking),
    )
    runs = database.select(
        WorkloadRun.table, where=of_it, order=OrderBy(("started_at", "booking_key")), limit=MOST_OF_EACH
    )
    return Told(
        decisions=[DecisionStep.model_validate(decision) for decision in decisions],
        bookings=_objects(CapacityBooking, bookings),
        events=[LoggedEvent.model_validate(event) for event in events],
        readings=_newest_readings(database, [booking["booking_id"] for booking in bookings]),
        runs=_objects(WorkloadRun, runs),
    )


def life_of(row: WorkloadRow, told: Told) -> list[LifeStep]:
    """The steps of a life. Pure."""
    done = [
        LifeStep(step=StepKind.SUBMITTED, at=row.created_at, is_done=True, told_by=Origin.WORKLOAD),
        *map(_decided, told.decisions),
        *(step for booking in told.bookings for step in _booked(booking, row, told.events)),
        *_own_run(row, told),
        *(_changed(event) for event in told.events if event.event_type not in {_STARTED, *_ENDS}),
        *_metered(told.readings),
        *map(_accounted, told.runs),
    ]
    done.sort(key=lambda step: (*_place(step, row, told), _ORDER.index(step.step)))
    return done + list(_to_come(row, told, {step.step for step in done}))


def _place(step: LifeStep, row: WorkloadRow, told: Told) -> tuple[bool, datetime]:
    """Where a step that is done comes among the others: by its time, but what leads to another comes before it."""
    at = step.at or row.updated_at
    if step.step in {StepKind.HELD, StepKind.STARTED}:
        at = _decided_by(at, told)
    if step.step is StepKind.HELD:  # what ran was held by then
        began = [one.started_at for one in told.bookings if one.booking_key == step.booking_key and one.started_at]
        at = min([at, *(_decided_by(moment, told) for moment in began)])
    return step.step is not StepKind.SUBMITTED, at


def _decided_by(at: datetime, told: Told) -> datetime:
    """Not before the decision, which is written down when its power is held, perhaps for a start at once."""
    written = [one.decided_at for one in told.decisions if at <= one.decided_at <= at + _WRITTEN_WITHIN]
    return max([at, *written[:1]])


def _decided(decision: DecisionStep) -> LifeStep:
    return LifeStep(
        step=StepKind.DECIDED,
        at=decision.decided_at,
        is_done=True,
        told_by=Origin.DECISION,
        event=decision.sequence,
        decision_id=decision.decision_id,
        scorer=decision.scorer,
        dc_id=decision.chosen_dc_id,
        starts_at=decision.recommended_start,
        reason=decision.reasoning,
    )


def _booked(booking: CapacityBooking, row: WorkloadRow, events: Sequence[LoggedEvent]) -> Iterator[LifeStep]:
    """What a booking tells: that power was held, and that it was given back or used."""
    of_it: dict[str, Any] = {
        "is_done": True,
        "told_by": Origin.BOOKING,
        "booking_key": booking.booking_key,
        "dc_id": booking.dc_id,
    }
    yield LifeStep(
        step=StepKind.HELD,
        at=booking.created_at,
        source=booking.source,
        starts_at=booking.starts_at,
        ends_at=booking.ends_at,
        it_power_kw=booking.it_power_kw,
        **of_it,
    )
    if booking.state == "RELEASED":
        yield LifeStep(step=StepKind.RELEASED, at=booking.ended_at, reason=booking.reason, **of_it)
    if booking.started_at is not None:
        begun = _last(events, {_STARTED}, booking.started_at)
        yield LifeStep(step=StepKind.STARTED, at=booking.started_at, event=begun, **of_it)
    if booking.state == "ENDED" and booking.ended_at is not None:
        why = row.status_reason if row.actual_end == booking.ended_at else booking.reason
        ended = _last(events, _ENDS, booking.ended_at)
        yield LifeStep(step=StepKind.ENDED, at=booking.ended_at, event=ended, reason=why, **of_it)


def _own_run(row: WorkloadRow, told: Told) -> Iterator[LifeStep]:
    """What the workload itself tells of its run and its end, where no booking does."""
    if row.actual_start is not None and not any(booking.started_at for booking in told.bookings):
        yield _of_itself(StepKind.STARTED, row.actual_start, row)
    has_ended = any(booking.state == "ENDED" and booking.ended_at for booking in told.bookings)
    if row.status in AT_ITS_END and not has_ended:
        ends = [event for event in told.events if event.event_type in _ENDS]
        at = row.actual_end or (ends[-1].created_at if ends else row.updated_at)
        step = _of_itself(StepKind.ENDED, at, row)
        yield step.model_copy(update={"event": ends[-1].sequence if ends else None, "reason": row.status_reason})


def _of_itself(kind: StepKind, at: datetime, row: WorkloadRow) -> LifeStep:
    return LifeStep(step=kind, at=at, is_done=True, told_by=Origin.WORKLOAD, dc_id=row.host_dc_id)


def _changed(event: LoggedEvent) -> LifeStep:
    place = event.event.get("to", event.event)
    given: Mapping[str, Any] = place if isinstance(place, dict) else {}
    return LifeStep(
        step=StepKind.CHANGED,
        at=event.created_at,
        is_done=True,
        told_by=Origin.EVENT_LOG,
        event=event.sequence,
        event_type=event.event_type,
        dc_id=given.get("dc_id"),
        starts_at=given.get("starts_at"),
        ends_at=given.get("ends_at"),
        reason=event.event.get("status_reason") or event.event.get("reason"),
    )


def _metered(readings: Sequence[MeterReading]) -> Iterator[LifeStep]:
    if readings:
        yield LifeStep(
            step=StepKind.METERED,
            at=max(reading.recorded_at for reading in readings),
            is_done=True,
            told_by=Origin.METER,
            source=", ".join(sorted({reading.source for reading in readings})),
            half_hours=len(readings),
            # Each is stored to a thousandth of a Wh.
            energy_kwh=round(sum(reading.site_energy_wh for reading in readings), 3) / _WH_PER_KWH,
        )


def _accounted(run: WorkloadRun) -> LifeStep:
    return LifeStep(
        step=StepKind.ACCOUNTED,
        at=run.accounted_at,
        is_done=True,
        told_by=Origin.ACCOUNT,
        booking_key=run.booking_key,
        dc_id=run.dc_id,
        energy_kwh=run.site_energy_wh / _WH_PER_KWH,
        carbon_gco2=run.carbon_gco2,
        cost_gbp=run.cost_gbp,
        run_now_carbon_gco2=run.run_now_carbon_gco2,
        run_now_cost_gbp=run.run_now_cost_gbp,
        is_final=run.settled_at is not None,
    )


def _to_come(row: WorkloadRow, told: Told, done: set[StepKind]) -> Iterator[LifeStep]:
    """What is still to come of a workload that is not at its end, or that ran and is yet to be metered."""
    has_ended = row.status in AT_ITS_END
    if has_ended and StepKind.STARTED not in done:
        return
    held = next((booking for booking in reversed(told.bookings) if booking.state in {"HELD", "RUNNING"}), None)
    is_running = row.status is WorkloadStatus.RUNNING
    times = {
        StepKind.STARTED: row.scheduled_start if held is None else held.starts_at,
        StepKind.ENDED: None if held is None else held.ends_at,
    }
    of_this_round = {StepKind.DECIDED} | ({StepKind.HELD} if held is not None else set())
    if is_running:
        of_this_round |= {StepKind.HELD, StepKind.STARTED}
    if has_ended:
        of_this_round = done | (set(StepKind) - {StepKind.METERED, StepKind.ACCOUNTED})
    elif row.decision is None:
        of_this_round = set()
    for kind in _ORDER:
        if kind in of_this_round or kind in {StepKind.SUBMITTED, StepKind.CHANGED, StepKind.RELEASED}:
            continue
        told_by = Origin.BOOKING if times.get(kind) is not None and held is not None else Origin.WORKLOAD
        dc_id = None if held is None else held.dc_id
        yield LifeStep(step=kind, at=times.get(kind), is_done=False, told_by=told_by, dc_id=dc_id)


def _last(events: Sequence[LoggedEvent], types: set[str] | frozenset[str], at: datetime) -> int | None:
    """The number of the event that tells of what happened at a moment: the first of its kind since then."""
    return next((one.sequence for one in events if one.event_type in types and one.created_at >= at), None)


def _newest_readings(database: Database, bookings: Sequence[int]) -> list[MeterReading]:
    """Of each half-hour of these bookings' runs the newest revision; a job of that name may be another's too."""
    if not bookings:
        return []
    rows = database.select(
        MeterReading.table,
        where=[Where("booking_id", bookings, "in")],
        order=OrderBy(("half_hour", "booking_id", "revision")),
        limit=MOST_READINGS,
        columns=_with_number(MeterReading),
    )
    newest = {(row["booking_id"], row["half_hour"]): row for row in rows}
    return _objects(MeterReading, list(newest.values()))


def _with_number(kind: type[Kind]) -> tuple[str, ...]:
    """The columns of an object, and the number of its booking, not for showing: it counts other tenants' too."""
    return (*kind.model_fields, "booking_id")


def _objects(kind: type[Kind], rows: list[Row]) -> list[Kind]:
    return [one for one in read_rows(kind, rows) if isinstance(one, kind)]
