"""The gateway as a process: starting, deciding, being killed, and ending."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from clock import utc_now
from database.embedded_database import EmbeddedDatabase
from database.interface import Database, OrderBy, Row
from database.postgres import PostgresDatabase
from database.schema import install_schema
from grid_world import store_world, submit, workload
from model_server import ModelServer, answer
from new_database import as_url
from running_gateway import workers_on
from server_process import BACKEND, ServerProcess, free_port, postgres_of
from sse_reader import SseReader

StartGateway = Callable[..., ServerProcess]


@contextmanager
def gateways(log_dir: Path, database: dict[str, str]) -> Iterator[StartGateway]:
    """Starts gateways over one database, with these settings and those of each call; ends them afterwards."""
    started: list[ServerProcess] = []

    def start(**settings: str) -> ServerProcess:
        port = int(settings.setdefault("BG_PORT", str(free_port())))
        server = ServerProcess("BG.py", log_dir / f"log-{len(started)}", {**database, **settings}, port=port)
        started.append(server)
        return server

    try:
        yield start
    finally:
        for server in started:
            server.end()


@pytest.fixture
def start_gateway(conninfo: str, tmp_path: Path) -> Iterator[StartGateway]:
    """Over a database of the test's own."""
    with gateways(tmp_path, {"DATABASE_URL": as_url(conninfo)}) as start:
        yield start


def port_of(server: ServerProcess) -> int:
    return int(server.url.rpartition(":")[2])


def decides(server: ServerProcess) -> bool:
    return server.get("/health").status_code == 200


def deciding_half(server: ServerProcess) -> psutil.Process:
    (child,) = psutil.Process(server.process.pid).children()
    return child


def notifications(database: Database) -> list[Row]:
    return database.select("workload_notifications", order=OrderBy(("notification_id",)))


def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_importing_it_patches_nothing_and_starts_nothing() -> None:
    program = (
        "import socket, threading; before = socket.socket, threading.Thread.start\n"
        "import BG; from gevent import monkey\n"
        "assert not monkey.saved and before == (socket.socket, threading.Thread.start)\n"
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", program], cwd=BACKEND, check=True, timeout=60)


def test_a_workload_becomes_a_decision_that_a_provider_sees_and_acknowledges(data_dir: Path, tmp_path: Path) -> None:
    with gateways(tmp_path, {"PYLON_DATA_DIR": str(data_dir)}) as start:
        gateway = start()
        gateway.wait_for(lambda: decides(gateway))
        database = EmbeddedDatabase(data_dir)
        store_world(database, utc_now(), data_centres=2)
        with SseReader(port_of(gateway)) as provider:
            submit(database, workload("train-1"))
            (event,) = provider.wait_for(1)
        assert (event.id, event.type, event.data["task"]["job_id"]) == (1, "decision", "train-1")
        assert len(event.data["data_centre_options"]) == 2
        newest = gateway.get("/beckn/llm-output").json()
        assert newest == {"status": "success", "output": event.data}
        acknowledged = requests.post(
            f"{gateway.url}/beckn/llm-output/acknowledge", json={"task_id": "train-1"}, timeout=10
        )
        assert acknowledged.json() == {"status": "success", "cleared": True}
        assert gateway.get("/beckn/llm-output").json()["status"] == "empty"
        assert [row["state"] for row in database.select("agent_states", order=OrderBy(("state_id",)))] == [
            "STARTED",
            "DETERMINISTIC",
        ]
        began = time.monotonic()
        with SseReader(port_of(gateway)) as idle:
            assert gateway.end(signal.SIGINT) == 0
            idle.wait_until(lambda: idle.ended)
        assert time.monotonic() - began < 25  # it would be killed after 30
        states = database.select("agent_states", order=OrderBy(("state_id",)))
        assert states[-1]["state"] == "STOPPED"
        database.close()
    assert "Traceback" not in gateway.log
    assert gateway.log.rstrip().endswith("stopped")


def test_ending_gives_back_what_is_in_hand(start_gateway: StartGateway, postgres: PostgresDatabase) -> None:
    store_world(postgres, utc_now())
    with ModelServer(then=answer("too late", wait_s=20)) as model:
        gateway = start_gateway(GEMINI_API_KEY="a-key", GEMINI_BASE_URL=model.url, BG_WORKERS="3")
        gateway.wait_for(lambda: decides(gateway))
        submit(postgres, *(workload(f"job-{number}") for number in range(3)))
        until(lambda: len(model.requests) == 3)
        health = gateway.get("/health").json()
        assert (health["queue"]["in_flight"], health["queue"]["depth"]) == (3, 0)
        assert health["deciding"]["model"]["name"] == "gemini-3.8-flash"
        assert gateway.get("/beckn/context").json()["state"] == "in_work"
        assert gateway.end(signal.SIGTERM, timeout_s=15) == 0
    assert [(row["work_state"], row["attempt"]) for row in notifications(postgres)] == [("available", 0)] * 3
    assert workers_on(postgres, clock=utc_now).work_once() == 3  # another takes them at once


def test_when_one_half_is_killed_the_work_goes_on(start_gateway: StartGateway, postgres: PostgresDatabase) -> None:
    store_world(postgres, utc_now())
    gateway = start_gateway()
    gateway.wait_for(lambda: decides(gateway))
    # The deciding half: it is started again.
    deciding_half(gateway).kill()
    gateway.wait_for(lambda: gateway.get("/health").json()["state"] == "stopped")
    submit(postgres, workload("first"))
    with SseReader(port_of(gateway), path="/beckn/broadcast?after=0") as reader:
        reader.wait_for(1, timeout_s=60)
    # The serving half: the other one ends by itself, and leaves its work to another gateway.
    other = deciding_half(gateway)
    gateway.end(signal.SIGKILL)
    other.wait(timeout=20)
    submit(postgres, workload("second"))
    successor = start_gateway()
    with SseReader(_serving(successor), last_event_id=1) as reader:
        (event,) = reader.wait_for(1, timeout_s=60)
    assert (event.id, event.data["task"]["job_id"]) == (2, "second")


def _serving(gateway: ServerProcess) -> int:
    gateway.wait_until_serving()
    return port_of(gateway)


def test_what_keeps_it_from_starting_is_said_in_one_line(start_gateway: StartGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            ({"BG_PORT": str(port)}, f"cannot listen on 127.0.0.1:{port}: Address already in use"),
            ({"BG_WORKERS": "many"}, "BG_WORKERS='many' is refused"),
            ({"BG_HOST": "0.0.0.0"}, "set PYLON_API_KEY too"),
            ({"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"}, "PostgreSQL does not answer"),
        ]
        started = [(start_gateway(**settings), expected) for settings, expected in cases]
        for gateway, expected in started:
            assert gateway.process.wait(timeout=60) == 1
            lines = [line for line in gateway.log.splitlines() if "INFO" not in line]
            assert len(lines) == 1, gateway.log
            assert "not started: " in lines[0]
            assert expected in lines[0]


POLLED = ("/health", "/beckn/llm-output", "/beckn/broadcast/poll", "/beckn/context", "/beckn/catalog")


@pytest.mark.thorough
def test_streams_outlive_a_database_that_is_silent_for_ten_seconds(data_dir: Path, tmp_path: Path) -> None:
    database = EmbeddedDatabase(data_dir)
    install_schema(database)
    store_world(database, utc_now())
    with gateways(tmp_path, {"PYLON_DATA_DIR": str(data_dir)}) as start, ThreadPoolExecutor(60) as pool:
        gateway = start()
        gateway.wait_for(lambda: decides(gateway))
        with SseReader(port_of(gateway)) as early, SseReader(port_of(gateway)) as idle:
            submit(database, workload("before"))
            early.wait_for(1)
            comments = idle.comments
            with _stopped(data_dir):
                began = time.monotonic()
                # More at once than there are threads to ask the database in.
                asked = [pool.submit(gateway.get, path, timeout_s=20) for path in POLLED * 12]
                with SseReader(port_of(gateway)) as late:  # connects while the database is away
                    for answer_ in asked:
                        _assert_says_try_again(answer_.result())
                    assert gateway.get("/", timeout_s=5).status_code == 200
                    time.sleep(max(0, began + 10 - time.monotonic()))
                    assert [reader.ended for reader in (early, idle, late)] == [False] * 3
                    idle.wait_until(lambda: idle.comments > comments)
            submit(database, workload("after"))
            for reader in (early, idle):
                reader.wait_for(2, timeout_s=60)
                assert reader.ids == [1, 2]
                assert reader.connections == 1
        gateway.wait_for(lambda: decides(gateway))
        assert gateway.get("/beckn/llm-output/history").json()["count"] == 2
    database.close()


def _assert_says_try_again(answer: requests.Response) -> None:
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "the database" in answer.json()["detail"]


@contextmanager
def _stopped(data_dir: Path) -> Iterator[None]:
    """The embedded server and all its sessions, stopped until the end of the block."""
    server = postgres_of(data_dir)
    assert server is not None
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
