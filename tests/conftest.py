"""A real database for every test: one embedded server a session, and in it a database that each test finds empty."""

from __future__ import annotations

import functools
import gc
import logging
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import flask_openapi3.utils
import psycopg
import psycopg_pool.base
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import queueing.notices
from database.embedded import EmbeddedPostgres
from database.interface import Database
from database.postgres import PostgresDatabase
from database.schema import install_schema
from doors import through_door
from hypothesis_profile import load_profile
from new_database import TEMPLATE, empty, new_database
from postgrest_server import PostgrestServer, postgrest_required
from server_process import data_directory, postgres_of

pytest_plugins = ["watchdog", "file_schedule", "few_examples", "measured_greenlets"]
load_profile()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what goes to the background deaf to Ctrl-C, and the programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A pool's threads draw when its connections are to end, at any moment. Were it from the generator of all, Hypothesis
# would take it for a strategy that does, and fail the test.
vars(psycopg_pool.base)["random"] = Random().random
# Whoever listens looks up twice a second whether to end. The tests start and end listeners by the thousand.
vars(queueing.notices)["LONGEST_UNINTERRUPTED_S"] = 0.05
# Describing a server's operations takes five times as long as all else that it takes to make one.
vars(flask_openapi3.utils)["get_model_schema"] = functools.cache(flask_openapi3.utils.get_model_schema)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What the tests' modules make stays. To look through it for cycles is a quarter of what collecting takes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def log_of_the_test() -> Iterator[None]:
    """A program that a test runs in this process sets up logging; the tests after it have nothing of that."""
    root = logging.getLogger()
    handlers, level, show_warning = set(root.handlers), root.level, warnings.showwarning
    yield
    for handler in set(root.handlers) - handlers:
        root.removeHandler(handler)
    root.setLevel(level)
    warnings.showwarning = show_warning


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An embedded PostgreSQL of the test session's own, with the tables installed in a template."""
    with data_directory() as folder:
        server = EmbeddedPostgres(folder)
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
def data_dir() -> Iterator[Path]:
    """For an embedded server of the test's own, which it must not leave running."""
    with data_directory() as folder:
        yield folder
        assert postgres_of(folder) is None


@pytest.fixture(scope="session")
def lent_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of the database that the tests have one after the other."""
    with new_database(postgres_server) as conninfo:
        yield conninfo


@pytest.fixture
def conninfo(request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a database with the tables and the 17 regions, nothing else."""
    if request.node.get_closest_marker("own_database"):
        with new_database(postgres_server) as conninfo:
            yield conninfo
        return
    if _is_over_postgrest(request):
        behind_postgrest: RestWorld = request.getfixturevalue("rest_world")
        conninfo = behind_postgrest.conninfo
    else:
        conninfo = request.getfixturevalue("lent_database")
    empty(conninfo)
    yield conninfo


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
    binary = postgrest_required()
    with new_database(postgres_server) as conninfo:
        name = conninfo_to_dict(conninfo)["dbname"]
        server = PostgrestServer(binary, f"postgres://authenticator@/{name}?host={postgres_server.socket_dir}")
        yield RestWorld(conninfo, server)
        server.stop()


@pytest.fixture
def postgrest(conninfo: str, rest_world: RestWorld) -> PostgrestServer:
    """The database of `conninfo` behind a real PostgREST."""
    assert conninfo == rest_world.conninfo
    return rest_world.server


def _is_over_postgrest(request: pytest.FixtureRequest) -> bool:
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    return "postgrest" in request.fixturenames or parameters.get("database") == "postgrest"


@pytest.fixture(params=["postgres", pytest.param("postgrest", marks=pytest.mark.thorough)])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The fresh database through each door: psycopg, and the `supabase` package over PostgREST.

    Everyday tests go through the first; those of the doors themselves (tests/database) through both.
    """
    yield from through_door(request)
