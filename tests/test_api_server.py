"""The API server as a process: starting, serving, being killed, and ending."""

from __future__ import annotations

import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from server_process import NOWHERE, ServerProcess, free_port, postgres_of

StartServer = Callable[..., ServerProcess]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that the embedded server's own account can reach when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="pylon-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "data"


@pytest.fixture
def start_server(data_dir: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Starts API servers over one data directory, with no upstream to be had; ends them afterwards."""
    started: list[ServerProcess] = []

    def start(port: int | None = None, **settings: str) -> ServerProcess:
        number = port or free_port()
        environment = {
            "PYLON_DATA_DIR": str(data_dir),
            "API_PORT": str(number),
            "CARBON_INTENSITY_URL": NOWHERE,
            "NESO_URL": NOWHERE,
            "ELEXON_URL": NOWHERE,
            **settings,
        }
        server = ServerProcess("api_server.py", tmp_path / f"log-{len(started)}", environment, port=number)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()
    if (left := postgres_of(data_dir)) is not None:
        left.send_signal(signal.SIGINT)
        left.wait(timeout=30)


def first_run_done(server: ServerProcess) -> bool:
    return server.get("/health").status_code == 200


def test_it_serves_while_the_first_run_goes_on_and_says_so(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = start_server(CARBON_INTENSITY_URL=url, NESO_URL=url, ELEXON_URL=url)
        server.wait_until_serving()
        server.wait_for(lambda: server.get("/api/v1/live-state").json()["pipeline_running"])
        health = server.get("/health")
        assert health.status_code == 503
        assert health.headers["Content-Type"] == "application/problem+json"
        assert health.json()["state"] == "starting"
        assert len(server.get("/api/v1/live-state").json()["objects"]["Region"]) == 17
        assert server.end(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_asked_and_the_embedded_database_with_it(
    start_server: StartServer, data_dir: Path, number: signal.Signals
) -> None:
    server = start_server()
    server.wait_for(lambda: first_run_done(server))
    assert postgres_of(data_dir) is not None
    assert server.end(number) == 0
    assert server.log.rstrip().endswith("stopped")
    assert "Traceback" not in server.log
    assert postgres_of(data_dir) is None


def test_without_any_source_the_world_is_complete_and_says_that_it_is_synthetic(start_server: StartServer) -> None:
    server = start_server()
    server.wait_for(lambda: first_run_done(server))
    assert server.get("/health").json()["state"] == "degraded"
    regions = server.get("/api/v1/grid/regional").json()["regions"]
    assert len(regions) == 17
    assert {region["data_source"] for region in regions} == {"synthetic"}
    assert all(region["carbon_intensity_gco2"] is not None and region["generation_mix"] for region in regions)
    forecast = server.get("/api/v1/grid/forecast").json()["forecast"]
    assert len(forecast) == 96
    assert {signal_["price_source"] for signal_ in forecast} == {"synthetic"}


def test_an_occupied_port_is_told_in_one_line(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server(port)
        assert server.process.wait(timeout=30) == 1
    assert len(server.log.strip().splitlines()) == 1
    assert f"127.0.0.1:{port}" in server.log


def test_a_wrong_setting_is_told_in_one_line_that_names_it(start_server: StartServer) -> None:
    server = start_server(PIPELINE_INTERVAL_MINUTES="soon")
    assert server.process.wait(timeout=30) == 1
    assert len(server.log.strip().splitlines()) == 1
    assert "PIPELINE_INTERVAL_MINUTES='soon'" in server.log


def test_a_host_that_others_reach_needs_a_key(start_server: StartServer) -> None:
    server = start_server(API_HOST="0.0.0.0")
    assert server.process.wait(timeout=30) == 1
    assert "PYLON_API_KEY" in server.log


def test_a_data_directory_that_cannot_be_made_is_told_in_one_line(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    server = start_server(PYLON_DATA_DIR=str(tmp_path / "file" / "data"))
    assert server.process.wait(timeout=30) == 1
    assert len(server.log.strip().splitlines()) == 1
    assert "PYLON_DATA_DIR" in server.log


def test_two_servers_share_the_embedded_database_and_each_half_hour_is_run_once(start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    for server in servers:
        server.wait_for(lambda server=server: first_run_done(server))
    runs = [line for server in servers for line in server.log.splitlines() if " run slot=" in line]
    assert len([line for line in runs if "state=partial" in line]) == len(
        {line.split("slot=")[1][:20] for line in runs}
    )
    answers = [server.get("/api/v1/objects/DataCentre").json()["objects"] for server in servers]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 8


def test_a_killed_server_leaves_the_other_serving_and_its_port_free(start_server: StartServer) -> None:
    port = free_port()
    victim, survivor = start_server(port), start_server()
    for server in (victim, survivor):
        server.wait_for(lambda server=server: first_run_done(server))
    posted = requests.post(
        f"{victim.url}/api/v1/workloads", json={"job_id": "kept", "workload_type": "OTHER"}, timeout=10
    )
    assert posted.status_code == 201
    victim.end(signal.SIGKILL)
    assert survivor.get("/api/v1/workloads/kept").status_code == 200
    successor = start_server(port)
    successor.wait_until_serving()
    assert successor.get("/api/v1/workloads/kept").status_code == 200


def test_a_slot_abandoned_by_a_killed_server_is_taken_over_at_once(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        victim = start_server(CARBON_INTENSITY_URL=url)
        victim.wait_until_serving()
        victim.wait_for(lambda: victim.get("/api/v1/live-state").json()["pipeline_running"])
        victim.end(signal.SIGKILL)
    successor = start_server()
    successor.wait_for(lambda: first_run_done(successor))


def test_it_recovers_by_itself_when_the_database_is_killed_under_it(
    start_server: StartServer, data_dir: Path
) -> None:
    server = start_server()
    server.wait_for(lambda: first_run_done(server))
    requests.post(f"{server.url}/api/v1/workloads", json={"job_id": "kept", "workload_type": "OTHER"}, timeout=10)
    postmaster = postgres_of(data_dir)
    assert postmaster is not None
    postmaster.kill()
    statuses: set[int] = set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = server.get("/api/v1/workloads/kept", timeout_s=30)
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            break
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert statuses <= {200, 503}
    assert answer.status_code == 200
    assert "Traceback" not in server.log


def test_a_serving_process_that_dies_is_started_anew(start_server: StartServer) -> None:
    server = start_server()
    server.wait_for(lambda: first_run_done(server))
    serving = [child for child in psutil.Process(server.process.pid).children() if child.num_threads() > 1]
    for child in serving:
        child.kill()
    server.wait_until_serving()
    assert server.get("/api/v1/grid/regional").status_code == 200
