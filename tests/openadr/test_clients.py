"""Program → event → report → webhook by clients that others wrote, against a real API server over HTTP."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from api_servers import api_servers
from clock import utc_now
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of, rfc3339
from new_database import as_url
from openadr.endpoints.parameters import ROOT
from openadr_clients import drive, newer_python, python_with_clients
from tenancy.scopes import Role, Scope
from tenant_settings import made_key, with_tenants
from two_operators import A, make_operators

LONGEST_S = 900  # the environment is made once


def as_clients_do(script: str, python: Path, postgres: PostgresDatabase, conninfo: str, log_dir: Path) -> None:
    """A client of an operator's business logic and one of its VENs, each with its token, and both with webhooks."""
    make_operators(postgres)
    bl = made_key(postgres, A)[0]
    ven = made_key(postgres, A, Role.MEMBER, frozenset({Scope.OPENADR_USE}))[0]
    settings = {
        "DATABASE_URL": as_url(conninfo),
        "DATABASE_GATE_URL": as_url(conninfo).replace("postgres@", "pylon_gate@"),
        "OPENADR_PRIVATE_CALLBACKS": "127.0.0.1",
        **with_tenants(),
    }
    with api_servers(log_dir, settings) as start:
        server = start()
        server.wait_until_serving()
        ahead = rfc3339(half_hour_of(utc_now()) + timedelta(hours=5))
        said = drive(python, script, server.url + ROOT, bl.key_id, bl.text, ven.key_id, ven.text, ahead)
    assert said.startswith("program, event, report and webhook:")
    webhooks = postgres.select("openadr_webhooks", order=OrderBy(("webhook_id",)))
    assert {row["work_state"] for row in webhooks} == {"completed"}


@pytest.mark.timeout(LONGEST_S)
def test_openadr3_puts_events_reports_and_hears_webhooks(
    postgres: PostgresDatabase, conninfo: str, tmp_path: Path
) -> None:
    as_clients_do("with_openadr3.py", python_with_clients(sys.executable), postgres, conninfo, tmp_path)


@pytest.mark.timeout(LONGEST_S)
def test_openadr3_client_puts_events_reports_and_hears_webhooks(
    postgres: PostgresDatabase, conninfo: str, tmp_path: Path
) -> None:
    python = newer_python()
    if python is None:
        pytest.skip("openadr3-client needs Python 3.12, and there is none here; openadr3 has been there")
    as_clients_do("with_openadr3_client.py", python_with_clients(python), postgres, conninfo, tmp_path)
