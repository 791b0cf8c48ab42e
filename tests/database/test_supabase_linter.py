"""What Supabase's own linter, which every project there sees in its dashboard, says of our tables and functions."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from supabase_cli import Advice, SupabaseCli, supabase_cli

FAULTS = {
    "rls_disabled_in_public": "create table public.fault (fault_id integer primary key)",
    "policy_exists_rls_disabled": "alter table public.compute_workloads disable row level security",
    "security_definer_view": "create view public.fault as select * from public.compute_workloads",
    "function_search_path_mutable": "create function public.fault() returns integer language sql as 'select 1'",
    "rls_policy_always_true": """
        create policy fault on public.data_centres for all to authenticated using (true) with check (true)""",
}


@pytest.fixture(scope="module")
def cli() -> Iterator[SupabaseCli]:
    with supabase_cli() as cli:
        yield cli


def grave(found: list[Advice]) -> list[Advice]:
    """What is more than a remark, such as that an index has not been used yet."""
    return [advice for advice in found if advice.level != "INFO"]


@pytest.mark.own_database
def test_supabases_linter_finds_no_error_and_nothing_to_warn_of(cli: SupabaseCli, conninfo: str) -> None:
    assert grave(cli.advice(conninfo)) == []


@pytest.mark.own_database
def test_it_would_have_found_them(cli: SupabaseCli, conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as owner:
        owner.execute("create policy before_fault on public.compute_workloads for select to anon using (false)")
        for number, statement in enumerate(FAULTS.values()):
            owner.execute(statement.replace("fault", f"fault_{number}").encode())
        owner.execute("grant all on all tables in schema public to anon, authenticated")
    assert {advice.name for advice in grave(cli.advice(conninfo))} >= set(FAULTS)
