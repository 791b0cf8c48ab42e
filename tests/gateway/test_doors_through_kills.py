"""The three doors to the events, while the gateway is killed again and again: each brings the log, whole and once."""

from __future__ import annotations

import re
import signal
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests

from database.interface import OrderBy
from database.postgres import PostgresDatabase
from new_database import as_url
from server_process import ServerProcess, free_port
from sse_reader import SseReader

TOPICS = ["decisions", "grid", "orders"]
ROUNDS = 4
WANTED = ROUNDS * 3 * 5
WITHIN_S = 90


def python_client() -> Any:
    """The client of docs/websocket.md, which comes back by itself."""
    document = (Path(__file__).resolve().parents[2] / "docs" / "websocket.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["events"]


@pytest.mark.thorough
def test_all_doors_bring_the_same_while_the_gateway_is_killed(
    postgres: PostgresDatabase, conninfo: str, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "DATABASE_URL": as_url(conninfo),
        "BG_PORT": str(port),
        "PYLON_DATA_DIR": str(tmp_path),
        "BECKN_BG_URL": f"http://127.0.0.1:{port}/beckn",
        "BG_POLL_SECONDS": "0.5",
    }

    def start() -> ServerProcess:
        gateway = ServerProcess("BG.py", tmp_path / "gateway.log", environment, port=port)
        gateway.wait_until_serving()
        return gateway

    by_websocket: list[tuple[int, str]] = []

    def listen() -> None:
        events = python_client()(f"ws://127.0.0.1:{port}/stream", TOPICS, after=0)
        by_websocket.extend((event["sequence"], event["event"]) for event in islice(events, WANTED))

    gateway = start()
    path = f"/beckn/broadcast?after=0&topics={','.join(TOPICS)}"
    try:
        with SseReader(port, path=path, retries=True) as reader:
            listening = threading.Thread(target=listen, daemon=True)
            listening.start()
            for number in range(ROUNDS):
                for event_type in ("decision", "grid.updated", "workload.started", "order.confirmed") * 5:
                    told = {
                        "p_tenant": None,
                        "p_event_type": event_type,
                        "p_job_id": None,
                        "p_event": {"n": number},
                    }
                    postgres.call("log_event", told)
                if number < ROUNDS - 1:
                    gateway.process.send_signal(signal.SIGKILL)
                    gateway.process.wait()
                    gateway = start()
            reader.wait_for(WANTED, timeout_s=WITHIN_S)
            listening.join(WITHIN_S)
            polled: list[tuple[int, str]] = []
            after = 0
            while len(polled) < WANTED:
                page = requests.get(
                    f"http://127.0.0.1:{port}/beckn/broadcast/poll?after={after}&limit=7&topics={','.join(TOPICS)}",
                    timeout=20,
                ).json()
                polled += [(event["sequence"], event["type"]) for event in page["events"]]
                after = page["next"]
    finally:
        gateway.end()
    rows = postgres.select("broadcast_log", order=OrderBy(("sequence",)))
    log = [(row["sequence"], row["event_type"]) for row in rows if row["topic"] in TOPICS]
    assert len(log) == WANTED
    assert log == polled == by_websocket == [(event.id, event.type) for event in reader.events]
