"""The page for whoever runs the platform: queues, who decides, events, the pipeline's runs, sources and tenants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, Response
from markupsafe import Markup

from api.operations import read_operations
from api.pipeline_runs import PipelineRun, read_pipeline_runs
from api.queues import QueueName, read_queues
from dashboard.page import JsonLink, Pages
from dashboard.words import utc_words
from database.interface import Database
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of
from ingest.health import Health
from ingest.sources import SourceState
from tenancy.operators import all_operators

SLOTS_SHOWN = 48
QUEUE_WORDS = {
    QueueName.DECISIONS: "workloads to be decided",
    QueueName.INBOX: "Beckn messages that came in",
    QueueName.OUTBOX: "Beckn messages to be sent",
    QueueName.WEBHOOKS: "OpenADR webhooks to be sent",
}
DECIDERS = {
    "MODEL": "a model decides",
    "DETERMINISTIC": "no model decides",
    "STARTED": "starts",
    "STOPPED": "stopped",
}
MISSING = "none"
_STRIP_HEIGHT_PX = 26


@dataclass(frozen=True)
class SourceRow:
    """An upstream source after the last run."""

    name: str
    state: SourceState
    last_success_at: datetime | None


@dataclass(frozen=True)
class StageRow:
    """A stage of the newest run that has ended, and its share of the longest."""

    name: str
    milliseconds: float
    per_cent: float


def operation_pages(
    dashboard: Blueprint,
    pages: Pages,
    database: Database,
    clock: Callable[[], datetime],
    health: Callable[[], Health],
) -> None:
    """`/dashboard/operations`"""

    @dashboard.get("/operations")
    def operations() -> Response:
        now = clock()
        queues = read_queues(database)
        runs = read_pipeline_runs(database, SLOTS_SHOWN).runs
        ended = next((run for run in runs if run.finished_at is not None), None)
        return pages.page(
            "operations.html",
            "operations",
            "Operations",
            json=JsonLink("/api/v1/queues", "The queues as JSON"),
            behind=read_operations(database, now),
            queues=queues.queues,
            dead=queues.dead,
            queue_words=QUEUE_WORDS,
            deciders=DECIDERS,
            runs=runs,
            strip=draw_strip(runs, now),
            ended=ended,
            stages=[] if ended is None else stages_of(ended),
            sources=sources_of(health()),
            operators=all_operators(database),
            ages=lambda seconds: None if seconds is None else timedelta(seconds=seconds),
        )


def sources_of(health: Health) -> list[SourceRow]:
    """Every source, those that fail first."""
    order = ("failed", "stale", "fresh", "off")
    rows = [
        SourceRow(name, state, None if state.last_success_at is None else from_rfc3339(state.last_success_at))
        for name, state in health.sources.items()
    ]
    return sorted(rows, key=lambda row: (order.index(row.state.state), row.name))


def stages_of(run: PipelineRun) -> list[StageRow]:
    """A run's stages, the longest first."""
    longest = max(run.stages_ms.values(), default=0.0) or 1.0
    taken = sorted(run.stages_ms.items(), key=lambda stage: -stage[1])
    return [StageRow(name, ms, round(100 * ms / longest, 1)) for name, ms in taken]


def draw_strip(runs: Sequence[PipelineRun], now: datetime) -> Markup:
    """The last day as a strip, a box a half-hour: how its run ended, or that it had none."""
    first = half_hour_of(now) - (SLOTS_SHOWN - 1) * HALF_HOUR
    states = {run.slot: run.state for run in runs}
    slots = [states.get(first + number * HALF_HOUR, MISSING) for number in range(SLOTS_SHOWN)]
    counts = ", ".join(f"{slots.count(state)} {state}" for state in dict.fromkeys(slots))
    width = 100 / SLOTS_SHOWN
    boxes = [
        Markup('<rect class="slot-{}" x="{}%" y="1" width="{}%" height="{}"/>').format(
            state, round(number * width, 3), round(width * 0.86, 3), _height(state)
        )
        for number, state in enumerate(slots)
    ]
    sentence = f"Runs of the half-hours since {utc_words(first)}: {counts}"
    return Markup('<svg class="strip" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        _STRIP_HEIGHT_PX, sentence, Markup("").join(boxes)
    )


def _height(state: str) -> int:
    """Told by shape too: what is whole is tall, what lacks a source is half as tall."""
    return {"succeeded": 24, "running": 24, "partial": 13, "failed": 6}.get(state, 2)
