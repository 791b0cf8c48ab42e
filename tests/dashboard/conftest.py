"""The dashboard over a real database and real HTTP, at a fixed time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_server import create_app
from database.postgres import PostgresDatabase
from grid_world import NOW
from served import Client, served
from settings import load_settings


@pytest.fixture
def api(postgres: PostgresDatabase) -> Iterator[Client]:
    """Over a fresh database, with nothing in it but the regions."""
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client
