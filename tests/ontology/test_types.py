"""The declarations against the database they are about: columns, keys, indexes, links, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints
from uuid import UUID

import psycopg
import pytest
import requests
from psycopg.rows import dict_row

from database.embedded import EmbeddedPostgres
from database.queues import QUEUES
from new_database import new_database
from ontology.types import LINK_TYPES, OBJECT_TYPES, LinkType, Moment, ObjectType, RegionId, parse_key, parse_property
from postgrest_server import PostgrestServer

Catalogue = psycopg.Connection[dict[str, Any]]

SQL_TYPES = {
    "text": str,
    "integer": int,
    "bigint": int,
    "double precision": float,
    "numeric": float,
    "boolean": bool,
    "timestamp with time zone": Moment,
    "uuid": UUID,
    "jsonb": Any,
    "json": Any,
    "ARRAY": Any,
}

TENANT_COLUMNS = {"tenant", "tenant_sequence", "tenant_state_id"}
"""Whose a row is, and its number there: part of the keys, and no property. `operator` says it to readers."""
CHAIN_COLUMNS = {"chain_position", "previous_hash", "chain_hash"}
"""What the audit log is verified by, with a command of its own."""

QUEUE_COLUMNS = {
    *("work_state", "scheduled_at", "attempt", "max_attempts", "lost_leases"),
    *("lease_token", "leased_until", "leased_by", "last_error", "finished_at"),
}
UNSHOWN_COLUMNS = {
    "meter_readings": {"booking_id"},
    "run_accounts": {"booking_id"},
    "capacity_bookings": {"booking_id", "notification_id"} | QUEUE_COLUMNS,
    "flexibility_events": QUEUE_COLUMNS,
    "flexibility_moves": {"notification_id"},
}
"""Numbers that count everybody's, and how far work on a row has come."""

WITHOUT_FOREIGN_KEY = {("capacity_bookings", ("flexibility_event_id",), "flexibility_events")}
"""Links to what is made after the table, and is never deleted."""

# What functions set beside their search path, in its order: how they are planned.
PLANNED = {
    "workload_list": ["plan_cache_mode=force_custom_plan"],
    "decision_list": ["plan_cache_mode=force_custom_plan"],
    "claim_notifications": ["plan_cache_mode=force_generic_plan"],
    "decision_contexts": ["plan_cache_mode=force_generic_plan"],
    **{
        f"queue_{queue.name}_claim": ["enable_seqscan=off", "enable_bitmapscan=off", "enable_sort=off"]
        for queue in QUEUES
    },
    "publish_decisions": [
        "plan_cache_mode=force_generic_plan",
        *("enable_seqscan=off", "enable_hashjoin=off", "enable_mergejoin=off"),
    ],
}
BY_INDEX = ["enable_seqscan=off", "enable_bitmapscan=off", "enable_sort=off"]
"""How the claims of queues are planned."""

object_types = pytest.mark.parametrize("object_type", OBJECT_TYPES.values(), ids=OBJECT_TYPES)


@pytest.fixture(scope="module")
def catalogue(postgres_server: EmbeddedPostgres) -> Iterator[Catalogue]:
    with (
        new_database(postgres_server) as conninfo,
        psycopg.connect(conninfo, row_factory=dict_row, autocommit=True) as connection,
    ):
        yield connection


def rows(catalogue: Catalogue, query: str, *parameters: Any) -> list[dict[str, Any]]:
    return catalogue.execute(query.encode(), parameters).fetchall()


def columns(catalogue: Catalogue, table: str) -> dict[str, dict[str, Any]]:
    found = rows(
        catalogue,
        "select column_name, data_type, is_nullable = 'YES' as nullable from information_schema.columns "
        "where table_schema = 'public' and table_name = %s",
        table,
    )
    unshown = TENANT_COLUMNS | CHAIN_COLUMNS | UNSHOWN_COLUMNS.get(table, set())
    return {row["column_name"]: row for row in found if row["column_name"] not in unshown}


def constrained_columns(catalogue: Catalogue, table: str, kind: str) -> list[dict[str, Any]]:
    """Without the tenant, which is on both sides of a key."""
    return rows(
        catalogue,
        """
        select
            c.confrelid::regclass::text as target,
            array(
                select a.attname::text from unnest(c.conkey) with ordinality as k (number, place)
                join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number
                where a.attname <> 'tenant'
                order by place) as columns,
            array(
                select a.attname::text from unnest(c.confkey) with ordinality as k (number, place)
                join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number
                where a.attname <> 'tenant'
                order by place) as target_columns
        from pg_constraint c
        where c.conrelid = ('public.' || %s)::regclass and c.contype = %s
        """,
        table,
        kind,
    )


def unique_columns(catalogue: Catalogue, table: str) -> list[list[str]]:
    found = rows(
        catalogue,
        """
        select array(
            select a.attname::text from unnest(i.indkey) with ordinality as k (number, place)
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
            order by place) as columns
        from pg_index i
        where i.indrelid = ('public.' || %s)::regclass and i.indisunique and i.indpred is null
        """,
        table,
    )
    return [row["columns"] for row in found]


def tables(catalogue: Catalogue) -> set[str]:
    found = rows(
        catalogue, "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
    )
    return {row["relname"] for row in found}


@object_types
def test_the_properties_are_the_table_s_columns_and_of_their_type(
    catalogue: Catalogue, object_type: type[ObjectType]
) -> None:
    stored = columns(catalogue, object_type.table)
    assert set(object_type.properties()) == set(stored)
    annotations = get_type_hints(object_type, include_extras=True)
    for name, column in stored.items():
        annotation = annotations[name]
        may_be_missing = type(None) in get_args(annotation)
        inner = get_args(annotation)[0] if may_be_missing else annotation
        expected = SQL_TYPES[column["data_type"]]
        if inner is RegionId:
            inner = int
        elif isinstance(inner, type) and issubclass(inner, str):
            inner = str  # a closed set of words is text to the database
        if expected is Any:
            assert annotation is Any, name
        else:
            assert inner == expected, name
            assert may_be_missing == column["nullable"], name


@object_types
def test_the_key_is_the_primary_key_or_as_unique_and_the_title_a_property(
    catalogue: Catalogue, object_type: type[ObjectType]
) -> None:
    (primary,) = constrained_columns(catalogue, object_type.table, "p")
    if UNSHOWN_COLUMNS.get(object_type.table, set()).isdisjoint(primary["columns"]):
        assert tuple(primary["columns"]) == object_type.key
    else:  # another one, that tells nobody how many rows there are
        assert list(object_type.key) in unique_columns(catalogue, object_type.table)
    assert object_type.title_property in object_type.properties()


@object_types
def test_every_filterable_property_leads_an_index(catalogue: Catalogue, object_type: type[ObjectType]) -> None:
    leading = rows(
        catalogue,
        """
        select a.attname::text as name
        from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = ('public.' || %s)::regclass
            and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = '(' || a.attname || ' IS NOT NULL)')
        """,
        object_type.table,
    )
    assert set(object_type.filterable()) <= {row["name"] for row in leading}
    assert object_type.key[0] in object_type.filterable()


@pytest.mark.parametrize(
    "link", LINK_TYPES, ids=lambda link: f"{link.source.__name__}-{link.rel}-{link.target.__name__}"
)
def test_every_link_is_a_foreign_key_to_its_target_s_key(catalogue: Catalogue, link: LinkType) -> None:
    keys = constrained_columns(catalogue, link.source.table, "f")
    if (link.source.table, link.columns, link.target.table) not in WITHOUT_FOREIGN_KEY:
        assert {
            "columns": list(link.columns),
            "target": link.target.table,
            "target_columns": list(link.target.key),
        } in keys
    assert set(link.columns) <= set(link.source.properties())
    assert link.columns[0] in link.source.filterable(), "the way back needs an index"


def test_every_foreign_key_between_objects_is_a_link(catalogue: Catalogue) -> None:
    declared = {(link.source.table, link.columns, link.target.table) for link in LINK_TYPES}
    objects = {object_type.table for object_type in OBJECT_TYPES.values()}
    stored = {
        (object_type.table, tuple(key["columns"]), key["target"])
        for object_type in OBJECT_TYPES.values()
        for key in constrained_columns(catalogue, object_type.table, "f")
        if key["target"] in objects and UNSHOWN_COLUMNS.get(object_type.table, set()).isdisjoint(key["columns"])
    }
    # A share's region is known by its regional signal.
    assert stored - declared == {("generation_mix", ("region_id",), "regions")}


def test_every_foreign_key_has_an_index_for_deletions_to_follow(catalogue: Catalogue) -> None:
    unindexed = rows(
        catalogue,
        """
        select c.conrelid::regclass::text as source, c.conname as name
        from pg_constraint c
        where c.contype = 'f' and c.connamespace = 'public'::regnamespace
            and not exists (
                select from pg_index i
                where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])
        """,
    )
    assert unindexed == []


def test_row_level_security_is_on_for_every_table(catalogue: Catalogue) -> None:
    without = rows(
        catalogue,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' "
        "and not relrowsecurity",
    )
    assert without == []


def test_the_service_role_may_use_every_table_and_nobody_else_any(catalogue: Catalogue) -> None:
    for table in tables(catalogue):
        for privilege in ("select", "insert", "update", "delete"):
            found = catalogue.execute(
                "select has_table_privilege('service_role', %(t)s, %(p)s) as service, "
                "has_table_privilege('anon', %(t)s, %(p)s) as anon, "
                "has_table_privilege('authenticated', %(t)s, %(p)s) as authenticated",
                {"t": f"public.{table}", "p": privilege},
            ).fetchone()
            assert found == {"service": True, "anon": False, "authenticated": False}, (table, privilege)


def test_no_function_is_for_everyone_and_each_has_a_search_path(catalogue: Catalogue) -> None:
    functions = rows(
        catalogue,
        """
        select p.oid::regprocedure::text as name, p.proconfig,
            has_function_privilege('anon', p.oid, 'execute') as anon,
            has_function_privilege('authenticated', p.oid, 'execute') as authenticated,
            has_function_privilege('service_role', p.oid, 'execute') as service,
            exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as acl
                where acl.grantee = 0) as everyone
        from pg_proc p
        where p.pronamespace = 'public'::regnamespace
        """,
    )
    assert len(functions) > 30
    for function in functions:
        name = function["name"].partition("(")[0]
        planned = BY_INDEX if re.fullmatch(r"queue_\w+_claim", name) else PLANNED.get(name, [])
        assert function["proconfig"] == ['search_path=""', *planned], function["name"]
        allowed = {who for who in ("anon", "authenticated", "service", "everyone") if function[who]}
        assert allowed == {"service"}, function["name"]


def test_views_are_read_with_the_reader_s_own_rights(catalogue: Catalogue) -> None:
    views = rows(
        catalogue,
        "select relname, reloptions from pg_class where relnamespace = 'public'::regnamespace and relkind = 'v'",
    )
    assert {view["relname"] for view in views} == {
        "current_system_state",
        "regional_carbon_ranking",
        "recent_decisions",
        "audited_decisions",
    }
    assert {tuple(view["reloptions"]) for view in views} == {("security_invoker=true",)}


def test_over_rest_an_anonymous_caller_reads_writes_and_calls_nothing(
    postgrest: PostgrestServer, catalogue: Catalogue
) -> None:
    views = ("current_system_state", "regional_carbon_ranking", "recent_decisions")
    names = [*sorted(tables(catalogue)), *views]
    with requests.Session() as session:

        def status(method: str, path: str, key: str | None, **options: Any) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            url = f"{postgrest.url}/rest/v1/{path}"
            return session.request(method, url, headers=headers, timeout=10, **options).status_code

        for key in (postgrest.powerless_key, None):
            assert {status("GET", f"{name}?limit=1", key) for name in names} == {401}
            assert status("POST", "operators", key, json={"operator_id": "X", "name": "x"}) == 401
            assert status("DELETE", "regions?region_id=eq.1", key) == 401
            assert status("POST", "rpc/live_state", key, json={"p_now": "2026-11-22", "p_types": []}) == 401
            assert status("POST", "rpc/submit_workloads", key, json={"p_rows": []}) == 401
        assert {status("GET", f"{name}?limit=1", postgrest.key) for name in names} == {200}


@pytest.mark.parametrize(
    ("type_name", "text", "key"),
    [
        ("Region", "13", {"region_id": 13}),
        ("DataCentre", "DC-001", {"dc_id": "DC-001"}),
        ("OrchestrationDecision", "5b0c6c3e-6d1c-4f5e-9d53-7f6e3f8f9a10", None),
    ],
)
def test_a_key_is_read_from_an_id(type_name: str, text: str, key: dict[str, Any] | None) -> None:
    assert parse_key(OBJECT_TYPES[type_name], text) == (key or {"decision_id": UUID(text)})


def test_a_key_of_two_parts_joins_them_with_a_tilde() -> None:
    key = parse_key(OBJECT_TYPES["RegionalGridSignal"], "13~2026-11-22T08:00:00Z")
    assert {name: str(value) for name, value in key.items()} == {
        "region_id": "13",
        "timestamp": "2026-11-22 08:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("Region", "thirteen"),
        ("Region", "13~14"),
        ("Region", "4294967296"),
        ("AgentState", str(2**63)),
        ("Region", ""),
        ("RegionalGridSignal", "13"),
        ("GridSignal", "1763798400"),
        ("GridSignal", "2026-11-22T08:00:00"),
        ("GridSignal", "0001-01-01T00:00:00+14:00"),
        ("OrchestrationDecision", "not-a-uuid"),
        ("DataCentre", "DC\x00"),
    ],
)
def test_text_that_cannot_be_an_id_is_refused(type_name: str, text: str) -> None:
    with pytest.raises(ValueError):
        parse_key(OBJECT_TYPES[type_name], text)


def test_null_means_missing_only_where_a_property_may_be_missing() -> None:
    assert parse_property(OBJECT_TYPES["DataCentre"], "operator", "null") is None
    assert parse_property(OBJECT_TYPES["DataCentre"], "dc_id", "null") == "null"
    assert parse_property(OBJECT_TYPES["GenerationMix"], "national_timestamp", "null") is None
    with pytest.raises(ValueError):
        parse_property(OBJECT_TYPES["DataCentre"], "region_id", "null")
