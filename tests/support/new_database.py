"""Databases for tests: new ones, and one made as good as new."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from database.embedded import EmbeddedPostgres

TEMPLATE = "pylon_template"  # made by conftest's `postgres_server`
_numbers = itertools.count(1)

_HANG_UP = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and application_name = 'pylon-deg'"""

# A copy of the template takes ten times as long as this. Rows are deleted rather than tables truncated, for the same
# reason, and with no trigger or foreign key in the way but those of the audit log, which are for replicas too.
_EMPTY = """
do $$
declare
    tab regclass;
    filled boolean;
begin
    perform set_config('session_replication_role', 'replica', true);
    for tab in
        select c.oid from pg_class c
        where c.relnamespace in ('public'::regnamespace, 'tenancy'::regnamespace) and c.relkind = 'r'
            and c.relname not in ('regions', 'schema_version')
    loop
        execute format('select exists (select from %s)', tab) into filled;
        if filled and exists (select from pg_trigger where tgrelid = tab and tgname = 'refuse_row_change') then
            execute format('alter table %s disable trigger refuse_row_change', tab);
            execute format('delete from %s', tab);
            execute format('alter table %s enable always trigger refuse_row_change', tab);
        elsif filled then
            execute format('delete from %s', tab);
        end if;
    end loop;
    perform setval(seqrelid::regclass, seqstart, false) from pg_sequence;
end
$$"""


def as_url(conninfo: str) -> str:
    """The same as a DATABASE_URL."""
    parts = conninfo_to_dict(conninfo)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


@contextmanager
def new_database(server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a database with the tables and the regions, dropped at the end of the block."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
        conninfo = make_conninfo(server.conninfo, dbname=name)
        yield conninfo
        if conninfo in _kept:
            _kept.pop(conninfo).close()
        connection.execute(f"drop database {name} with (force)".encode())


def empty(conninfo: str, *, hang_up: bool = True) -> None:
    """Everything out but the regions, and the numbers begin anew; unless told otherwise, nobody stays connected."""
    for first in (True, False):
        connection = _kept_connection(conninfo)
        try:
            if hang_up:
                connection.execute(_HANG_UP)
            connection.execute(_EMPTY)
            return
        except psycopg.OperationalError:
            if not first or not connection.closed:
                raise


_kept: dict[str, psycopg.Connection[tuple[Any, ...]]] = {}
"""By which databases are emptied: a new session takes five times as long, since it has read no catalogue yet."""


def _kept_connection(conninfo: str) -> psycopg.Connection[tuple[Any, ...]]:
    if conninfo not in _kept or _kept[conninfo].closed:
        _kept[conninfo] = psycopg.connect(conninfo, autocommit=True)
    return _kept[conninfo]


def only_reads(conninfo: str, refuse_writes: bool) -> None:
    """Make a database refuse every write, as a standby does and one whose disk is full, or take them again."""
    name = conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(make_conninfo(conninfo, dbname="postgres"), autocommit=True) as connection:
        word = "on" if refuse_writes else "off"
        connection.execute(f'alter database "{name}" set default_transaction_read_only = {word}'.encode())
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
