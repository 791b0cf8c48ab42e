"""How long are the tools' definitions and answers, and how many calls a second does the MCP server take?

    make bench NAME=mcp_calls [ARGS="--seconds 5"]

An API server over an embedded database with the synthetic grid and eight data centres, the MCP server over HTTP in
front of it, and the SDK's own client. Needs `make agents`. Calls are made one after the other, and eight at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import requests
from gateways import free_port, percentile
from machine import machine
from mcp.client import Client

from agent_tools.definitions import compact_json, size

BACKEND = Path(__file__).resolve().parent.parent / "backend"
NOWHERE = "http://127.0.0.1:9"
AT_ONCE = 8
JOB = {"workload_type": "FINE_TUNING", "required_gpu_mins": 960, "deferral_window_mins": 720}
CALLS: dict[str, dict[str, Any]] = {
    "grid_now": {"region_id": 13},
    "grid_forecast": {"region_id": 13, "hours": 48},
    "find_green_window": {"duration_minutes": 120, "region_ids": [1, 7, 13]},
    "list_data_centres": {},
    "get_capacity": {"dc_id": "DC-001", "hours": 48},
    "plan_workload": JOB,
    "plan_batch": {"workloads": [{"job_id": f"j-{n}", **JOB} for n in range(50)], "time_limit_s": 3},
    "get_savings": {},
    "get_flexibility": {},
    "get_negotiations": {},
    "find_objects": {"object_type": "DataCentre", "limit": 20},
    "follow_link": {"object_type": "Region", "object_id": "13", "link_type": "MEASURED_IN", "limit": 20},
}
TIMED = ("grid_now", "find_green_window", "plan_workload")


@contextmanager
def started(program: str, *arguments: str, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, str(BACKEND / program), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_for(url: str, within_s: float = 90) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if requests.get(url, timeout=5).status_code in {200, 400, 405, 406}:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)


async def measured(url: str, seconds: float) -> None:
    async with Client(url) as client:
        tools = (await client.list_tools()).tools
        wire = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
        print(f"definitions of {len(tools)} tools: {len(compact_json(wire).encode()):,} bytes\n")
        print("| tool | answer, bytes |\n|---|---|")
        for name, arguments in CALLS.items():
            result = await client.call_tool(name, arguments)
            assert not result.is_error, (name, result.content)
            print(f"| {name} | {size(result.structured_content):,} |")
        print(f"\n| tool | one after the other, ms: median | p99 | calls/s, {AT_ONCE} at once |\n|---|---|---|---|")
        for name in TIMED:
            alone = await _timed(client, name, seconds, 1)
            together = await _timed(client, name, seconds, AT_ONCE)
            print(
                f"| {name} | {1000 * median(alone):.1f} | {1000 * percentile(alone, 0.99):.1f} "
                f"| {len(together) / seconds:.0f} |"
            )


async def _timed(client: Client, name: str, seconds: float, at_once: int) -> list[float]:
    took_s: list[float] = []
    until = time.monotonic() + seconds

    async def call() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            result = await client.call_tool(name, CALLS[name])
            took_s.append(time.monotonic() - began)
            assert not result.is_error

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(call)
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    api_port, mcp_port = free_port(), free_port()
    sources = dict.fromkeys(("CARBON_INTENSITY_URL", "NESO_URL", "ELEXON_URL"), NOWHERE)
    url = f"http://127.0.0.1:{api_port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        started("api_server.py", PYLON_DATA_DIR=folder, API_PORT=str(api_port), **sources),
    ):
        wait_for(f"{url}/api/v1/data-centres/DC-001/capacity")
        wait_for(f"{url}/health")
        with started("mcp_server.py", "--http", "--port", str(mcp_port), PYLON_URL=url):
            wait_for(f"http://127.0.0.1:{mcp_port}/mcp")
            print(machine())
            anyio.run(measured, f"http://127.0.0.1:{mcp_port}/mcp", options.seconds)


if __name__ == "__main__":
    main()
