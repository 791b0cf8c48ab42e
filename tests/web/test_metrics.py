"""Each server tells its figures in Prometheus' format, to those who may read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api_application import create_app
from beckn_orders import market
from database.errors import DatabaseUnreachable
from database.postgres import PostgresDatabase
from grid_upstreams import GridUpstreams
from grid_world import NOW, store_world, submit, workload
from ingest.run import run_once
from ingest.sources import Upstreams
from running_gateway import running_gateway, workers_on
from served import Client, served
from settings import load_settings
from web.application import make_application
from web.metrics import DatabaseFigures, gauge, serve_metrics

Figures = dict[str, dict[tuple[str, ...], float]]


def figures_of(client: Client, **options: object) -> Figures:
    """Samples by name and values of labels."""
    answer = client.get("/metrics", **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    found: Figures = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


@contextmanager
def server(*, collectors: tuple[DatabaseFigures, ...] = ()) -> Iterator[Client]:
    app = make_application("Measured", "", "0")

    @app.route("/things/<name>")
    def _thing(name: str) -> str:
        return name

    serve_metrics(app, *collectors)
    with served(app) as client:
        yield client


def test_requests_are_counted_by_endpoint_and_not_by_what_strangers_ask_for() -> None:
    with server() as client:
        for path in ("/things/1", "/things/2", "/wp-login.php", "/x" * 50):
            client.get(path)
        figures = figures_of(client)
    assert figures["pylon_http_request_seconds_count"] == {
        ("GET", "/things/<name>", "200"): 2,
        ("GET", "other", "404"): 2,
    }
    assert figures["process_resident_memory_bytes"][()] > 0


def test_methods_that_strangers_invent_are_counted_together() -> None:
    with server() as client:
        for method in ("BREW", "PROPFIND", "X" * 32):
            assert client.request(method, "/things/1").status_code == 405
        figures = figures_of(client)
    assert figures["pylon_http_request_seconds_count"] == {("OTHER", "other", "405"): 3}


def test_without_the_database_the_rest_is_told() -> None:
    def away() -> Iterator[Metric]:
        yield gauge("pylon_something", "", 1)
        raise DatabaseUnreachable("no answer")

    with server(collectors=(DatabaseFigures(away),)) as client:
        client.get("/things/1")
        figures = figures_of(client)
    assert figures["pylon_database_up"] == {(): 0}
    assert "pylon_something" not in figures
    assert "pylon_http_request_seconds_count" in figures


def test_the_api_tells_of_the_pipeline_and_its_sources(postgres: PostgresDatabase) -> None:
    with GridUpstreams(NOW) as apis:
        settings = apis.settings()
        upstreams = Upstreams(settings)
        run_once(postgres, settings, upstreams, now=NOW)
        upstreams.close()
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        figures = figures_of(client)
    assert figures["pylon_database_up"] == {(): 1}
    assert figures["pylon_pipeline_last_run_failed"] == {(): 0}
    assert ("fetch",) in figures["pylon_pipeline_stage_seconds"]
    assert set(figures["pylon_source_up"].values()) == {1}
    assert set(figures["pylon_source_last_success_timestamp_seconds"]) == set(figures["pylon_source_up"])
    assert figures["pylon_signal_half_hours"][("carbon_intensity_api",)] > 0


def test_the_gateway_tells_of_queue_decisions_streams_and_network(postgres: PostgresDatabase, tmp_path: Path) -> None:
    store_world(postgres)
    submit(postgres, workload("job-1"), workload("job-2"))
    workers = workers_on(postgres)
    with running_gateway(postgres, keys_dir=tmp_path, workers=workers) as gateway:
        before = figures_of(gateway.client)
        workers.work_once()
        submit(postgres, workload("job-3"))
        gateway.get("/beckn/llm-output")
        gateway.get("/beckn/llm-output")
        after = figures_of(gateway.client)
    assert (before["pylon_queue_depth"], after["pylon_queue_depth"]) == ({(): 2}, {(): 1})
    assert "pylon_decisions_total" not in before
    assert after["pylon_decisions_total"] == {("deterministic",): 2}
    assert after["pylon_decision_fallbacks_total"] == {(): 0}
    assert after["pylon_decision_seconds_count"] == {(): 2}
    assert after["pylon_decision_seconds_bucket"][("+Inf",)] == 2
    assert after["pylon_streams"] == {(): 0}
    assert after["pylon_beckn_messages"][("outbox", "waiting")] == 0
    assert after["pylon_http_request_seconds_count"][("GET", "/beckn/llm-output", "200")] == 2


def test_the_provider_tells_of_its_queues(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with market(postgres, tmp_path, start=False) as shop, served(shop.platform.app) as client:
        figures = figures_of(client)
    assert set(figures["pylon_beckn_oldest_waiting_seconds"]) == {("inbox",), ("outbox",)}


@pytest.mark.parametrize("given", ["abc-1.2_3", "", "x" * 65, "a b", "é"])
def test_a_request_has_the_id_that_it_brings_or_a_new_one(given: str) -> None:
    with server() as client:
        answer = client.get("/things/1", headers={"X-Request-ID": given.encode()})
    own = answer.headers["X-Request-ID"]
    assert (own == given) is (given == "abc-1.2_3")
    assert 0 < len(own) <= 64
