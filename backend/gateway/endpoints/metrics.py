"""The gateway's figures for a monitoring system: queue, decisions, model, streams, network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from beckn.network.metrics import network_figures
from decisions.work.counts import BUCKETS_S, DecisionCounts
from gateway.decision_process import ModelReport
from gateway.endpoints.health import GatewayHealth
from web.metrics import DatabaseFigures, gauge


def gateway_figures(read_health: Callable[[], GatewayHealth]) -> DatabaseFigures:
    """What `/health` knows, as figures."""
    return DatabaseFigures(lambda: _figures(read_health()))


class DecisionFigures(Collector):
    """What the deciding process says that it did since it began."""

    def __init__(self, counts: Callable[[], DecisionCounts | None]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts()
        if counts is None:
            return
        decisions = CounterMetricFamily("pylon_decisions", "Published decisions by scorer", labels=["scorer"])
        for scorer, number in counts.by_scorer.items():
            decisions.add_metric([scorer], number)
        yield decisions
        yield _counter(
            "pylon_decision_fallbacks", "Decisions that the model was to judge and did not", counts.fallbacks
        )
        yield _counter("pylon_decision_failures", "Attempts that led to no decision", counts.failures)
        names = [*map(str, BUCKETS_S), "+Inf"]
        buckets = list(zip(names, accumulate(counts.within), strict=True))
        seconds = HistogramMetricFamily("pylon_decision_seconds", "Time from the claim to the publication")
        seconds.add_metric([], buckets, counts.total_s)
        yield seconds


def _figures(health: GatewayHealth) -> Iterator[Metric]:
    queue = health.queue
    yield gauge("pylon_queue_depth", "Notifications waiting", queue.depth)
    yield gauge("pylon_queue_oldest_seconds", "Age of the oldest one waiting", queue.oldest_waiting_seconds or 0)
    yield gauge("pylon_queue_in_flight", "Notifications that are being decided", queue.in_flight)
    yield gauge("pylon_queue_dead", "Notifications that failed for good", queue.dead)
    yield gauge("pylon_deciding", "Whether this gateway decides", health.deciding.running)
    yield gauge("pylon_signal_age_seconds", "Time since the newest signal was fetched", health.signals.age_seconds)
    yield gauge("pylon_signals_stale", "Whether signals are too old", health.signals.stale)
    yield gauge("pylon_streams", "Open event streams", health.streams.clients)
    yield gauge("pylon_newest_event", "Number of the newest event", health.streams.newest_event)
    yield gauge("pylon_following_events", "Whether the event log could be read last time", health.streams.following)
    if health.deciding.model is not None:
        yield from _model_figures(health.deciding.model)
    if health.network is not None:
        yield from network_figures(health.network)


def _model_figures(model: ModelReport) -> Iterator[Metric]:
    yield gauge(
        "pylon_model_left_alone",
        "Whether the model is not being asked for a while after failures",
        model.circuit_open,
    )
    yield _counter("pylon_model_answers", "Answers of the model", model.answers)
    yield _counter("pylon_model_failures", "Failures of the model", model.failures)
    tokens = CounterMetricFamily("pylon_model_tokens", "Tokens used by kind", labels=["kind"])
    for kind, number in model.tokens.items():
        tokens.add_metric([kind], number)
    yield tokens


def _counter(name: str, about: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, about, value=value)
