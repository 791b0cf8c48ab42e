"""A running API server for the benchmarks of the dashboard: its pages, without the pipeline's schedule."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from flask import Flask
from gateways import READY_WITHIN_S, free_port, gateway

from api_application import create_app
from database.opening import open_database
from settings import load_settings


@contextmanager
def application() -> Iterator[Flask]:
    """The API and its pages over the benchmark's database."""
    settings = load_settings()
    with closing(open_database(settings)) as database:
        yield create_app(database, settings)


@contextmanager
def dashboard() -> Iterator[tuple[int, int, int]]:
    """A gateway and a server whose pages follow it: the gateway's process and port, and the server's port."""
    port = free_port()
    os.environ["API_PORT"] = str(port)  # pages from there may listen to the gateway
    with gateway() as running:
        command = f"from web.serving_process import serve; serve('pages_server:application', '127.0.0.1', {port})"
        server = subprocess.Popen(
            [sys.executable, "-c", command],
            env=os.environ | {"BG_PORT": str(running.port)},
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_it_answers(port)
            yield running.pid, running.port, port
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/dashboard/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the API server did not become ready")
