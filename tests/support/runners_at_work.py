"""A real API server and real runners with real commands: what is booked at DC-001 is run by processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg

from api_servers import StartServer, api_servers
from clock import utc_now
from database.interface import Database
from grid_world import data_centre, store_data_centres, store_grid
from runner_process import PROGRAM, RunnerProcess, eventually, running, write_configuration
from served import Client
from server_process import ServerProcess, free_port

NOTHING_INVENTED = {"SYNTHETIC_DATA_CENTRES": "0", "SYNTHETIC_WORKLOADS_PER_RUN": "0"}
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


@dataclass
class RunnersAtWork:
    """An API server, on one port however often it is started again, and runners of DC-001."""

    conninfo: str
    folder: Path
    reached_by: Mapping[str, str]
    settings: Mapping[str, str]
    start_server: StartServer
    at_the_end: ExitStack
    port: int = field(default_factory=free_port)
    server: ServerProcess | None = None

    @contextmanager
    def shift(self, folder: Path) -> Iterator[None]:
        """A test of its own: its runners are ended with the block, and the server serves at its beginning."""
        if self.server is None or self.server.process.poll() is not None:
            self.serve()
        with ExitStack() as at_the_end:
            self.folder, self.at_the_end = folder, at_the_end
            yield

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Client:
        client = Client(self.url)
        self.at_the_end.callback(client.close)
        return client

    def serve(self) -> ServerProcess:
        self.server = self.start_server(self.port, **NOTHING_INVENTED, **self.settings)
        self.server.wait_until_serving()
        return self.server

    def configuration(self, templates: Mapping[str, Any], name: str = "runner-1", **more: Any) -> Path:
        """A runner's file, in a directory of its own."""
        folder = self.folder / name
        folder.mkdir()
        return write_configuration(folder, self.url, templates, runner_id=name, take_over=True, **more)

    def runner(self, templates: Mapping[str, Any], name: str = "runner-1", **more: Any) -> RunnerProcess:
        """A runner that has registered, until the end of the test."""
        return self.run(self.configuration(templates, name, **more))

    def run(self, configuration: Path, program: Sequence[str] = PROGRAM) -> RunnerProcess:
        runner = self.at_the_end.enter_context(running(configuration, program=program))
        eventually(lambda: "registered as" in runner.log)
        return runner

    def workload(self, job_id: str) -> dict[str, Any]:
        return self._document(f"/api/v1/workloads/{job_id}")

    def report(self, job_id: str) -> dict[str, Any]:
        """What its runner has said of it."""
        return self._document(f"/api/v1/workloads/{job_id}/run")

    def wait_for(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Until a workload has one of these statuses."""
        eventually(lambda: self.workload(job_id)["status"] in statuses)
        return self.workload(job_id)

    def all_end(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self.wait_for(job_id, *ENDED)

    def metered_wh(self) -> tuple[Fraction, Fraction, Fraction]:
        """Site energy as workloads, as meters and as data centres have it."""
        sums = (
            "select coalesce(round(sum(actual_energy_kwh::numeric * 1000), 3), 0) from compute_workloads",
            "select coalesce(sum(site_energy_wh), 0) from meter_readings",
            "select coalesce(sum(site_energy_wh), 0) from data_centre_loads",
        )
        with psycopg.connect(self.conninfo, autocommit=True) as session:
            workloads, meters, centres = (Fraction(str(session.execute(each).fetchone()[0])) for each in sums)  # type: ignore[index]
        return workloads, meters, centres

    def _document(self, path: str) -> dict[str, Any]:
        answered = self.client.get(path)
        assert answered.status_code == 200, answered.text
        document: dict[str, Any] = answered.json()
        return document


@contextmanager
def runners_at_work(
    conninfo: str, database: Database, reached_by: Mapping[str, str], folder: Path, **settings: str
) -> Iterator[RunnersAtWork]:
    """A grid, a data centre and an API server that serves; everything is ended with the block."""
    store_grid(database, utc_now())
    store_data_centres(database, [data_centre(1)], utc_now())
    with api_servers(folder, dict(reached_by)) as start, ExitStack() as at_the_end:
        at_work = RunnersAtWork(conninfo, folder, reached_by, settings, start, at_the_end)
        at_work.serve()
        yield at_work
