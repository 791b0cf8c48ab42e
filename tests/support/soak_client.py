"""The well-behaved client of the soak: it uses each server as its documentation says, and waits for each answer."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from beckn.buying.messages import Transaction
from beckn.buying.platform import Buyer, NotAnswered
from beckn_orders import a_workload
from server_process import ServerProcess
from soak_tally import Tally
from sse_reader import SseReader

WHO = "well-behaved"
PATIENCE_S = 30.0
SEARCH_ANSWERED_WITHIN_S = 30.0


@dataclass
class WellBehaved:
    """REST, polling and Beckn, each in a thread until `stopping`; the stream is read by `reader`.

    `headers` say who it is, where several operators share the servers; they name their jobs alike.
    """

    api: ServerProcess
    gateway: ServerProcess
    provider: ServerProcess
    buyer: Buyer
    reader: SseReader
    tally: Tally
    stopping: threading.Event
    headers: dict[str, str] = field(default_factory=dict)
    submitted_at: dict[str, float] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def decided(self) -> set[str]:
        """The jobs that its stream has brought decisions of."""
        return {event.data["task"]["job_id"] for event in list(self.reader.events)}

    def loops(self) -> list[Callable[[], None]]:
        return [
            lambda: self._repeat(self._use_the_api, pause_s=0.4),
            lambda: self._repeat(self._poll, pause_s=0.4),
            lambda: self._repeat(self._look_after_all, pause_s=1.0),
            lambda: self._repeat(self._search, pause_s=3.0),
            lambda: self._repeat(self._submit, pause_s=2.0),
        ]

    def _repeat(self, work: Callable[[], None], *, pause_s: float) -> None:
        while not self.stopping.wait(pause_s):
            work()

    def _use_the_api(self) -> None:
        self._ask("GET", self.api, "/api/v1/grid/regional")
        self._ask("GET", self.api, "/api/v1/live-state?objects=DataCentre")
        self._ask("GET", self.api, "/api/v1/objects/Region/13")
        wanted = {"workload_type": "TRAINING_RUN", "required_gpu_mins": 600, "deferral_window_mins": 240}
        self._ask("POST", self.api, "/api/v1/plan", wanted)

    def _poll(self) -> None:
        answer = self._ask("GET", self.gateway, "/beckn/llm-output")
        if answer is None or answer.status_code != 200:
            return
        job_id = answer.json().get("task", {}).get("job_id")
        if job_id:
            self._ask("POST", self.gateway, "/beckn/llm-output/acknowledge", {"task_id": job_id})

    def _look_after_all(self) -> None:
        for server in (self.api, self.gateway, self.provider):
            self._ask("GET", server, "/health")

    def _submit(self) -> None:
        job_id = f"soak-{next(self._numbers)}"
        workload = {
            "job_id": job_id,
            "workload_type": "FINE_TUNING",
            "urgency": "LOW",
            "required_gpu_mins": 60,
            "deferral_window_mins": 240,
        }
        at = time.monotonic()
        answer = self._ask("POST", self.api, "/api/v1/workloads", workload)
        if answer is not None and answer.status_code == 201:
            self.submitted_at[job_id] = at

    def _search(self) -> None:
        """A search at the gateway, and what the provider has."""
        deal = Transaction(a_workload(job_id=f"search-{next(self._numbers)}"))
        at = time.monotonic()
        try:
            message_id = self.buyer.search(deal, f"{self.gateway.url}/beckn")
            self.tally.waited("beckn: search acknowledged", time.monotonic() - at)
            self.buyer.options(message_id, SEARCH_ANSWERED_WITHIN_S)
            self.tally.waited("beckn: search to catalogue", time.monotonic() - at)
        except NotAnswered as failed:
            self.tally.offence(f"{WHO}: a search was not answered: {failed}")

    def _ask(
        self, method: str, server: ServerProcess, path: str, document: object = None
    ) -> requests.Response | None:
        """The answer, or None and an offence."""
        name = {self.api.url: "api", self.gateway.url: "gateway", self.provider.url: "provider"}[server.url]
        what = f"{name}: {method} {path.partition('?')[0]}"
        at = time.monotonic()
        try:
            answer = requests.request(
                method, server.url + path, json=document, headers=self.headers, timeout=PATIENCE_S
            )
        except requests.RequestException as failed:
            self.tally.waited(what, time.monotonic() - at)
            self.tally.offence(f"{WHO}: {what} failed: {failed}")
            return None
        self.tally.waited(what, time.monotonic() - at)
        self.tally.answered(WHO, what, answer.status_code, answer.headers)
        return answer
