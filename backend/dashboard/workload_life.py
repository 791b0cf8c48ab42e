"""One workload's life, from its submission to its account: what has happened, and what is still to come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from api.workloads import WorkloadRow
from dashboard.words import figure, grams, number, pounds, status_words
from ontology.types import MeterReading
from vocabulary import WorkloadStatus

OPEN_STATUSES = frozenset(WorkloadStatus) - {
    WorkloadStatus.COMPLETED,
    WorkloadStatus.FAILED,
    WorkloadStatus.CANCELLED,
}
"""Of workloads that are not at their end."""

_WH_PER_KWH = 1000


@dataclass(frozen=True)
class Step:
    """One thing in a workload's life. `at` is None where it has not happened or nobody knows when."""

    title: str
    at: datetime | None
    words: str
    is_done: bool


def life_of(row: WorkloadRow, readings: Sequence[MeterReading], now: datetime) -> list[Step]:
    """Its steps in order; those that are still to come last."""
    steps = [Step("Submitted", row.created_at, f"by {row.operator}" if row.operator else "", True), _decided(row)]
    if row.status is WorkloadStatus.CANCELLED and row.actual_start is None:
        return [*steps, Step("Cancelled", row.actual_end or row.updated_at, row.status_reason or "", True)]
    if row.scheduled_start is not None:
        place = f"in {row.host_dc_id}" if row.host_dc_id else ""
        steps.append(Step("Booked to start", row.scheduled_start, place, row.scheduled_start <= now))
    elif str(row.status).startswith("DEFERRED"):
        steps.append(Step(status_words(row.status).capitalize(), None, row.status_reason or "", False))
    steps.append(Step("Started", row.actual_start, "", row.actual_start is not None))
    steps.append(_ended(row))
    steps.append(_metered(readings))
    steps.append(_accounted(row))
    return steps


def _decided(row: WorkloadRow) -> Step:
    decision = row.decision
    if decision is None:
        return Step("Decided", None, "waits for a gateway", False)
    place = decision.chosen_dc_id or "no place yet"
    return Step("Decided", decision.decided_at, f"{place}, by the {decision.scorer} scorer", True)


def _ended(row: WorkloadRow) -> Step:
    if row.actual_end is None:
        return Step("Ended", None, "", False)
    words = "" if row.status is WorkloadStatus.COMPLETED else status_words(row.status)
    return Step("Ended", row.actual_end, ", ".join(filter(None, [words, row.status_reason])), True)


def _metered(readings: Sequence[MeterReading]) -> Step:
    if not readings:
        return Step("Metered", None, "no reading yet", False)
    energy_kwh = sum(reading.site_energy_wh for reading in readings) / _WH_PER_KWH
    sources = ", ".join(sorted({reading.source for reading in readings}))
    words = f"{figure(energy_kwh, 'kWh', 3)} in {len(readings)} half-hours ({sources})"
    return Step("Metered", max(reading.recorded_at for reading in readings), words, True)


def _accounted(row: WorkloadRow) -> Step:
    if row.actual_carbon_gco2 is None and row.actual_cost_gbp is None:
        return Step("Accounted", None, "", False)
    energy = "unknown" if row.actual_energy_kwh is None else f"{number(row.actual_energy_kwh, 3)} kWh"
    words = f"{energy}, {grams(row.actual_carbon_gco2)} CO₂, {pounds(row.actual_cost_gbp)}"
    return Step("Accounted", row.updated_at, words, True)
