"""A database that lets nobody in, on a server that is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def without_database(conninfo: str) -> Iterator[None]:
    """The server is there, and lets nobody into this database."""
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(conninfo, dbname="postgres", autocommit=True) as session:
        session.execute(f"alter database {name} with allow_connections false".encode())
        session.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        try:
            yield
        finally:
            session.execute(f"alter database {name} with allow_connections true".encode())
