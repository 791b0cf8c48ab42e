"""A database that several tests share because they only read it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from database.embedded import EmbeddedPostgres

TEMPLATE = "pylon_template"  # made by conftest's `postgres_server`
_numbers = itertools.count(1)


def as_url(conninfo: str) -> str:
    """The same as a DATABASE_URL."""
    parts = conninfo_to_dict(conninfo)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


@contextmanager
def new_database(server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a database with the tables and the regions, dropped at the end of the block."""
    name = f"shared_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
        yield make_conninfo(server.conninfo, dbname=name)
        connection.execute(f"drop database {name} with (force)".encode())
