"""A server of runners in memory, over real HTTP: offers runs, hears of them, and can be told to be gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask import Flask, Response, request

from clock import utc_now
from execution.runner.protocol import Standing
from grid.half_hours import rfc3339
from served import served

PATIENCE_S = 60.0


@dataclass
class HeardOf:
    """What the server has heard of one run."""

    offer: dict[str, Any]
    holder: str | None = None
    begun: int = 0
    is_cancelled: bool = False
    beats: list[dict[str, Any]] = field(default_factory=list)
    given_back: dict[str, Any] | None = None
    finished: dict[str, Any] | None = None


class RunnerServer:
    """Its state. `url` is where it answers."""

    url = ""

    def __init__(self) -> None:
        self.runs: dict[int, HeardOf] = {}
        self.registrations: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.heartbeat_s = 0.2
        self.lost_after_s = 600.0
        self.ahead = timedelta(0)
        self.is_gone = False
        self._sessions: dict[str, str] = {}
        self._changed = threading.Condition()

    def offer(self, template: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Have a run that is due; its run_id."""
        with self._changed:
            run_id = len(self.runs) + 1
            now = utc_now()
            self.runs[run_id] = HeardOf(
                {
                    "run_id": run_id,
                    "fence": f"fence-{run_id}-1",
                    "job_id": f"job-{run_id}",
                    "template": template,
                    "parameters": dict(parameters or {}),
                    "starts_at": rfc3339(now),
                    "ends_at": rfc3339(now + timedelta(hours=1)),
                    "it_power_kw": 1.0,
                }
            )
            self._changed.notify_all()
            return run_id

    def cancel(self, run_id: int) -> None:
        with self._changed:
            self.runs[run_id].is_cancelled = True

    def fence(self, run_id: int) -> None:
        """From now on the run is nobody's who has it."""
        with self._changed:
            self.runs[run_id].offer["fence"] = f"fence-{run_id}-2"
            self.runs[run_id].holder = "nobody"

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Until something that a runner says makes the condition true."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), self.runs

    def outcome(self, run_id: int) -> dict[str, Any]:
        """What is reported of a run's end, when it is."""
        self.wait_for(lambda: self.runs[run_id].finished)
        return dict(self.runs[run_id].finished or {})

    def begun(self, run_id: int) -> None:
        self.wait_for(lambda: self.runs[run_id].begun)

    def now(self) -> datetime:
        return utc_now() + self.ahead

    # What it answers.

    def register(self, message: dict[str, Any]) -> dict[str, Any]:
        self.registrations.append(message)
        session = f"session-{len(self.registrations)}"
        self._sessions[message["runner_id"]] = session
        return {"session": session, "heartbeat_s": self.heartbeat_s, "lost_after_s": self.lost_after_s}

    def take(self, runner_id: str, message: dict[str, Any]) -> dict[str, Any] | Response:
        if self._sessions.get(runner_id) != message["session"]:
            return Response('{"detail": "another runner has registered"}', 409)
        ends_at = time.monotonic() + min(message["wait_s"], 1.0)
        while True:
            for run_id, run in self.runs.items():
                is_free = run.holder in {None, runner_id} and run.given_back is None and not run.begun
                if is_free and run.offer["template"] in message["templates"] and run_id not in message["holding"]:
                    run.holder = runner_id
                    return {"runs": [run.offer]}
            if self.is_gone or not self._changed.wait(max(0.0, ends_at - time.monotonic())):
                return {"runs": []}

    def about_run(self, runner_id: str, run_id: int, deed: str, message: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[run_id]
        if run.holder != runner_id or message["fence"] != run.offer["fence"]:
            return {"standing": Standing.FENCED}
        if deed == "begin":
            run.begun += 1
        elif deed == "heartbeat":
            run.beats.append(message)
        elif deed == "give-back":
            run.given_back = message
        else:
            run.finished = message
        return {"standing": Standing.CANCELLED if run.is_cancelled else Standing.HELD}

    def answer(self, deed: Callable[[], dict[str, Any] | Response]) -> Any:
        with self._changed:
            if self.is_gone:
                return Response('{"detail": "the database cannot be reached"}', 503)
            self.keys.add(request.headers.get("Authorization"))
            answered = deed()
            self._changed.notify_all()
        return answered if isinstance(answered, Response) else {"now": rfc3339(self.now()), **answered}


@contextmanager
def runner_server() -> Iterator[RunnerServer]:
    server = RunnerServer()
    app = Flask("runner_server")

    @app.post("/api/v1/runners")
    def register() -> Any:
        return server.answer(lambda: server.register(request.get_json()))

    @app.post("/api/v1/runners/<runner_id>/take")
    def take(runner_id: str) -> Any:
        return server.answer(lambda: server.take(runner_id, request.get_json()))

    @app.post("/api/v1/runners/<runner_id>/runs/<int:run_id>/<deed>")
    def about_run(runner_id: str, run_id: int, deed: str) -> Any:
        return server.answer(lambda: server.about_run(runner_id, run_id, deed, request.get_json()))

    with served(app) as client:
        server.url = client.url
        yield server
