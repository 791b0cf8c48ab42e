"""A database of any earlier version becomes what a new one is, loses nothing, and is never put back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from catalogue import content, structure
from database.build_sql import FILES, statements
from database.embedded import EmbeddedPostgres
from database.errors import DatabaseError, SchemaMissing, SchemaTooNew
from database.interface import Database
from database.postgres import PostgresDatabase
from database.schema import check_schema, install_schema
from database.versions import FIRST_VERSION, MigrationMistake, migrations, newest
from decisions.chain.verification import Verified
from postgres_servers import postgres_of_version
from rewritten_history import publish, verified
from tenancy.scopes import ROLE_SCOPES, Role

VERSIONS = Path(__file__).resolve().parent / "schema_versions"
STEPS_OF_THIS_RELEASE = {4, 5, 7, 8, 10, 11, 13, 14, 15, 16, 17, 18, 19, 21}
"""No program of these versions was ever out: a database has them only on its way. Every other version is kept."""
EARLIER = [version for version in range(FIRST_VERSION, newest().version) if version not in STEPS_OF_THIS_RELEASE]
EMBEDDED = 18


def work_state(row: dict[str, Any]) -> str:
    """A queue's row of version 1 in the words of version 2."""
    waits = "retryable" if datetime.fromisoformat(row["due_at"]) > datetime.now(timezone.utc) else "available"
    return {"leased": "running", "done": "completed", "delivered": "completed", "dead": "discarded"}.get(
        row["state"], waits
    )


# What a migration is to change in the rows that are kept here: (version it leads to, table, column) → the new value.
CHANGED: dict[tuple[int, str, str], Callable[[dict[str, Any]], Any]] = {
    (2, "beckn_inbox", "state"): lambda row: work_state(row),
    (2, "beckn_outbox", "state"): lambda row: work_state(row),
    (2, "beckn_orders", "due_at"): lambda row: row["due_at"] or row["updated_at"],
    (2, "compute_workloads", "deadline"): lambda row: None if row["deadline"] == "infinity" else row["deadline"],
    # What was stored as NESO's was nearly all our own curve.
    (2, "grid_signals", "demand_source"): lambda row: (
        "modelled" if row["demand_source"] == "neso" else row["demand_source"]
    ),
    # What strangers bought is the platform's.
    (3, "compute_workloads", "operator"): lambda row: (
        "platform" if row["job_id"].startswith("sold") else row["operator"]
    ),
    (3, "workload_notifications", "fairness_key"): lambda row: row["fairness_key"] or "local",
}

# What a migration is to call otherwise: (version it leads to, table, column) → its new name.
RENAMED = {
    (2, "workload_notifications", "run_at"): "scheduled_at",
    (2, "workload_notifications", "lease_until"): "leased_until",
    **{(2, table, "state"): "work_state" for table in ("beckn_inbox", "beckn_outbox")},
    **{(2, table, "due_at"): "scheduled_at" for table in ("beckn_inbox", "beckn_outbox", "beckn_orders")},
    **{(2, table, "attempts"): "attempt" for table in ("beckn_inbox", "beckn_outbox", "pipeline_runs")},
    (2, "pipeline_runs", "owner"): "leased_by",
    (2, "pipeline_runs", "lease_until"): "leased_until",
    (2, "pipeline_runs", "error"): "last_error",
}

_STORED_COLUMNS = (
    "select string_agg(quote_ident(attname), ', ') from pg_attribute "
    "where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''"
)

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(
    scope="module", params=[*(pytest.param(older, marks=pytest.mark.thorough) for older in (15, 16)), EMBEDDED]
)
def server(request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Connection string of a superuser on a server of each major version."""
    if request.param == EMBEDDED:
        yield postgres_server.conninfo
        return
    with postgres_of_version(request.param) as conninfo:
        yield conninfo


@contextmanager
def bare_database(server: str, name: str) -> Iterator[str]:
    with psycopg.connect(server, autocommit=True) as session:
        session.execute(f"create database {name} template template0".encode())
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            session.execute(f"drop database {name} with (force)".encode())


def in_utc(conninfo: str) -> Session:
    return psycopg.connect(conninfo, options="-c timezone=UTC")


def install_earlier(session: Session, version: int) -> dict[str, list[dict[str, Any]]]:
    """Make a database of an earlier version, with rows in every table, which are the answer."""
    folder = VERSIONS / str(version)
    for name in FILES:
        session.execute((folder / FILES[name].name).read_bytes(), prepare=False)
    rows: dict[str, list[dict[str, Any]]] = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    with session.transaction():
        session.execute("set local session_replication_role = replica")
        for table, wanted in rows.items():
            columns = session.execute(_STORED_COLUMNS, (table,)).fetchone()
            assert columns is not None
            session.execute(f"delete from public.{table}".encode())
            session.execute(
                f"insert into public.{table} ({columns[0]}) overriding system value "
                f"select {columns[0]} from jsonb_populate_recordset(null::public.{table}, %s)".encode(),
                (json.dumps(wanted),),
            )
    return rows


def paste(session: Session) -> None:
    for file in FILES.values():
        session.execute(file.read_bytes(), prepare=False)


def upgrade(conninfo: str, how: str) -> None:
    if how == "by the program":
        database = PostgresDatabase(conninfo, max_connections=1)
        assert install_schema(database)
        database.close()
        return
    with psycopg.connect(conninfo, autocommit=True) as session:
        paste(session)


@pytest.mark.parametrize(
    ("version", "how"),
    [
        *((version, "by the program") for version in EARLIER),
        *(pytest.param(version, "pasted", marks=pytest.mark.thorough) for version in EARLIER[:-1]),
        (EARLIER[-1], "pasted"),
    ],
)
def test_an_upgraded_database_is_like_a_new_one_and_has_lost_nothing(server: str, version: int, how: str) -> None:
    with ExitStack() as stack:
        old = stack.enter_context(bare_database(server, "upgraded"))
        new = stack.enter_context(bare_database(server, "fresh"))
        with psycopg.connect(old, autocommit=True) as session:
            before = install_earlier(session, version)
        upgrade(old, how)
        upgrade(new, how)
        with in_utc(old) as upgraded, in_utc(new) as fresh:
            assert structure(upgraded) == structure(fresh)
            after = {table: [row for (row,) in rows] for table, rows in content(upgraded).items()}
    for table, rows in before.items():
        for row in rows:
            expected = as_changed(table, row, version)
            assert any(expected.items() <= kept.items() for kept in after[table]), (table, expected)


def as_changed(table: str, row: dict[str, Any], version: int) -> dict[str, Any]:
    changed = dict(row)
    for (to_version, of_table, column), value in CHANGED.items():
        if to_version > version and of_table == table and column in row:
            changed[column] = value(row)
    for (to_version, of_table, column), name in RENAMED.items():
        if to_version > version and of_table == table:
            changed[name] = changed.pop(column)
    return changed


@pytest.mark.parametrize("version", EARLIER)
def test_every_earlier_version_is_kept_with_rows_in_every_table(
    postgres_server: EmbeddedPostgres, version: int
) -> None:
    with (
        bare_database(postgres_server.conninfo, "kept") as conninfo,
        psycopg.connect(conninfo, autocommit=True) as session,
    ):
        rows = install_earlier(session, version)
        assert set(content(session)) == set(rows)
        assert all(rows.values())


def test_running_the_files_again_changes_nothing(server: str) -> None:
    with (
        bare_database(server, "again") as conninfo,
        psycopg.connect(conninfo, autocommit=True) as session,
    ):
        paste(session)
        once = structure(session), content(session)
        paste(session)
        assert (structure(session), content(session)) == once
        database = PostgresDatabase(conninfo, max_connections=1)
        assert not install_schema(database)
        database.close()


@pytest.mark.parametrize("version", range(FIRST_VERSION, 3))
def test_the_decisions_of_before_are_chained_in_their_order_and_new_ones_follow(server: str, version: int) -> None:
    with bare_database(server, "chained") as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as session:
            install_earlier(session, version)
            session.execute(
                "insert into operators (operator_id, name) values ('op-a', 'A'), ('op-b', 'B');"
                "insert into compute_workloads (job_id, workload_type, operator, status) "
                "values ('a-1', 'OTHER', 'op-a', 'QUEUED'), ('b-1', 'OTHER', 'op-b', 'QUEUED');"
                "delete from workload_notifications;"
                "select setval(pg_get_serial_sequence('workload_notifications', 'notification_id'), 1000000);"
                "insert into orchestration_decisions "
                "(sequence, job_id, scorer, scorer_version, context, output, reasoning, decided_at) "
                "select case when n <> 7 then 1000 - n end, case when n % 3 = 0 then 'b-1' else 'a-1' end, "
                "'deterministic', '1', '{\"x\": 1.50}', '{\"b\": 1, \"a\": 2}', "
                "'\u00a33 \u2013 ' || n, timestamptz '2026-01-01' - n * interval '1 day' "
                "from generate_series(1, 40) as n"
            )
        upgrade(conninfo, "by the program")
        database = PostgresDatabase(conninfo, max_connections=1)
        publish(database, "op-a", "a-2")
        for operator, length in {"op-a": 28, "op-b": 13}.items():
            found = verified(database, operator)
            assert isinstance(found, Verified), found
            assert found.position == length
            numbered = database.scalar(
                "select json_agg(chain_position order by sequence) from orchestration_decisions "
                f"where tenant = '{operator}' and sequence is not null"
            )
            assert numbered == list(range(length - len(numbered) + 1, length + 1))
        database.close()


HELD_BY_OPEN_ORDERS = """
    with held as (
        select o.dc_id, half_hour, sum(o.it_power_kw) as kw
        from beckn_orders o
        cross join generate_series(half_hour_of(o.starts_at), o.ends_at - interval '1 second', interval '30 minutes')
            as half_hour
        where o.state in ('SCHEDULED', 'DEFERRED', 'RUNNING')
        group by o.dc_id, half_hour)
    select
        (select count(*) from held),
        (select count(*) from held join held_power h using (dc_id, half_hour) where h.held_kw = held.kw::numeric),
        (select count(*) from held_power)
"""


def test_the_orders_that_are_open_hold_their_power_after_the_upgrade(postgres_server: EmbeddedPostgres) -> None:
    with bare_database(postgres_server.conninfo, "with_orders") as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as session:
            install_earlier(session, 3)
        upgrade(conninfo, "by the program")
        with psycopg.connect(conninfo) as session:
            booked = session.execute(
                "select o.state, b.state, b.carried_out_by, b.work_state, b.tenant = o.buyer_operator "
                "and (b.dc_id, b.job_id, b.starts_at, b.ends_at) = (o.dc_id, o.job_id, o.starts_at, o.ends_at) "
                "from capacity_bookings b join beckn_orders o using (order_id) order by o.state"
            ).fetchall()
            half_hours, as_ordered, stored = session.execute(HELD_BY_OPEN_ORDERS).fetchone() or (0, 0, 0)
    assert booked == [
        ("DEFERRED", "HELD", "order", "completed", True),
        ("RUNNING", "RUNNING", "order", "completed", True),
        ("SCHEDULED", "HELD", "order", "completed", True),
    ]
    assert half_hours == as_ordered == stored > 0


READS = ("grid:read", "world:read", "workloads:read", "decisions:read")
OF_A_MEMBER = (*READS, "workloads:write", "plans:run", "decisions:acknowledge")
KEYS_OF_VERSION_3 = {
    # What was made: its scopes, and how its end lies to now.
    "administrator": ((*OF_A_MEMBER, "keys:manage"), "1 day"),
    "platform": ((*OF_A_MEMBER, "keys:manage", "platform:read", "platform:write", "metrics:scrape"), "1 day"),
    "member": (OF_A_MEMBER, "1 day"),
    "reader": (READS, "1 day"),
    "keeper": ((*READS, "keys:manage"), "1 day"),
    "prometheus": (("metrics:scrape",), "1 day"),
    "ended": ((*OF_A_MEMBER, "keys:manage"), "-1 hour"),
}
MAKE_A_KEY = """
with account as (
    insert into tenancy.service_accounts (operator_id, name) values ('local', %(name)s) returning service_account_id)
insert into tenancy.api_keys (
    key_id, digest, operator_id, service_account_id, scopes, name, created_at, expires_at)
select substr(md5(%(name)s), 1, 12), md5(%(name)s) || md5(%(name)s), 'local', service_account_id, %(scopes)s,
    %(name)s, now() - interval '2 hours', now() + %(ends)s::interval
from account
"""
SCOPES_BY_NAME = "select name, scopes from tenancy.api_keys"


def test_a_key_that_had_the_whole_of_its_role_has_it_after_the_upgrade_and_no_other_gains(
    postgres_server: EmbeddedPostgres,
) -> None:
    with bare_database(postgres_server.conninfo, "with_keys") as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as session:
            install_earlier(session, 3)
            session.execute(
                "insert into operators (operator_id, name) values ('local', 'L') on conflict (operator_id) do nothing"
            )
            for name, (scopes, ends) in KEYS_OF_VERSION_3.items():
                session.execute(MAKE_A_KEY, {"name": name, "scopes": list(scopes), "ends": ends})
        upgrade(conninfo, "by the program")
        with psycopg.connect(conninfo) as session:
            after = {name: set(scopes) for name, scopes in session.execute(SCOPES_BY_NAME)}
            told = session.execute(
                "select k.name, e.principal, e.detail -> 'gained' from tenancy.audit_events e "
                "join tenancy.api_keys k on k.key_id = e.object where e.action = 'key.extend' order by e.event_id"
            ).fetchall()
    whole = {"administrator": Role.ADMIN, "platform": Role.PLATFORM, "member": Role.MEMBER}
    for name, (scopes, _) in KEYS_OF_VERSION_3.items():
        # Where this fails for a role that has gained a scope: give it to the keys, as migration 0010 does.
        assert after.pop(name) == (ROLE_SCOPES[whole[name]] if name in whole else set(scopes)), name
    by_name = Counter(name for name, _, _ in told)
    assert by_name == {"administrator": 3, "platform": 3, "member": 2}
    assert {principal for _, principal, _ in told} == {"upgrade"}


def test_a_key_that_was_made_with_less_when_there_was_more_stays_as_it_is(postgres_server: EmbeddedPostgres) -> None:
    with bare_database(postgres_server.conninfo, "meant_so") as conninfo:
        upgrade(conninfo, "by the program")
        with psycopg.connect(conninfo) as session:
            session.execute("insert into operators (operator_id, name) values ('local', 'L')")
            scopes = [*OF_A_MEMBER, "runners:run", "keys:manage"]
            session.execute(MAKE_A_KEY, {"name": "less", "scopes": scopes, "ends": "1 day"})
            session.execute("update tenancy.api_keys set created_at = clock_timestamp()")
            for step in migrations():
                if "key.extend" in step.statements:
                    gains = step.statements[step.statements.index("do $keys$") :]
                    session.execute(gains.encode())
            assert session.execute(SCOPES_BY_NAME).fetchone() == ("less", scopes)


def test_each_version_a_database_has_had_is_written_down_with_who_brought_it(
    postgres_server: EmbeddedPostgres,
) -> None:
    with bare_database(postgres_server.conninfo, "history") as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as session:
            install_earlier(session, FIRST_VERSION)
        upgrade(conninfo, "by the program")
        with psycopg.connect(conninfo) as session:
            rows = session.execute(
                "select version, compatible_from, program from schema_version order by 1"
            ).fetchall()
    assert [row[:2] for row in rows] == [(1, 1), *((step.version, step.compatible_from) for step in migrations())]
    assert rows[-1][2].startswith("pylon-deg ")


@pytest.fixture
def newer(postgres: PostgresDatabase) -> Callable[[int], None]:
    """Makes the database one of the next version, whose programs must be of at least the given version."""

    def become(compatible_from: int) -> None:
        postgres.insert(
            "schema_version",
            [
                {
                    "version": newest().version + 1,
                    "compatible_from": compatible_from,
                    "applied_at": "2027-01-01T00:00:00Z",
                }
            ],
        )
        postgres.run_script(
            "create or replace function public.half_hour_of(moment timestamptz) returns timestamptz "
            "language sql immutable set search_path = '' as 'select null::timestamptz'"
        )

    return become


@pytest.mark.own_database
def test_a_newer_database_that_takes_this_program_is_used_and_left_as_it_is(
    postgres: PostgresDatabase, newer: Callable[[int], None]
) -> None:
    newer(newest().version)
    with psycopg.connect(postgres.conninfo) as session:
        before = structure(session)
    assert not install_schema(postgres)
    check_schema(postgres)
    with psycopg.connect(postgres.conninfo) as session:
        assert structure(session) == before


@pytest.mark.own_database
def test_a_newer_database_that_does_not_take_this_program_is_refused_in_one_line(
    postgres: PostgresDatabase, newer: Callable[[int], None]
) -> None:
    newer(newest().version + 1)
    for check in (install_schema, check_schema):
        with pytest.raises(
            SchemaTooNew, match=r"programs before version \d+ cannot use.*: update the program"
        ) as told:
            check(postgres)
        assert "\n" not in str(told.value)


@pytest.mark.own_database
@pytest.mark.parametrize("name", FILES)
def test_older_files_that_are_pasted_into_a_newer_database_are_refused(
    postgres: PostgresDatabase, newer: Callable[[int], None], name: str
) -> None:
    newer(1)
    with psycopg.connect(postgres.conninfo, autocommit=True) as session:
        before = structure(session)
        with pytest.raises(psycopg.errors.RaiseException, match="this database has"):
            session.execute(FILES[name].read_bytes(), prepare=False)
        session.execute("rollback")
        assert structure(session) == before


@pytest.mark.own_database
def test_a_database_with_the_first_file_alone_is_told_to_have_the_second(postgres: PostgresDatabase) -> None:
    postgres.run_script("update public.schema_version set applied_at = null")
    with pytest.raises(SchemaMissing, match=r"not its functions: run backend/deprecated/supabase_triggers\.sql"):
        check_schema(postgres)
    assert install_schema(postgres)
    check_schema(postgres)


@pytest.mark.own_database
def test_a_database_of_an_earlier_version_is_told_which_it_has_and_what_to_paste(postgres: PostgresDatabase) -> None:
    postgres.run_script("drop table public.schema_version")
    with pytest.raises(SchemaMissing, match=r"schema version 1, but this program needs \d+: run .*supabase_schema"):
        check_schema(postgres)


def test_a_database_as_the_program_needs_it_passes_over_either_door(database: Database) -> None:
    check_schema(database)


@pytest.mark.own_database
def test_two_checkouts_of_one_version_install_their_own_functions(postgres: PostgresDatabase) -> None:
    postgres.run_script("update public.schema_version set fingerprint = 'another'")
    assert install_schema(postgres)
    assert not install_schema(postgres)


@pytest.mark.own_database
def test_a_failed_statement_leaves_nothing_of_the_upgrade(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "alter table public.regions add column planet text; select no_such_function();"
    monkeypatch.setattr("database.schema.statements", lambda name: statements(name) + broken)
    postgres.run_script("update public.schema_version set fingerprint = 'another'")
    with pytest.raises(DatabaseError, match=r"could not be brought to version \d+: .*no_such_function"):
        install_schema(postgres)
    assert postgres.scalar("select count(*) from information_schema.columns where column_name = 'planet'") == 0
    assert postgres.scalar("select fingerprint from public.schema_version") == "another"


def test_a_program_of_version_1_finds_its_mark_and_leaves_the_database_alone(postgres: PostgresDatabase) -> None:
    mark = postgres.scalar("select obj_description('public.pipeline_runs'::regclass, 'pg_class')")
    assert mark == "pylon-deg schema 9433b91718ae4681"


def test_what_programs_of_compatible_versions_call_is_still_there(postgres_server: EmbeddedPostgres) -> None:
    """Every function of an earlier version that may run beside this one, with its parameters."""
    for version in [kept for kept in EARLIER if kept >= newest().compatible_from]:
        with ExitStack() as stack:
            old = stack.enter_context(bare_database(postgres_server.conninfo, "compatible_old"))
            new = stack.enter_context(bare_database(postgres_server.conninfo, "compatible_new"))
            with psycopg.connect(old, autocommit=True) as session:
                install_earlier(session, version)
                called = signatures(session)
            upgrade(new, "pasted")
            with psycopg.connect(new) as session:
                known = signatures(session)
        for name, overloads in called.items():
            for parameters in overloads:
                assert any(takes(offered, parameters) for offered in known.get(name, [])), (name, parameters)


Parameters = tuple[dict[str, str], int]


def signatures(session: Session) -> dict[str, list[Parameters]]:
    """Of every function: its parameters' types by name, in order, and how many of the last have defaults."""
    found: dict[str, list[Parameters]] = {}
    for name, names, types, defaults in session.execute(
        "select proname, coalesce(proargnames, '{}'), "
        "array(select format_type(t, null) from unnest(proargtypes) t), pronargdefaults "
        "from pg_proc where pronamespace = 'public'::regnamespace and prorettype <> 'trigger'::regtype"
    ):
        found.setdefault(name, []).append((dict(zip(names, types, strict=False)), defaults))
    return found


def takes(offered: Parameters, called: Parameters) -> bool:
    """Whether a call that names the parameters of `called` reaches the function that has `offered`."""
    types, defaults = offered
    required = list(types)[: len(types) - defaults]
    wanted, optional = called
    always = list(wanted)[: len(wanted) - optional]
    fits = all(types.get(name) in {kind, "text"} for name, kind in wanted.items())  # any value may be written as text
    return fits and set(required) <= set(always)


@pytest.mark.parametrize(
    ("files", "mistake"),
    [
        ({"2_x.sql": "-- Compatible from: 1\n"}, "name it"),
        ({"0002_x.sql": "select 1;"}, "begin it with"),
        ({"0003_x.sql": "-- Compatible from: 1\n"}, "after version 1 comes 2"),
        (
            {"0002_x.sql": "-- Compatible from: 1\n", "0002_y.sql": "-- Compatible from: 1\n"},
            "after version 2 comes 3",
        ),
        ({"0002_x.sql": "-- Compatible from: 3\n"}, "is impossible"),
        ({"0002_x.sql": "-- Compatible from: 2\n", "0003_x.sql": "-- Compatible from: 1\n"}, "is impossible"),
    ],
)
def test_migrations_that_make_no_row_of_versions_are_refused(
    tmp_path: Path, files: dict[str, str], mistake: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(MigrationMistake, match=mistake):
        migrations(tmp_path)
