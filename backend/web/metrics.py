"""What a monitoring system reads of a server: `GET /metrics`, in Prometheus' text format.

Each application has a registry of its own, with the times of its requests and whatever its parts register.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Response, request
from flask_openapi3.openapi import OpenAPI
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from database.errors import DatabaseError

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

METRICS_PATH = "/metrics"
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROUTE = "pylon.route"
OTHER_ROUTE = "other"
"""Where no endpoint was found: what strangers ask for is no label."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "OTHER"
"""Any other method: strangers invent them, and each label would be kept for ever."""


class DatabaseFigures(Collector):
    """Figures that are read from the database when they are asked for. Without it there are none, which is said."""

    def __init__(self, read: Callable[[], Iterable[Metric]], *, says_so: bool = True) -> None:
        """`read` may raise DatabaseError; of several on one page one says whether the database answered."""
        self._read = read
        self._says_so = says_so

    def collect(self) -> Iterator[Metric]:
        try:
            figures = list(self._read())
        except DatabaseError as error:
            log.warning("the metrics lack the database's: %s", error)
            figures = []
        if self._says_so:
            yield gauge("pylon_database_up", "Whether the database answered", bool(figures))
        yield from figures


def gauge(name: str, about: str, value: float | None) -> GaugeMetricFamily:
    """A gauge without labels; one without a sample where the value is not known."""
    family = GaugeMetricFamily(name, about)
    if value is not None:
        family.add_metric([], value)
    return family


def labelled(name: str, about: str, label: str, values: Iterable[tuple[str, float | None]]) -> GaugeMetricFamily:
    """A gauge with a sample for each known value."""
    family = GaugeMetricFamily(name, about, labels=[label])
    for of, value in values:
        if value is not None:
            family.add_metric([of], value)
    return family


def serve_metrics(app: OpenAPI, *collectors: Collector) -> None:
    """Have the application time its requests and answer `GET /metrics`, with the collectors' figures too."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    app.wsgi_app = _TimedRequests(app, app.wsgi_app, registry)  # type: ignore[method-assign]

    @app.url_value_preprocessor
    def _note_route(_: str | None, __: dict[str, Any] | None) -> None:
        request.environ[ROUTE] = OTHER_ROUTE if request.url_rule is None else request.url_rule.rule

    @app.route(METRICS_PATH)
    def _metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _TimedRequests:
    """Notes of each request how long it took until its answer began, by endpoint, method and status."""

    def __init__(self, app: OpenAPI, application: WSGIApplication, registry: CollectorRegistry) -> None:
        self._app = app
        self._application = application
        self._routes: frozenset[str] | None = None
        self._seconds = Histogram(
            "pylon_http_request_seconds",
            "Time from a whole request to the beginning of its answer",
            ("method", "route", "status"),
            registry=registry,
            buckets=REQUEST_BUCKETS_S,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        statuses: list[str] = []

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            statuses.append(status[:3])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        answer = self._application(environ, start)
        if statuses:
            method = environ["REQUEST_METHOD"]
            labels = method if method in METHODS else OTHER_METHOD, self._route_of(environ), statuses[-1]
            self._seconds.labels(*labels).observe(time.perf_counter() - began)
        return answer

    def _route_of(self, environ: WSGIEnvironment) -> str:
        if ROUTE in environ:
            return str(environ[ROUTE])
        if self._routes is None:  # the request never came to the application: its path is all there is
            self._routes = frozenset(rule.rule for rule in self._app.url_map.iter_rules())
        path = environ["PATH_INFO"]
        return path if path in self._routes else OTHER_ROUTE
