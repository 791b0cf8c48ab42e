"""The whole network as its users run it: three servers and the buyer's tool, each a process, signatures on."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from api_servers import api_servers, first_run_done
from beckn.protocol.objects import CatalogueDocument
from beckn_orders import a_workload, market_time
from beckn_specification import on_search_faults
from database.embedded import EmbeddedPostgres
from database.interface import OrderBy, Row, Where
from database.postgres import PostgresDatabase
from new_database import as_url, new_database
from server_process import BACKEND, ServerProcess, free_port, inherited


@dataclass
class Network:
    """An API server, a gateway and a provider's platform that share a database and nothing else."""

    database: PostgresDatabase
    environment: dict[str, str]
    api: ServerProcess
    gateway: ServerProcess
    provider: ServerProcess
    folder: Path

    def buy(self, job_id: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """What the buyer's tool says of a workload that takes a second and cannot wait."""
        market_time()
        file = self.folder / f"{job_id}.json"
        file.write_text(
            a_workload(
                job_id=job_id, urgency="CRITICAL", required_gpu_mins=0.02, deferral_window_mins=0
            ).model_dump_json()
        )
        settings = {**self.environment, "BECKN_BAP_URL": f"http://127.0.0.1:{free_port()}/beckn", **environment}
        return run("buyer.py", str(file), *arguments, **settings)

    def order_of(self, said: str) -> Row:
        """The workload that the order became which the tool speaks of."""
        (order_id,) = set(re.findall(r"order (\S+): ", said))
        (row,) = self.database.select(
            "compute_workloads", where=[Where("job_id", f"order:{order_id}")], order=OrderBy(("job_id",))
        )
        return row


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of backend/beckn, run by its path."""
    return subprocess.run(
        [sys.executable, str(BACKEND / "beckn" / script), *arguments],
        env={**inherited(), **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def network(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network")
    with ExitStack() as stack:
        conninfo = stack.enter_context(new_database(postgres_server))
        shared = {"DATABASE_URL": as_url(conninfo), "PYLON_DATA_DIR": str(folder)}
        ports = {"BG_PORT": str(free_port()), "BPP_PORT": str(free_port())}
        start_api = stack.enter_context(api_servers(folder, shared))
        api = start_api(SYNTHETIC_DATA_CENTRES="3", SYNTHETIC_WORKLOADS_PER_RUN="0")
        servers = {}
        for program, port in (("BG.py", "BG_PORT"), ("BPP.py", "BPP_PORT")):
            server = ServerProcess(program, folder / f"{program}.log", {**shared, **ports}, port=int(ports[port]))
            stack.callback(server.end)
            servers[program] = server
        api.wait_for(lambda: first_run_done(api))
        for server in servers.values():
            server.wait_until_serving()
        database = PostgresDatabase(conninfo)
        stack.callback(database.close)
        yield Network(database, {**shared, **ports}, api, servers["BG.py"], servers["BPP.py"], folder)


def figures_told(said: str) -> dict[str, float]:
    """The actual energy, carbon and cost in the tool's last news of an order."""
    *_, actuals = re.findall(r"actuals: (.*)", said)
    told = dict(each.split(" ", 1) for each in actuals.split(", ") if each.count(" ") == 1)
    return {name: float(told[name]) for name in ("energy-kwh", "carbon-gco2", "cost-gbp")}


def stored_figures(row: Row) -> dict[str, float]:
    return {
        "energy-kwh": row["actual_energy_kwh"],
        "carbon-gco2": row["actual_carbon_gco2"],
        "cost-gbp": row["actual_cost_gbp"],
    }


def test_a_buyer_goes_from_a_search_at_the_gateway_to_a_completed_order(network: Network) -> None:
    tool = network.buy("through-the-gateway")
    assert (tool.returncode, tool.stderr) == (0, "")
    table = re.findall(r"^(\d+) +(\S+:gpu-slot:\S+) ", tool.stdout, flags=re.MULTILINE)
    assert [int(number) for number, _ in table] == [*range(1, len(table) + 1)]
    states = re.findall(r"order \S+: (\S+ \S+)", tool.stdout)
    assert states == ["ACTIVE SCHEDULED", "ACTIVE RUNNING", "COMPLETE COMPLETED"]

    row = network.order_of(tool.stdout)
    assert (row["status"], row["host_dc_id"]) == ("COMPLETED", table[0][1].split(":")[0])
    assert figures_told(tool.stdout) == stored_figures(row)
    # A GPU with its host draws 0.96 kW for 1.2 seconds, and the site more.
    assert row["actual_energy_kwh"] >= 0.96 * 1.2 / 3600
    assert stored_figures(network.api.get(f"/api/v1/workloads/{row['job_id']}").json()) == stored_figures(row)

    (search,) = network.database.select(
        "beckn_outbox", where=[Where("action", "search")], order=OrderBy(("outbox_id",), descending=True), limit=1
    )
    assert (search["sender"], search["recipient"]) == ("bg.pylon.localhost", "bpp.pylon.localhost")
    assert search["work_state"] == "completed"
    assert 'keyId="bap.pylon.localhost|' in search["authorization"]
    assert network.provider.get("/health").json()["network"] == {
        "authentication": "on",
        "inbox": {"waiting": 0, "in_flight": 0, "dead": 0, "oldest_waiting_seconds": None},
        "outbox": {"waiting": 0, "in_flight": 0, "dead": 0, "oldest_waiting_seconds": None},
    }


def catalogues(network: Network) -> dict[str, bytes]:
    """What the API server offers and the gateway seeks."""
    compute = network.api.get("/api/v1/market/catalog").content
    return {"compute": compute, "workloads": network.gateway.get("/beckn/catalog").content}


def test_both_servers_publish_catalogues_of_the_same_make(network: Network) -> None:
    # No place is as green, so it waits, whatever the gateway decides meanwhile.
    workload = {
        "job_id": "seeks-a-place",
        "workload_type": "TRAINING_RUN",
        "required_gpu_mins": 60,
        "carbon_cap_gco2": 0,
    }
    answer = requests.post(f"{network.api.url}/api/v1/workloads", json=workload, timeout=30)
    assert answer.status_code == 201
    read = {name: CatalogueDocument.model_validate_json(body) for name, body in catalogues(network).items()}
    offered, sought = read["compute"].message.catalog, read["workloads"].message.catalog
    assert len({item.location_ids for one in offered.providers for item in one.items}) == 3
    assert "seeks-a-place" in {item.id for one in sought.providers for item in one.items}


def test_both_servers_publish_catalogues_that_are_valid(network: Network) -> None:
    for body in catalogues(network).values():
        assert on_search_faults(json.loads(body)) == []


@pytest.mark.thorough
def test_a_buyer_elsewhere_takes_the_networks_keys_from_its_registry(network: Network, tmp_path: Path) -> None:
    """On a machine without the database: only URLs are known to it, and its own key."""
    elsewhere = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
        "PYLON_DATA_DIR": str(tmp_path),
        "BECKN_BAP_ID": "elsewhere.example",
        "BECKN_BAP_URL": f"http://127.0.0.1:{free_port()}/beckn",
        "BECKN_BG_URL": f"{network.gateway.url}/beckn",
    }
    registry = ("--registry", f"{network.gateway.url}/registry")
    stranger = network.buy("from-elsewhere", *registry, **elsewhere)
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert stranger.stderr.startswith("elsewhere.example is not in the registry with its key and URL")

    # The command that it shows, as the registry's operator runs it.
    _, command = stranger.stderr.strip().split("backend/beckn/registry.py ")
    added = run("registry.py", *shlex.split(command), **network.environment)
    assert (added.returncode, added.stderr) == (0, "")
    tool = network.buy("from-elsewhere", *registry, **elsewhere)
    assert (tool.returncode, tool.stderr) == (0, "")
    assert figures_told(tool.stdout) == stored_figures(network.order_of(tool.stdout))
