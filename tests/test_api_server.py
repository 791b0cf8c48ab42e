"""The API server as a process: starting, serving, being killed, and ending."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from api_servers import StartServer, api_servers, first_run_done
from database.embedded import EmbeddedPostgres
from new_database import as_url, new_database
from server_process import ServerProcess, data_directory, free_port, postgres_of


@pytest.fixture
def start_server(conninfo: str, tmp_path: Path) -> Iterator[StartServer]:
    """Over a database of the test's own, which is there already."""
    with api_servers(tmp_path, {"DATABASE_URL": as_url(conninfo)}) as start:
        yield start


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One for all, whose server is stopped at the end."""
    with data_directory() as data_dir:
        yield data_dir
        if (left := postgres_of(data_dir)) is not None:
            left.send_signal(signal.SIGINT)
            left.wait(timeout=30)


@pytest.fixture
def start_embedded(data_dir: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Over the embedded database, which the tests leave one after the other as they found it: stopped."""
    with api_servers(tmp_path, {"PYLON_DATA_DIR": str(data_dir)}) as start:
        yield start


@pytest.fixture(scope="module")
def running(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests that only ask it."""
    with (
        new_database(postgres_server) as conninfo,
        api_servers(tmp_path_factory.mktemp("running"), {"DATABASE_URL": as_url(conninfo)}) as start,
    ):
        server = start()
        server.wait_for(lambda: first_run_done(server))
        yield server


def submit(server: ServerProcess, job_id: str) -> None:
    workload = {"job_id": job_id, "workload_type": "OTHER"}
    assert requests.post(f"{server.url}/api/v1/workloads", json=workload, timeout=10).status_code == 201


def test_it_serves_while_the_first_run_goes_on_and_ctrl_c_waits_for_no_source(start_server: StartServer) -> None:
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
        assert server.end(signal.SIGINT, timeout_s=20) == 0
    assert "Traceback" not in server.log
    assert server.log.rstrip().endswith("stopped")


def test_without_any_source_the_world_is_complete_and_says_that_it_is_synthetic(running: ServerProcess) -> None:
    assert running.get("/health").json()["state"] == "degraded"
    regions = running.get("/api/v1/grid/regional").json()["regions"]
    assert len(regions) == 17
    assert {region["data_source"] for region in regions} == {"synthetic"}
    assert all(region["carbon_intensity_gco2"] is not None and region["generation_mix"] for region in regions)
    forecast = running.get("/api/v1/grid/forecast").json()["forecast"]
    assert len(forecast) == 96
    assert {signal_["price_source"] for signal_ in forecast} == {"synthetic"}


def test_it_says_when_the_pipeline_runs_next(running: ServerProcess) -> None:
    scheduler = running.get("/").json()["scheduler"]
    assert scheduler["state"] == "running"
    assert scheduler["next_run_at"][14:16] in {"04", "34"}


def test_clients_that_say_nothing_do_not_keep_others_out(running: ServerProcess) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(200)]
    for number, connection in enumerate(idle):
        connection.sendall(b"GET / HTT" if number % 2 else b"")
    assert running.get("/").status_code == 200
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    "request_text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/workloads HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/workloads HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{}",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
    ],
    ids=["TLS", "version", "length", "cut", "address", "header"],
)
def test_what_is_no_http_harms_nobody(running: ServerProcess, request_text: bytes) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(request_text)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except OSError:  # it hung up
            answer = b""
    assert not answer or answer.split(b" ")[1][:1] == b"4"
    assert b"Traceback" not in answer
    assert running.get("/").status_code == 200


def test_a_body_that_is_sent_in_chunks_is_read_to_its_end_or_refused_whole(running: ServerProcess) -> None:
    def post(padding: int) -> requests.Response:
        chunks = iter([b'{"workload_type":', b'"MINING"}', *[b" " * 1024] * padding])
        headers = {"Content-Type": "application/json"}
        return requests.post(f"{running.url}/api/v1/workloads", data=chunks, headers=headers, timeout=10)

    assert (post(1).status_code, post(1).json()["errors"][0]["field"]) == (422, "workload_type")
    assert (post(1023).status_code, post(1024).status_code, post(20_000).status_code) == (422, 413, 413)


def test_a_body_far_over_the_limit_is_413(running: ServerProcess) -> None:
    answer = requests.post(
        f"{running.url}/api/v1/workloads",
        data=b" " * 50_000_000,
        headers={"Content-Type": "application/json"},
        timeout=10,
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")


def test_head_and_options_answer_without_a_body_and_other_methods_are_405(running: ServerProcess) -> None:
    with requests.Session() as session:
        for _ in range(2):  # over one connection, which a body that should not be there would confuse
            head = session.head(f"{running.url}/health", timeout=10)
            assert (head.status_code, head.content, head.headers["Content-Type"]) == (200, b"", "application/json")
            options = session.options(f"{running.url}/health", timeout=10)
            assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
            refused = session.put(f"{running.url}/health", timeout=10)
            assert (refused.status_code, refused.headers["Content-Type"]) == (405, "application/problem+json")


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


def test_a_data_directory_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with api_servers(tmp_path, {"PYLON_DATA_DIR": str(tmp_path / "file" / "data")}) as start:
        server = start()
        assert server.process.wait(timeout=30) == 1
    assert len(server.log.strip().splitlines()) == 1
    assert "PYLON_DATA_DIR" in server.log


@pytest.mark.thorough
def test_a_slot_abandoned_by_a_killed_server_is_taken_over_at_once(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        victim = start_server(CARBON_INTENSITY_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        victim.wait_until_serving()
        victim.wait_for(lambda: victim.get("/api/v1/live-state").json()["pipeline_running"])
        victim.end(signal.SIGKILL)
    successor = start_server()
    successor.wait_for(lambda: first_run_done(successor))


def test_a_serving_process_that_dies_is_started_anew(running: ServerProcess) -> None:
    serving = [child for child in psutil.Process(running.process.pid).children() if child.num_threads() > 1]
    assert serving
    for child in serving:
        child.kill()
    running.wait_until_serving()
    assert running.get("/api/v1/grid/regional").status_code == 200


@pytest.mark.thorough
def test_servers_share_the_embedded_database_and_one_that_is_killed_takes_nothing_with_it(
    start_embedded: StartServer, data_dir: Path
) -> None:
    port = free_port()
    victim, survivor = start_embedded(port), start_embedded()
    for server in (victim, survivor):
        server.wait_for(lambda server=server: first_run_done(server))
    runs = [line for server in (victim, survivor) for line in server.log.splitlines() if " run slot=" in line]
    slots = {line.split("slot=")[1][:20] for line in runs}
    assert len([line for line in runs if "state=partial" in line]) == len(slots), "each half-hour is run once"
    centres = [server.get("/api/v1/objects/DataCentre").json()["objects"] for server in (victim, survivor)]
    assert (centres[0], len(centres[0])) == (centres[1], 8)

    submit(victim, "kept")
    victim.end(signal.SIGKILL)
    assert survivor.get("/api/v1/workloads/kept").status_code == 200
    successor = start_embedded(port)
    successor.wait_until_serving()
    assert successor.get("/api/v1/workloads/kept").status_code == 200

    assert successor.end(signal.SIGTERM) == 0
    assert postgres_of(data_dir) is not None, "the survivor still uses it"
    assert survivor.end(signal.SIGINT) == 0
    assert postgres_of(data_dir) is None
    for server in (successor, survivor):
        assert server.log.rstrip().endswith("stopped")
        assert "Traceback" not in server.log


@pytest.mark.thorough
def test_it_recovers_by_itself_when_the_database_is_killed_under_it(
    start_embedded: StartServer, data_dir: Path
) -> None:
    server = start_embedded()
    server.wait_for(lambda: first_run_done(server))
    submit(server, "acknowledged")
    postmaster = postgres_of(data_dir)
    assert postmaster is not None
    postmaster.kill()
    statuses: set[int] = set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = server.get("/api/v1/workloads/acknowledged", timeout_s=30)
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            break
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert statuses <= {200, 503}
    assert answer.status_code == 200
    submit(server, "afterwards")
    assert "Traceback" not in server.log
