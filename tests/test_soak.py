"""Five minutes of trouble: well-behaved clients are served beside strangers who are not, and nothing wears out.

Once with one tenant, who has no credential, and once with two, who name their jobs alike and hear of their own only.
Three servers over one embedded database, upstreams and a model on loopback. It ends by itself and ends only what it
started. `make soak` runs it; SOAK_SECONDS says for how long each time. Its figures are printed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from beckn.buying.platform import Buyer
from beckn.network.subscribers import Registry
from beckn_network import buyer, provider
from clock import utc_now
from database.embedded_database import EmbeddedDatabase
from database.interface import OrderBy
from database.schema import install_schema
from grid_upstreams import GridUpstreams
from model_server import ModelRequest, ModelServer, Reply, good
from server_process import ServerProcess, free_port
from soak_client import WellBehaved
from soak_strangers import FloodingBuyer, Strangers, hanging_server
from soak_tally import Memory, Tally, median, p99
from sse_reader import SseReader
from tenant_settings import bearer, made_key, with_tenants
from two_operators import A, B, make_operators

SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
WARM_SHARE = 0.4
"""Of the time, before memory is judged: threads, pools and caches grow at first."""
SETTLED_WITHIN_S = 90.0
P99_S = 1.0
MOST_GROWTH_MB = 25.0
MODEL_HANGS_S = 60.0


def hanging_model(chance: random.Random) -> Callable[[ModelRequest], Reply]:
    """Answers well half of the time, and otherwise only when nobody waits any longer."""

    def reply(request: ModelRequest) -> Reply:
        return good(request) if chance.random() < 0.5 else Reply(wait_s=MODEL_HANGS_S, hang_up=True)

    return reply


@dataclass
class Scene:
    """The servers, and what becomes of them."""

    database: EmbeddedDatabase
    servers: dict[str, ServerProcess]
    clients: list[WellBehaved]
    others: list[Callable[[], None]]
    tally: Tally
    stopping: threading.Event

    def loops(self) -> list[Callable[[], None]]:
        return [*(loop for client in self.clients for loop in client.loops()), *self.others]

    def run(self) -> dict[str, Memory]:
        """The trouble, from its beginning to its end; how much memory each server took."""
        memories = {name: Memory(server) for name, server in self.servers.items()}
        threads = [threading.Thread(target=loop, daemon=True) for loop in self.loops()]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        while (at_s := time.monotonic() - began) < SECONDS:
            for memory in memories.values():
                memory.sample(at_s)
            time.sleep(1)
        self.stopping.set()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        return memories


@pytest.fixture(params=[1, 2], ids=["one tenant", "two tenants"])
def scene(request: pytest.FixtureRequest, data_dir: Path, tmp_path: Path) -> Iterator[Scene]:
    tally, stopping = Tally(), threading.Event()
    with ExitStack() as stack:
        database = EmbeddedDatabase(data_dir)
        stack.callback(database.close)
        install_schema(database)
        headers = two_tenants(database) if request.param == 2 else {None: {}}
        upstreams = stack.enter_context(GridUpstreams(utc_now()))
        model = stack.enter_context(ModelServer(then=hanging_model(random.Random(2))))
        ports = {"api": free_port(), "gateway": free_port(), "provider": free_port()}
        settings = {
            **upstreams.environment(),
            "PYLON_DATA_DIR": str(data_dir),
            "GEMINI_API_KEY": "a-key",
            "GEMINI_BASE_URL": model.url,
            "API_PORT": str(ports["api"]),
            "BG_PORT": str(ports["gateway"]),
            "BPP_PORT": str(ports["provider"]),
            **(with_tenants() if request.param == 2 else {}),
        }
        hangs = stack.enter_context(hanging_server())
        flooder = buyer(hangs, "flood.example")
        for party in (flooder, provider(hangs, "hangs.example")):
            party.register(database)
        servers = {}
        programs = {"api": "api_server.py", "gateway": "BG.py", "provider": "BPP.py"}
        for name, program in programs.items():
            server = ServerProcess(program, tmp_path / f"{name}.log", settings, port=ports[name])
            stack.callback(server.end)
            servers[name] = server
            server.wait_for(lambda server=server: server.get("/health").status_code == 200)
        load_what_is_loaded_once(servers["api"], next(iter(headers.values())))
        clients = [
            WellBehaved(
                servers["api"],
                servers["gateway"],
                servers["provider"],
                _listening(stack, database, operator),
                stack.enter_context(
                    SseReader(ports["gateway"], path="/beckn/broadcast?after=0", headers=of_client, retries=True)
                ),
                tally,
                stopping,
                of_client,
            )
            for operator, of_client in headers.items()
        ]
        flood = FloodingBuyer(
            flooder, [f"{servers[name].url}/beckn" for name in ("gateway", "provider")], tally, stopping
        )
        strangers = Strangers(ports, tally, stopping, credential=_as_line(clients[0].headers))
        stack.callback(stopping.set)
        yield Scene(database, servers, clients, [*strangers.loops(), flood.run], tally, stopping)


def load_what_is_loaded_once(api: ServerProcess, headers: dict[str, str]) -> None:
    """Have it plan together, for which it loads SciPy: once, at whatever moment, and no growth."""
    hall = {"kind": "compute", "endowment_mw": 1.5, "cost_gbp_per_mwh": [80, 120]}
    agents = [
        hall | {"agent": name, "jobs": [{"job_id": name, "energy_mwh": 1, "max_power_mw": 2}]} for name in ("A", "B")
    ]
    body = {"half_hours": 2, "agents": agents}
    answer = requests.post(f"{api.url}/api/v1/negotiations/plan", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def two_tenants(database: EmbeddedDatabase) -> dict[str | None, dict[str, str]]:
    """Operators A and B, with no limit in their way: what a member of each sends."""
    make_operators(database)
    for operator in (A, B):
        for limit in ("requests_per_minute", "workloads_per_hour", "streams"):
            database.call("tenancy_set_limit", {"p_operator": operator, "p_name": limit, "p_capacity": 1_000_000})
    return {operator: bearer(made_key(database, operator)[0].text) for operator in (A, B)}


def _as_line(headers: dict[str, str]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())


def _listening(stack: ExitStack, database: EmbeddedDatabase, operator: str | None) -> Buyer:
    """A buyer that speaks for an operator, if for one, and takes callbacks until the end."""
    party = buyer(f"http://127.0.0.1:{free_port()}/beckn", f"{operator or 'buyer'}.example")
    party.register(database, operator=operator)
    platform = Buyer(party.subscriber, party.signer, Registry(database))
    port = int(party.url.rpartition(":")[2].partition("/")[0])
    stack.enter_context(platform.listening("127.0.0.1", port))
    return platform


def report(scene: Scene, memories: dict[str, Memory], decided_s: list[float]) -> None:
    """The figures, as benchmarks/README.md has them."""
    waits = scene.tally.waits_s
    print(f"\n\n{SECONDS:.0f} s, the well-behaved client (seconds):")
    print(f"{'':45}{'n':>6}{'median':>9}{'p99':>9}{'most':>9}")
    rows = {**dict(sorted(waits.items())), "workload submitted to decision streamed": decided_s}
    for what, waited in rows.items():
        if waited:
            print(f"{what:45}{len(waited):6}{median(waited):9.3f}{p99(waited):9.3f}{max(waited):9.3f}")
    for who in sorted({who for who, _ in scene.tally.answers}):
        print(f"{who}: " + ", ".join(f"{number} × {status}" for status, number in scene.tally.count(who).items()))
    for name, memory in memories.items():
        first, last = memory.after(WARM_SHARE * SECONDS)
        print(f"memory of the {name}: {first:.0f} MB when warm, {last:.0f} MB at the end")
    print(*scene.tally.offences, sep="\n")


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
def test_a_well_behaved_client_is_served_in_the_midst_of_trouble(scene: Scene) -> None:
    before = {name: {process.pid for process in Memory(server).processes()} for name, server in scene.servers.items()}
    memories = scene.run()
    settled_by = time.monotonic() + SETTLED_WITHIN_S
    while any(set(each.submitted_at) - each.decided() for each in scene.clients) and time.monotonic() < settled_by:
        time.sleep(0.5)
    decided_s = [
        client.reader.arrived_at[event.id] - client.submitted_at[event.data["task"]["job_id"]]
        for client in scene.clients
        for event in client.reader.events
        if event.data["task"]["job_id"] in client.submitted_at
    ]
    report(scene, memories, decided_s)

    requests_s = [
        wait for what, waits in scene.tally.waits_s.items() if what != "beckn: search to catalogue" for wait in waits
    ]
    faults = list(scene.tally.offences)
    if (measured := p99(requests_s)) >= P99_S:
        faults.append(f"the well-behaved client's p99 is {measured:.2f} s")
    for client in scene.clients:
        faults += [f"{job_id} was never decided" for job_id in sorted(set(client.submitted_at) - client.decided())]
        if len(client.reader.ids) != len(set(client.reader.ids)):
            faults.append("an event came twice")
        if len(scene.clients) > 1:
            faults += faults_of_tenant(client)
    for row in scene.database.select("workload_notifications", order=OrderBy(("notification_id",))):
        if row["work_state"] == "discarded":
            faults.append(f"the notification of {row['job_id']} is dead: {row.get('last_error')}")
    for name, memory in memories.items():
        first, last = memory.after(WARM_SHARE * SECONDS)
        if last - first > MOST_GROWTH_MB:
            faults.append(f"the {name} grew from {first:.0f} to {last:.0f} MB")
        if not before[name] <= {process.pid for process in memory.processes()}:
            faults.append(f"a process of the {name} ended")
        if "Traceback" in memory.server.log:
            faults.append(f"there is a traceback in the log of the {name}:\n{_traceback_in(memory.server.log)}")
    assert faults == []


def faults_of_tenant(client: WellBehaved) -> list[str]:
    """Whatever in its stream is not its own: there is one event a job, in numbers that rise."""
    jobs = [event.data["task"]["job_id"] for event in client.reader.events]
    faults = [f"a tenant heard of {job_id}, which is not its own" for job_id in set(jobs) - set(client.submitted_at)]
    if client.reader.ids != sorted(client.reader.ids) or len(jobs) != len(set(jobs)):
        faults.append(f"a tenant heard {client.reader.ids} of {jobs}")
    return faults


def _traceback_in(log: str) -> str:
    return log[log.index("Traceback") :][:3000]
