"""One workload's life in words: each step of what the endpoint of the same tells. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.workload_life import AT_ITS_END, LifeStep, StepKind, WorkloadLife
from dashboard.words import figure, grams, kilowatt_hours, pounds, sentence, short_name, span_words, status_words
from vocabulary import WorkloadStatus

OPEN_STATUSES = frozenset(WorkloadStatus) - AT_ITS_END
"""Of workloads that are not at their end."""

_TITLES = {
    StepKind.SUBMITTED: "Submitted",
    StepKind.DECIDED: "Decided",
    StepKind.HELD: "Power held",
    StepKind.RELEASED: "Power given back",
    StepKind.STARTED: "Started",
    StepKind.ENDED: "Ended",
    StepKind.METERED: "Metered",
    StepKind.ACCOUNTED: "Accounted",
}
_TITLES_TO_COME = {StepKind.STARTED: "Starts", StepKind.ENDED: "Ends"}
_BOOKING_SOURCES = {
    "decision": "by a decision",
    "beckn_order": "by an order over Beckn",
    "flexibility": "for flexibility",
    "negotiation": "by a negotiation",
}
_READING_SOURCES = {
    "simulated": "simulated",
    "rapl": "read from the machine's counters",
    "power_x_time": "its stated power times the time",
    "reported": "as its runner reported",
}


@dataclass(frozen=True)
class Step:
    """One thing in a workload's life.

    Attributes:
        at: None where it has not happened or nobody knows when.
        words: what else is known of it, line by line.
        event: its number in the log of events.
        decision_id: the decision's, which has a page of its own.
    """

    title: str
    at: datetime | None
    words: tuple[str, ...]
    is_done: bool
    event: int | None
    decision_id: UUID | None


def steps_of(
    life: WorkloadLife, operator: str | None, centres: Mapping[str, str], *, reason: str | None = None
) -> list[Step]:
    """Its steps in words.

    Args:
        operator: whose workload it is, if that is known.
        centres: what data centres are called, by their dc_id.
        reason: why its status is what it is, which its page tells beside.
    """
    newest = max((place for place, step in enumerate(life.steps) if step.decision_id), default=None)
    return [
        Step(
            _title(step, life.status),
            step.at,
            tuple(
                words
                for words in _words(step, operator, centres, is_newest=place == newest)
                if words and words != reason
            ),
            step.is_done,
            step.event,
            step.decision_id,
        )
        for place, step in enumerate(life.steps)
    ]


def account_of(life: WorkloadLife) -> LifeStep | None:
    """What its run came to, where that is known."""
    return next((step for step in reversed(life.steps) if step.step is StepKind.ACCOUNTED and step.is_done), None)


def _title(step: LifeStep, status: WorkloadStatus) -> str:
    if step.step is StepKind.CHANGED:
        return (step.event_type or "changed").replace("workload.", "").replace(".", " ").capitalize()
    if step.step is StepKind.ENDED and step.is_done and status in AT_ITS_END:
        return status_words(status).capitalize()
    return _TITLES[step.step] if step.is_done else _TITLES_TO_COME.get(step.step, _TITLES[step.step])


def _words(step: LifeStep, operator: str | None, centres: Mapping[str, str], *, is_newest: bool) -> tuple[str, ...]:
    """Line by line. The reasons of the newest decision stand beside its life, those of earlier ones only here."""
    place = "" if step.dc_id is None else f"in {short_name(centres.get(step.dc_id, step.dc_id))} ({step.dc_id})"
    window = "" if step.starts_at is None or step.ends_at is None else span_words(step.starts_at, step.ends_at)
    if step.step is StepKind.SUBMITTED:
        return (f"by {operator}" if operator else "",)
    if not step.is_done:
        return (_expected(step), place if step.step is StepKind.STARTED else "")
    if step.step is StepKind.DECIDED:
        chosen = sentence(place) if place else "No place yet"
        return (f"{chosen}, by the {step.scorer} scorer", "" if is_newest else step.reason or "")
    if step.step is StepKind.HELD:
        power = figure(step.it_power_kw, "kW", 2)
        return (f"{power} of IT power {place} {_BOOKING_SOURCES.get(step.source or '', '')}".rstrip(), window)
    if step.step is StepKind.METERED:
        half_hours = f"{step.half_hours} half-hour{'' if step.half_hours == 1 else 's'}"
        return (f"{kilowatt_hours(step.energy_kwh)} in {half_hours}, {_READING_SOURCES.get(step.source or '', '')}",)
    if step.step is StepKind.ACCOUNTED:
        return _account(step)
    return (place, window, step.reason or "")


def _expected(step: LifeStep) -> str:
    """Of a step that is to come, whether its time is known."""
    if step.step is StepKind.DECIDED:
        return "waits for a gateway"
    return "" if step.at is not None else "not yet"


def _account(step: LifeStep) -> tuple[str, ...]:
    came = f"{kilowatt_hours(step.energy_kwh)}, {grams(step.carbon_gco2)} CO₂, {pounds(step.cost_gbp)}"
    beside = ""
    if step.run_now_carbon_gco2 is not None or step.run_now_cost_gbp is not None:
        beside = f"without a decision: {grams(step.run_now_carbon_gco2)} CO₂, {pounds(step.run_now_cost_gbp)}"
    return (came, beside, "" if step.is_final else "its figures may still be revised")
