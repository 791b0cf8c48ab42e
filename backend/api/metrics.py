"""The figures of the pipeline and its sources for a monitoring system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.metrics_core import Metric

from database.interface import Database
from grid.half_hours import from_rfc3339
from ingest.health import Health, read_health
from version import VERSION
from web.metrics import DatabaseFigures, gauge, labelled


def pipeline_figures(database: Database, clock: Callable[[], datetime]) -> DatabaseFigures:
    """The last run, its stages, how fresh each source is, and how many half-hours rest on which source."""
    return DatabaseFigures(lambda: _figures(read_health(database, now=clock(), version=VERSION)))


def execution_figures(database: Database, clock: Callable[[], datetime]) -> DatabaseFigures:
    """How many booked workloads wait, run and are due, and for how long the first of them has been due."""
    return DatabaseFigures(lambda: _execution_figures(database, clock()), says_so=False)


def _execution_figures(database: Database, now: datetime) -> Iterator[Metric]:
    found: dict[str, dict[str, float | None]] = database.call("bookings_health", {"p_now": now}, repeatable=True)
    for figure, about in (
        ("held", "Bookings whose runs are yet to start, by who carries them out"),
        ("running", "Bookings that run, by who carries them out"),
        ("due", "Bookings that are to be started or ended by now, by who carries them out"),
        ("overdue_seconds", "For how long the booking that is due first has been due, with nobody on it"),
    ):
        by_whom = ((name, figures[figure]) for name, figures in found.items())
        yield labelled(f"pylon_bookings_{figure}", about, "carried_out_by", by_whom)


def _figures(health: Health) -> Iterator[Metric]:
    yield gauge("pylon_serving", "Whether there is data to serve (ok or degraded)", health.serves())
    yield gauge(
        "pylon_signal_age_seconds", "Time since the newest signal was fetched", health.newest_signal_age_seconds
    )
    yield gauge(
        "pylon_current_half_hour_known", "Whether the present half-hour is known", health.current_half_hour_known
    )
    yield gauge("pylon_pipeline_running", "Whether a run is in progress", health.pipeline_running)
    run = health.last_run
    if run is not None:
        yield gauge("pylon_pipeline_last_run_timestamp_seconds", "End of the last run", run.finished_at.timestamp())
        yield gauge("pylon_pipeline_last_run_failed", "Whether the last run failed", run.state == "failed")
        yield labelled(
            "pylon_pipeline_stage_seconds",
            "How long each stage of the last run took",
            "stage",
            ((stage, milliseconds / 1000) for stage, milliseconds in run.stages_ms.items()),
        )
    yield labelled(
        "pylon_source_up",
        "Whether each source answered in the last run",
        "source",
        ((name, source.state == "fresh") for name, source in health.sources.items() if source.state != "off"),
    )
    yield labelled(
        "pylon_source_last_success_timestamp_seconds",
        "When each source last answered",
        "source",
        (
            (name, from_rfc3339(source.last_success_at).timestamp() if source.last_success_at else None)
            for name, source in health.sources.items()
        ),
    )
    half_hours: dict[str, int] = {}
    for figure in health.figures:
        for source, count in figure.sources.items():
            half_hours[source] = half_hours.get(source, 0) + count
    yield labelled(
        "pylon_signal_half_hours",
        "Half-hours of all signals, over the next 48 hours, by where they come from",
        "source",
        half_hours.items(),
    )
