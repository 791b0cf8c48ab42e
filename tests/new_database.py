"""A database that several tests share because they only read it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres

TEMPLATE = "pylon_template"  # made by conftest's `postgres_server`
_numbers = itertools.count(1)


@contextmanager
def new_database(server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a database with the tables and the regions, dropped at the end of the block."""
    name = f"shared_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
        yield make_conninfo(server.conninfo, dbname=name)
        connection.execute(f"drop database {name} with (force)".encode())
