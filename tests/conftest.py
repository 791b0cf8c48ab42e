"""A real database for every test: one embedded server a session, a fresh copy of the tables a test."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
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
def conninfo(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a fresh database with the tables and the 17 regions, nothing else."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}")
        yield make_conninfo(postgres_server.conninfo, dbname=name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def postgres(conninfo: str) -> Iterator[PostgresDatabase]:
    """The fresh database over psycopg."""
    database = PostgresDatabase(conninfo)
    yield database
    database.close()


@pytest.fixture
def postgrest(conninfo: str) -> Iterator[PostgrestServer]:
    """The fresh database behind a real PostgREST."""
    binary = postgrest_binary()
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("PostgREST is not installed: `make test` does it, with npm")
        pytest.skip("PostgREST is not installed: `make test` does it, with npm")
    parameters = psycopg.conninfo.conninfo_to_dict(conninfo)
    uri = f"postgres://authenticator@/{parameters['dbname']}?host={parameters['host']}"
    server = PostgrestServer(binary, uri)
    yield server
    server.stop()


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
