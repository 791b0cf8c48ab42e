"""A world of its own and gateways on it, for the gateway's benchmarks: an embedded database, offline, synthetic."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from database.interface import Database, OrderBy, Row
from database.opening import open_database
from ingest.run import run_once
from settings import load_settings

BACKEND = Path(__file__).resolve().parent.parent / "backend"
READY_WITHIN_S = 60.0


@contextmanager
def world(*, data_centres: int = 8) -> Iterator[Database]:
    """A database with the grid and some data centres, no workloads, which the processes started here share."""
    with tempfile.TemporaryDirectory(prefix="pylon-gateway-") as folder:
        Path(folder).chmod(0o711)
        os.environ.update(
            PYLON_DATA_DIR=str(Path(folder) / "data"),
            SYNTHETIC_DATA_CENTRES=str(data_centres),
            SYNTHETIC_WORKLOADS_PER_RUN="0",
        )
        settings = load_settings()
        database = open_database(settings)
        try:
            run_once(database, settings, None, now=datetime.now(timezone.utc))
            yield database
        finally:
            database.close()


@dataclass(frozen=True)
class Gateway:
    """A running `BG.py`."""

    pid: int
    port: int

    def get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@contextmanager
def gateway(*command: str, log: int | None = subprocess.DEVNULL) -> Iterator[Gateway]:
    """A gateway that serves and decides; `command` replaces `BG.py`."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *(command or (str(BACKEND / "BG.py"),))],
        env=os.environ | {"BG_PORT": str(port)},
        stderr=log,
    )
    try:
        running = Gateway(process.pid, port)
        _wait_until_healthy(running)
        yield running
    finally:
        process.terminate()
        process.wait(timeout=30)


def workload(job_id: str) -> Row:
    """Two hours of ten GPUs that may wait half a day."""
    return {
        "job_id": job_id,
        "workload_type": "TRAINING_RUN",
        "urgency": "MEDIUM",
        "required_gpu_mins": 1200,
        "carbon_cap_gco2": 400,
        "max_price_gbp": 100,
        "deferral_window_mins": 720,
    }


def sequences(database: Database) -> dict[str, int]:
    """The number of each job's newest event."""
    rows = database.select("broadcast_log", order=OrderBy(("sequence",)), columns=["sequence", "job_id"])
    return {row["job_id"]: row["sequence"] for row in rows}


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children. Not the database server's: it is nobody's child."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(running: Gateway) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if running.get("/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the gateway did not become ready")
