"""The two doors to a database: psycopg, and the `supabase` package over PostgREST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from database.interface import Database
from database.postgrest import SupabaseDatabase
from postgrest_server import PostgrestServer


def through_door(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The test's fresh database through the door that the parameter of a fixture names."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    server: PostgrestServer = request.getfixturevalue("postgrest")
    with closing(SupabaseDatabase(server.url, server.key)) as supabase:
        yield supabase
