"""Which WSGI server should answer? CPU time per request of our API on each, and of a bare Flask hello beside it.

    .venv/bin/pip install granian waitress gunicorn        (only to compare)
    make bench NAME=serving ARGS="--requests 2000"

Every server runs in a process of its own, on a free port of 127.0.0.1, over one embedded database.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import psutil
from flask import Flask
from machine import machine

CLIENTS = 4
REQUESTS_TO: dict[str, str] = {
    "bare Flask hello": "/hello",
    "GET /api/v1/grid/regional": "/api/v1/grid/regional",
    "GET /api/v1/objects/DataCentre": "/api/v1/objects/DataCentre",
    "GET /api/v1/live-state": "/api/v1/live-state",
}


@contextmanager
def kept_application() -> Iterator[Flask]:
    """The same for our own server, which says when it has ended."""
    yield application()


def application() -> Flask:
    """The API over the benchmark's database, with a bare hello beside it."""
    from api_application import create_app
    from database.opening import open_database
    from settings import load_settings

    settings = load_settings()
    app = create_app(open_database(settings), settings)
    app.add_url_rule("/hello", view_func=lambda: {"hello": "world"})
    return app


def _ours(port: int) -> None:
    from web.serving_process import serve

    serve("serving:kept_application", "127.0.0.1", port)


def _granian(port: int) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces

    Granian(
        "serving:application",
        factory=True,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        blocking_threads=16,
        backpressure=1024,
        log_enabled=False,
    ).serve()


def _waitress(port: int) -> None:
    import waitress

    waitress.serve(application(), host="127.0.0.1", port=port, threads=16)


def _gunicorn(port: int) -> None:
    os.execvp(
        sys.executable,
        [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "16", "-b", f"127.0.0.1:{port}",
         "--log-level", "error", "--no-control-socket", "serving:application()"],
    )  # fmt: skip


def _gevent(port: int) -> None:
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), application(), log=None).serve_forever()


def _werkzeug(port: int) -> None:
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application().run("127.0.0.1", port, threaded=True)


SERVERS: dict[str, Callable[[int], None]] = {
    "ours": _ours,
    "granian": _granian,
    "waitress": _waitress,
    "gunicorn-gthread": _gunicorn,
    "gevent": _gevent,
    "werkzeug": _werkzeug,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="to each endpoint on each server")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS), help="only these")
    parser.add_argument("--serve", nargs=2, metavar=("SERVER", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        SERVERS[options.serve[0]](int(options.serve[1]))
        return
    with tempfile.TemporaryDirectory(prefix="pylon-serving-") as folder:
        Path(folder).chmod(0o711)
        os.environ["PYLON_DATA_DIR"] = str(Path(folder) / "data")
        _compare(options.requests, options.servers)


def _compare(requests: int, servers: list[str]) -> None:
    from database.opening import open_database
    from ingest.run import run_once
    from settings import load_settings

    settings = load_settings()
    database = open_database(settings)
    try:
        run_once(database, settings, None, now=datetime.now(timezone.utc))
        print(f"{machine()}; {CLIENTS} clients, {requests} requests each row (live-state a tenth)\n")
        print("| server | request | CPU per request, µs | requests/s | p50 ms | p99 ms |")
        print("|---|---|---|---|---|---|")
        for server in servers:
            _measure_server(server, requests)
    finally:
        database.close()


def _measure_server(server: str, requests: int) -> None:
    port = _free_port()
    process = subprocess.Popen([sys.executable, __file__, "--serve", server, str(port)])
    try:
        _wait_for(port)
        for label, path in REQUESTS_TO.items():
            count = requests // 10 if "live-state" in label else requests
            _drive(port, path, 100 if count > 500 else 10)
            before = _cpu_seconds(process.pid)
            began = time.perf_counter()
            times = _drive(port, path, count)
            elapsed, cpu = time.perf_counter() - began, _cpu_seconds(process.pid) - before
            times.sort()
            print(
                f"| {server} | {label} | {cpu / len(times) * 1e6:.0f} | {len(times) / elapsed:.0f} "
                f"| {times[len(times) // 2] * 1000:.2f} | {times[int(len(times) * 0.99)] * 1000:.2f} |",
                flush=True,
            )
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()
        process.wait(timeout=20)


def _drive(port: int, path: str, count: int) -> list[float]:
    times: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(count // CLIENTS):
            began = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}")
            times.append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def _cpu_seconds(pid: int) -> float:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    # Not the database server, should this process have started it: it is nobody's child.
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/hello")
            connection.getresponse().read()
            connection.close()
            return
        except OSError:  # noqa: PERF203
            time.sleep(0.1)
    raise TimeoutError("the server did not start")


if __name__ == "__main__":
    main()
