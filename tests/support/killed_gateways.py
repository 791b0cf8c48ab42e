"""Gateways as processes of their own that are killed, paused and started again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from decisions.work.worker import LEASE_SECONDS
from server_process import BACKEND, ServerProcess, free_port

GATEWAYS = 3
PAUSE_S = LEASE_SECONDS + 3


@dataclass
class Fleet:
    """Gateways on fixed ports, each started again when it was killed."""

    log_dir: Path
    settings: dict[str, str]
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(GATEWAYS)])
    earlier: dict[int, Path] = field(default_factory=dict)
    """The backends of the gateways that run an earlier program."""
    running: dict[int, ServerProcess] = field(default_factory=dict)
    paused: int | None = None
    kills: int = 0

    def start(self, port: int) -> None:
        settings = {**self.settings, "BG_PORT": str(port)}
        backend = self.earlier.get(port, BACKEND)
        self.running[port] = ServerProcess(
            "BG.py", self.log_dir / f"{port}.log", settings, port=port, backend=backend
        )

    def kill(self, port: int, which: str) -> None:
        """SIGKILL to the serving half, the deciding half, or both at once."""
        halves = _halves(self.running[port])
        for process in {"serving": halves[:1], "deciding": halves[1:], "both": halves}[which]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.kills += 1
        if which != "deciding":
            self.running[port].process.wait(timeout=30)
            self.start(port)

    def at_work(self) -> list[int]:
        """The gateways that serve and decide just now."""
        return [port for port in self.ports if port != self.paused and _is_at_work(port)]

    def pause(self, port: int) -> threading.Timer:
        """SIGSTOP to both halves, and SIGCONT when their leases have run out."""
        halves = _halves(self.running[port])
        for process in halves:
            process.suspend()
        self.paused = port

        def go_on() -> None:
            for process in halves:
                process.resume()
            self.paused = None

        timer = threading.Timer(PAUSE_S, go_on)
        timer.start()
        return timer

    def end(self) -> None:
        for server in self.running.values():
            server.process.send_signal(signal.SIGTERM)
        for server in self.running.values():
            assert server.process.wait(timeout=60) == 0


def _is_at_work(port: int) -> bool:
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/", timeout=0.5).json()
    except requests.RequestException:
        return False
    return bool(answer["deciding"]["running"])


def _halves(server: ServerProcess) -> list[psutil.Process]:
    serving = psutil.Process(server.process.pid)
    return [serving, *serving.children()]


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
