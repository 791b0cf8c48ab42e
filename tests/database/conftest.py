"""What is about the doors themselves is tried through both every day."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from database.interface import Database
from doors import through_door


@pytest.fixture(params=["postgres", "postgrest"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The fresh database, through each door."""
    yield from through_door(request)
