"""What is written down of requests, and how seldom the database is asked to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from database.postgres import PostgresDatabase
from tenancy.audit import AuditTrail
from tenant_settings import made_key
from two_operators import A, make_operators


class Counted:
    """The database, and the functions that were called."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self.called: list[str] = []

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        self.called.append(function)
        return self._database.call(function, arguments, repeatable=repeatable)


def test_of_a_key_in_use_all_the_time_the_database_is_told_once_a_minute(postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    key, _ = made_key(postgres, A)
    database = Counted(postgres)
    trail = AuditTrail(database)
    for _ in range(3):
        trail.used(key.key_id)
        trail.write()
    assert database.called == ["tenancy_key_used"]
    (entry,) = postgres.call("tenancy_keys", {"p_operator": A})
    assert entry["last_used_at"] is not None
