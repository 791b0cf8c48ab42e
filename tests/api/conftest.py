"""The API over a real database and real HTTP, at a fixed time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.interface import Database
from database.postgres import PostgresDatabase
from grid_world import NOW
from linked_world import store_linked_world
from new_database import new_database
from served import Client, served
from settings import load_settings
from two_operators import gate_of, make_operators


@pytest.fixture
def api(postgres: PostgresDatabase) -> Iterator[Client]:
    """Over a fresh database, with nothing in it but the regions."""
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client


@pytest.fixture
def door(postgres: PostgresDatabase, conninfo: str) -> Iterator[PostgresDatabase]:
    """How requests of the two operators' callers reach the database."""
    make_operators(postgres)
    gate = gate_of(conninfo)
    yield gate
    gate.close()


@pytest.fixture
def api_through(database: Database) -> Iterator[Client]:
    """The same through each door."""
    with served(create_app(database, load_settings({}), clock=lambda: NOW)) as client:
        yield client


@pytest.fixture(scope="module")
def world(postgres_server: EmbeddedPostgres) -> Iterator[Client]:
    """Over the linked world, for tests that only read."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_linked_world(database)
        with served(create_app(database, load_settings({}), clock=lambda: NOW)) as client:
            yield client
        database.close()
