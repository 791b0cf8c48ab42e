"""The three servers as their users start them, for several tenants, over each of the three databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from faulty_upstream import FaultyUpstream, Reply
from new_database import as_url, new_database
from postgrest_server import PostgrestServer, postgrest_required
from served import Client
from server_process import ServerProcess, data_directory, free_port
from tenancy.scopes import Server
from tenant_settings import with_tenants
from token_issuer import Issuer, SigningKey, es256_key, issuing

DATABASES = ("embedded", "postgres", "supabase")
PROGRAMS = {Server.API: "api_server.py", Server.GATEWAY: "BG.py", Server.PROVIDER: "BPP.py"}
PORTS = {Server.API: "API_PORT", Server.GATEWAY: "BG_PORT", Server.PROVIDER: "BPP_PORT"}


@dataclass
class TenantServers:
    """Running servers, and the database behind them as whoever looks after it has it.

    Attributes:
        conninfo: of the database's owner.
        settings: what each server was started with.
        issuer: whose tokens they take; `signing_key` signs them.
    """

    conninfo: str
    service: PostgresDatabase
    settings: dict[str, str]
    issuer: Issuer
    signing_key: SigningKey
    ports: dict[Server, int]
    processes: dict[Server, ServerProcess] = field(default_factory=dict)
    clients: dict[Server, Client] = field(default_factory=dict)

    def client(self, server: Server) -> Client:
        return self.clients[server]

    @property
    def logs(self) -> str:
        return "".join(process.log for process in self.processes.values())


@contextmanager
def tenant_servers(
    database: str, postgres_server: EmbeddedPostgres, log_dir: Path, **more: str
) -> Iterator[TenantServers]:
    """The three servers over a new database, which is one of `DATABASES`, until the end of the block."""
    with ExitStack() as stack:
        data_dir = stack.enter_context(data_directory())
        conninfo, reached_by = _database(database, postgres_server, data_dir, stack)
        service = PostgresDatabase(conninfo)
        stack.callback(service.close)
        issuer = stack.enter_context(issuing())
        signing_key = es256_key()
        issuer.lists(signing_key)
        refusing = stack.enter_context(FaultyUpstream(Reply(b"gone", status=404)))
        ports = {server: free_port() for server in PROGRAMS}
        settings = {
            "PYLON_DATA_DIR": str(data_dir),
            "SYNTHETIC_DATA_CENTRES": "0",
            "SYNTHETIC_WORKLOADS_PER_RUN": "0",
            "BG_POLL_SECONDS": "0.2",
            **dict.fromkeys(("CARBON_INTENSITY_URL", "NESO_URL", "ELEXON_URL"), refusing.url),
            **{PORTS[server]: str(port) for server, port in ports.items()},
            **reached_by,
            **with_tenants(issuer),
            **more,
        }
        running = TenantServers(conninfo, service, settings, issuer, signing_key, ports)
        for server, program in PROGRAMS.items():
            process = ServerProcess(program, log_dir / f"{server}.log", settings, port=ports[server])
            stack.callback(process.end)
            running.processes[server] = process
        for process in running.processes.values():
            stack.callback(process.process.terminate)  # all of them before the first is waited for
        for server, process in running.processes.items():
            process.wait_until_serving()
            client = Client(process.url)
            stack.callback(client.close)
            running.clients[server] = client
        yield running


def _database(
    kind: str, postgres_server: EmbeddedPostgres, data_dir: Path, stack: ExitStack
) -> tuple[str, dict[str, str]]:
    """Its owner's connection string, and the settings by which servers reach it."""
    if kind == "embedded":
        own = EmbeddedPostgres(data_dir)
        own.start()
        stack.callback(own.stop)
        return own.conninfo, {}
    conninfo = stack.enter_context(new_database(postgres_server))
    if kind == "postgres":
        gate = make_conninfo(conninfo, user="pylon_gate")
        return conninfo, {"DATABASE_URL": as_url(conninfo), "DATABASE_GATE_URL": as_url(gate)}
    if kind != "supabase":
        pytest.fail(f"{kind} is none of {DATABASES}")
    name = conninfo_to_dict(conninfo)["dbname"]
    uri = f"postgres://authenticator@/{name}?host={postgres_server.socket_dir}"
    rest = PostgrestServer(postgrest_required(), uri)
    stack.callback(rest.stop)
    return conninfo, {"SUPABASE_URL": rest.url, "SUPABASE_KEY": rest.key}
