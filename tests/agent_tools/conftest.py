"""A platform of two operators that a module's tests share, and agents of both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents_world import Agent, AgentsWorld, agents_world
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from new_database import new_database


@pytest.fixture(scope="module")
def world(postgres_server: EmbeddedPostgres) -> Iterator[AgentsWorld]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        with agents_world(database, conninfo) as running:
            running.submit("decided", deferral_window_mins=240)
            running.decide()
            running.plant("decided")
            yield running
        database.close()


@pytest.fixture(scope="module")
def agent(world: AgentsWorld) -> Agent:
    """Of operator A, who may write, where the server lets it."""
    return Agent(world, world.of_a, MCP_ALLOW_WRITES="1")
