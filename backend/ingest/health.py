"""How the data side is doing: the newest signals, the last run, each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from database.interface import Database
from grid.half_hours import from_rfc3339, rfc3339
from grid.provenance import SignalName, in_a_row, invented_remark, modelled_remark, signal_title
from ingest.sources import NO_DECISION_RESTS_ON, SourceState
from ontology.types import Moment
from vocabulary import SignalSource

STALE_AFTER = timedelta(hours=2)
OVERDUE = timedelta(minutes=90)  # how late a run may be before its signals count as stale


class LastRun(BaseModel):
    """The pipeline's last finished run."""

    slot: Moment
    state: str
    started_at: Moment
    finished_at: Moment
    counts: dict[str, int]
    stages_ms: dict[str, float]
    error: str | None


class FigureOrigin(BaseModel):
    """Where one of the signals behind the decisions comes from, over the next 48 hours."""

    signal: SignalName
    region_id: int | None = Field(description="Region of a carbon intensity; null for national signals")
    region: str | None = Field(description="Its name")
    sources: dict[str, int] = Field(description="Half-hours by source", examples=[{"carbon_intensity_api": 96}])
    present_source: SignalSource | None = Field(description="Source of the present half-hour's figure")
    oldest_fetched_at: Moment | None = Field(
        description="When the oldest of its figures, or of those they are modelled on, was fetched; null if all are "
        "invented"
    )

    @property
    def title(self) -> str:
        return signal_title(self.signal, self.region_id, self.region)

    def faults(self, now: datetime) -> list[str]:
        """Why the signal is not as real as it ever is, as predicates.

        Half-hours ahead that are modelled on young figures are no fault: a source shortens its horizon now and then.
        """
        found = [invented_remark(self.sources)]
        if self.present_source is SignalSource.MODELLED:
            found.append(modelled_remark(self.signal, self.sources))
        if self.oldest_fetched_at is not None and now - self.oldest_fetched_at > STALE_AFTER:
            found.append(f"is stale, resting on figures fetched at {rfc3339(self.oldest_fetched_at)}")
        return [fault for fault in found if fault]


class Health(BaseModel):
    """`ok` and `degraded` serve (200); `starting` does not yet, and `stale` no longer does (503)."""

    state: Literal["ok", "degraded", "starting", "stale"]
    as_of: Moment
    version: str
    database: Literal["ok"] = "ok"
    last_run: LastRun | None
    pipeline_running: bool
    newest_signal_fetched_at: Moment | None
    newest_signal_age_seconds: float | None = Field(description="How long ago the newest signal was fetched")
    current_half_hour_known: bool = Field(description="Whether there is a signal for the present half-hour")
    sources: dict[str, SourceState] = Field(description="Every upstream source after the last run")
    figures: list[FigureOrigin] = Field(description="Where the figures behind the decisions come from")
    reasons: list[str] = Field(description="Why it is not ok: which sources fail, which figures are not real")

    def serves(self) -> bool:
        return self.state in {"ok", "degraded"}

    def explanation(self) -> str:
        """What a person should know when it does not serve."""
        if self.state == "starting":
            return "the first pipeline run has not finished yet"
        if self.last_run is not None and self.last_run.state == "failed":
            return f"the last pipeline run failed: {self.last_run.error}"
        if not self.current_half_hour_known:
            return "there is no signal for the present half-hour: the pipeline has not run for a long time"
        if self.newest_signal_age_seconds is None:
            return "no figure is real, and the pipeline has not run for a long time"
        return f"the newest signal was fetched {self.newest_signal_age_seconds:.0f} s ago"

    def with_troubles(self, troubles: Sequence[str]) -> Health:
        """The same with more that is wrong, in words."""
        if not troubles:
            return self
        state = "degraded" if self.state == "ok" else self.state
        return self.model_copy(update={"state": state, "reasons": [*self.reasons, *troubles]})

    def figure_reasons(self) -> list[str]:
        """Which of the figures that decisions are made from are not real, and which sources are away since when."""
        titles: dict[str, list[str]] = {}
        for figure in self.figures:
            for fault in figure.faults(self.as_of):
                titles.setdefault(fault, []).append(figure.title)
        reasons = [f"{in_a_row(each)}: {fault.removeprefix('is ')}" for fault, each in titles.items()]
        away = [
            f"{name} ({source.last_answer_in_words})"
            for name, source in self.sources.items()
            if source.state in {"stale", "failed"}
        ]
        return [*reasons, f"without an answer: {', '.join(away)}"] if reasons and away else reasons


def read_health(database: Database, *, now: datetime, version: str, stale_after: timedelta = STALE_AFTER) -> Health:
    """The state of things, in one call.

    Args:
        stale_after: an age of the newest signal that no working pipeline lets happen.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("system_health", {"p_now": now}, repeatable=True)
    newest = None if found["newest_fetch"] is None else from_rfc3339(found["newest_fetch"])
    last_run: dict[str, Any] | None = found["last_run"]
    health = Health(
        state="ok",
        as_of=now,
        version=version,
        last_run=None if last_run is None else LastRun.model_validate(last_run),
        pipeline_running=found["running"] is not None,
        newest_signal_fetched_at=newest,
        newest_signal_age_seconds=None if newest is None else (now - newest).total_seconds(),
        current_half_hour_known=found["current_signal"] is not None,
        sources={} if last_run is None else last_run["sources"],
        figures=[_figure_origin(row) for row in found["figures"]],
        reasons=[],
    )
    reasons = [*_run_reasons(health), *health.figure_reasons()]
    return health.model_copy(update={"state": _state(health, reasons, stale_after), "reasons": reasons})


def _figure_origin(row: Mapping[str, Any]) -> FigureOrigin:
    return FigureOrigin.model_validate({**row, "region": row["short_name"]})


def _run_reasons(health: Health) -> list[str]:
    """What went wrong in the last run for decisions. How each other source is stands beside its name alone."""
    if health.last_run is None:
        return []
    failed = [] if health.last_run.state != "failed" else [f"the last pipeline run failed: {health.last_run.error}"]
    failing = [
        name
        for name, source in health.sources.items()
        if source.state in {"stale", "failed"} and name not in NO_DECISION_RESTS_ON
    ]
    return [*failed, *(f"{name} failed in the last run: {health.sources[name].detail}" for name in failing)]


def _state(
    health: Health, reasons: Sequence[str], stale_after: timedelta
) -> Literal["ok", "degraded", "starting", "stale"]:
    last_run, age_s = health.last_run, health.newest_signal_age_seconds
    if last_run is None and (age_s is None or health.pipeline_running):
        return "starting"
    # With every source away a pipeline that works fetches nothing new, and still serves what it has.
    has_run = (
        last_run is not None
        and last_run.state in {"succeeded", "partial"}
        and health.as_of - last_run.slot <= stale_after
    )
    is_young = age_s is not None and age_s <= stale_after.total_seconds()
    if not health.current_half_hour_known or not (has_run or is_young):
        return "stale"
    return "degraded" if reasons else "ok"
