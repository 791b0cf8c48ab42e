"""A database as its catalogue describes it, and its rows, for comparing two of them."""

from __future__ import annotations

from typing import Any

import psycopg

SCHEMAS = "('public', 'tenancy', 'tenant')"
_THEIRS = f"(select oid from pg_namespace where nspname in {SCHEMAS})"


def _in_order(acl: str) -> str:
    """Rights in one order: PostgreSQL lists them as they came to be granted. None stays none, which is not empty."""
    sorted_rights = f"array(select r::text from unnest({acl}) as r order by 1)::text"
    return f"case when {acl} is not null then {sorted_rights} end as {acl}"


STRUCTURE = {
    "columns": "select table_name, column_name, data_type, udt_name, is_nullable, column_default, is_identity, "
    "is_generated, generation_expression from information_schema.columns "
    f"where table_schema in {SCHEMAS} order by table_schema, 1, 2",
    "constraints": "select conrelid::regclass::text, conname, convalidated, pg_get_constraintdef(oid) "
    f"from pg_constraint where connamespace in {_THEIRS} and contype <> 'n' order by 1, 2",
    "indexes": f"select indexname, indexdef from pg_indexes where schemaname in {SCHEMAS} order by 1",
    "triggers": "select tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid) from pg_trigger "
    "where not tgisinternal order by 1, 2",
    "functions": "select oid::regprocedure::text, pg_get_function_result(oid), pg_get_function_arguments(oid), "
    f"prosrc, proconfig, provolatile::text, prosecdef, {_in_order('proacl')} from pg_proc "
    f"where pronamespace in {_THEIRS} order by 1",
    "relations": f"select relname, relkind::text, {_in_order('relacl')}, relrowsecurity, relforcerowsecurity, "
    f"reloptions, relpersistence::text from pg_class where relnamespace in {_THEIRS} "
    "order by relnamespace::regnamespace::text, 1",
    "schemas": f"select nspname, nspacl::text from pg_namespace where nspname in {SCHEMAS} order by 1",
    "views": f"select viewname, definition from pg_views where schemaname in {SCHEMAS} order by schemaname, 1",
    "policies": "select tablename, policyname, permissive, roles::text, cmd, qual, with_check from pg_policies "
    f"where schemaname in {SCHEMAS} order by 1, 2",
    "comments": "select objoid::regclass::text, description from pg_description "
    "where classoid = 'pg_class'::regclass and objsubid = 0 and objoid in "
    "(select oid from pg_class where relnamespace = 'public'::regnamespace) order by 1",
}


def structure(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """Everything the SQL files make."""
    return {name: connection.execute(query.encode()).fetchall() for name, query in STRUCTURE.items()}


def table_names(connection: psycopg.Connection[Any]) -> list[str]:
    found = connection.execute(
        "select array_agg(relname::text order by relname) as names from pg_class "
        "where relnamespace = 'public'::regnamespace and relkind = 'r'"
    ).fetchone()
    assert found is not None
    names = found["names"] if isinstance(found, dict) else found[0]
    return list(names)


def content(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """Every row of every table but `schema_version`, as JSON."""
    return {
        name: connection.execute(
            f"select to_jsonb(t) as row from public.{name} t order by to_jsonb(t)::text".encode()
        ).fetchall()
        for name in table_names(connection)
        if name != "schema_version"
    }
