"""How the data side is doing: the newest signals, the last run, each source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from half_hours import from_rfc3339
from ontology import Moment
from pipeline_sources import SourceState
from supabase_client import Database

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


class Health(BaseModel):
    """`ok` and `degraded` serve (200), `starting` and `stale` do not yet or no longer (503)."""

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

    def serves(self) -> bool:
        return self.state in {"ok", "degraded"}

    def explanation(self) -> str:
        """What a person should know when it does not serve."""
        if self.state == "starting":
            return "the first pipeline run has not finished yet"
        if self.last_run is not None and self.last_run.state == "failed":
            return f"the last pipeline run failed: {self.last_run.error}"
        if not self.current_half_hour_known:
            return "there is no signal for the present half-hour: the pipeline has not run for long"
        return f"the newest signal was fetched {self.newest_signal_age_seconds:.0f} s ago"


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
    sources = {} if last_run is None else last_run["sources"]
    known = found["current_signal"] is not None
    return Health(
        state=_state(
            known,
            last_run,
            None if newest is None else now - newest,
            running=found["running"] is not None,
            stale_after=stale_after,
        ),
        as_of=now,
        version=version,
        last_run=None if last_run is None else LastRun.model_validate(last_run),
        pipeline_running=found["running"] is not None,
        newest_signal_fetched_at=newest,
        newest_signal_age_seconds=None if newest is None else (now - newest).total_seconds(),
        current_half_hour_known=known,
        sources=sources,
    )


def _state(
    known: bool, last_run: Mapping[str, Any] | None, age: timedelta | None, *, running: bool, stale_after: timedelta
) -> Literal["ok", "degraded", "starting", "stale"]:
    if last_run is None and (age is None or running):
        return "starting"
    if age is None or not known or age > stale_after:
        return "stale"
    if last_run is None:  # the figures are of another origin, such as a back-fill
        return "ok"
    failing = any(source["state"] in {"stale", "failed"} for source in last_run["sources"].values())
    return "degraded" if failing or last_run["state"] == "failed" else "ok"
