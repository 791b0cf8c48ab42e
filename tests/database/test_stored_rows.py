"""One odd row: refused by the tables, mended where it is stored, and never the end of a list."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from api_application import create_app
from database.build_sql import FILES, statements
from database.errors import RowRefused
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from decisions.publishing.store import PublishedDecisions
from grid_world import NOW, data_centre, store_data_centres, store_world, submit, workload
from linked_world import decision, store_linked_world
from running_gateway import running_gateway
from served import Client, served
from settings import load_settings

Session = psycopg.Connection[tuple[Any, ...]]

ODD_TIMES = [
    "infinity",
    "-infinity",
    "0044-03-15 12:00:00+00 BC",
    "0001-01-01 00:00:00+00",
    "20000-01-01 00:00:00+00",
]


@pytest.fixture
def session(conninfo: str) -> Iterator[Session]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


def without_check(session: Session, table: str, column: str) -> None:
    """As a database of an earlier version was."""
    session.execute(f"alter table {table} drop constraint {table}_{column}_bounds".encode())


def odd_workload(session: Session, job_id: str, value: str = "infinity") -> None:
    session.execute(
        "insert into compute_workloads (job_id, workload_type, required_gpu_mins, deadline) "
        "values (%s, 'OTHER', 10, %s)",
        (job_id, value),
    )


def test_every_stored_time_has_bounds(session: Session) -> None:
    unbounded = session.execute(
        """
        select c.table_name::text, c.column_name::text
        from information_schema.columns c
        join information_schema.tables t using (table_schema, table_name)
        where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER'
            and c.data_type = 'timestamp with time zone' and c.table_name <> 'schema_version'
            and not exists (
                select from pg_constraint k
                where k.conrelid = ('public.' || c.table_name)::regclass and k.convalidated
                    and k.conname = c.table_name || '_' || c.column_name || '_bounds')
        """
    ).fetchall()
    assert unbounded == []


@pytest.mark.parametrize("value", ODD_TIMES)
def test_a_time_that_nobody_can_read_is_refused(session: Session, value: str) -> None:
    for statement in (
        "insert into compute_workloads (job_id, workload_type, deadline) values ('odd', 'OTHER', %s)",
        "insert into broadcast_log (sequence, event_type, event, created_at) values (1, 'odd', '{}', %s)",
        "insert into agents (agent_id, name, agent_type, created_at) values ('odd', 'Odd', 'odd', %s)",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute(statement.encode(), (value,))


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("compute_workloads", {"required_gpu_mins": 1e300}),
        ("compute_workloads", {"required_gpu_mins": "NaN"}),
        ("compute_workloads", {"max_price_gbp": "Infinity"}),
        ("compute_workloads", {"deferral_window_mins": 2_147_483_647}),
        ("compute_workloads", {"required_cpu_cores": 2_147_483_647}),
        ("data_centres", {"total_capacity_mw": 1e300}),
        ("data_centres", {"pue": 1e300}),
        ("data_centres", {"name": "two\nlines"}),
        ("data_centres", {"name": "\x1b[31mred"}),
        ("data_centres", {"name": "x" * 201}),
    ],
)
def test_a_figure_or_a_name_that_nothing_real_has_is_refused(
    postgres: PostgresDatabase, table: str, change: dict[str, Any]
) -> None:
    store_world(postgres)
    submit(postgres, workload("job-1"))
    key = {"compute_workloads": ("job_id", "job-1"), "data_centres": ("dc_id", "DC-001")}[table]
    with pytest.raises(RowRefused):
        postgres.update(table, change, where=[Where(*key)])


@pytest.mark.own_database
def test_what_an_earlier_version_took_is_mended_and_the_audit_log_left_as_it_is(
    postgres: PostgresDatabase, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    store_linked_world(postgres)
    for table, column in (
        ("compute_workloads", "deadline"),
        ("compute_workloads", "created_at"),
        ("compute_workloads", "max_price_gbp"),
        ("data_centres", "name"),
        ("grid_signals", "timestamp"),
        ("orchestration_decisions", "recommended_start"),
    ):
        without_check(session, table, column)
    for number, value in enumerate(ODD_TIMES):
        odd_workload(session, f"odd-{number}", value)
    session.execute(
        "update compute_workloads set created_at = 'infinity', max_price_gbp = 1e300 where job_id = 'odd-0'"
    )
    session.execute("update data_centres set name = E'two\\nlines' where dc_id = 'DC-001'")
    session.execute("insert into grid_signals (timestamp, settlement_period) values ('infinity', 1)")
    postgres.insert("orchestration_decisions", [decision("job-2", 2, recommended_start="infinity")])
    with session.transaction():
        for name in FILES:
            session.execute(statements(name).encode(), prepare=False)

    mended = {
        row["job_id"]: row["deadline"]
        for row in postgres.select("compute_workloads", order=OrderBy(("job_id",)))
        if row["job_id"].startswith("odd")
    }
    assert list(mended.values()) == [None, *["2000-01-01T00:00:00+00:00"] * 3, None]
    (first,) = postgres.select("compute_workloads", where=[Where("job_id", "odd-0")], order=OrderBy(("job_id",)))
    assert (first["created_at"], first["max_price_gbp"]) == ("2199-12-31T23:59:59+00:00", 1e12)
    (centre,) = postgres.select("data_centres", where=[Where("dc_id", "DC-001")], order=OrderBy(("dc_id",)))
    assert centre["name"] == "two lines"
    assert len(postgres.select("grid_signals", order=OrderBy(("timestamp",)))) == 96
    decided = postgres.select("orchestration_decisions", order=OrderBy(("sequence",)))
    assert [row["recommended_start"] for row in decided] == ["2026-11-22T08:00:00+00:00", "infinity"]
    with pytest.raises(RowRefused):
        postgres.insert("orchestration_decisions", [decision("job-1", 3, recommended_start="infinity")])


@pytest.fixture
def odd_api(postgres: PostgresDatabase, session: Session) -> Iterator[Client]:
    """Over a linked world in which one workload has an endless deadline, and a decision an endless start."""
    store_linked_world(postgres)
    without_check(session, "compute_workloads", "deadline")
    without_check(session, "orchestration_decisions", "recommended_start")
    odd_workload(session, "job-11")
    postgres.insert("orchestration_decisions", [decision("job-2", 2, recommended_start="infinity")])
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client


@pytest.mark.own_database
def test_a_list_answers_with_its_good_rows_and_names_the_odd_one(
    odd_api: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "stored_rows"):
        for _ in range(2):
            page = odd_api.get("/api/v1/workloads").json()
            assert sorted(row["job_id"] for row in page["workloads"]) == ["job-1", "job-2"]
            assert [odd["row"] for odd in page["unreadable"]] == ["ComputeWorkload/job-11"]
            assert page["unreadable"][0]["reason"].startswith("deadline: ")
    told = [message for message in caplog.messages if "job-11" in message]
    assert len(told) == 1
    state = odd_api.get("/api/v1/live-state").json()
    assert sorted(one["job_id"] for one in state["objects"]["ComputeWorkload"]) == ["job-1", "job-2"]
    assert len(state["objects"]["OrchestrationDecision"]) == 1
    odd = [row["row"].partition("/")[0] for row in state["unreadable"]]
    assert odd == ["ComputeWorkload", "OrchestrationDecision"]
    assert odd_api.get("/api/v1/live-state?objects=Region").json().get("unreadable") is None


@pytest.mark.own_database
def test_pages_go_on_past_an_odd_row(odd_api: Client) -> None:
    objects = "/api/v1/objects/ComputeWorkload"
    first = odd_api.get(f"{objects}?limit=1").json()
    assert ([one["id"] for one in first["objects"]], first["next"]) == (["job-1"], "job-1")
    second = odd_api.get(f"{objects}?limit=1&after=job-1").json()
    assert ([one["id"] for one in second["objects"]], second["next"]) == (["job-2"], None)
    assert [row["row"] for row in second["unreadable"]] == ["ComputeWorkload/job-11"]
    seen: list[str] = []
    page = odd_api.get("/api/v1/workloads?limit=1").json()
    while True:
        seen += [row["job_id"] for row in page["workloads"]]
        if page["next"] is None:
            break
        page = odd_api.get(f"/api/v1/workloads?limit=1&after={page['next']}").json()
    assert sorted(seen) == ["job-1", "job-2"]
    linked = odd_api.get("/api/v1/objects/DataCentre/DC-001/links/CHOSE")
    assert (linked.status_code, len(linked.json()["objects"])) == (200, 1)


@pytest.mark.own_database
def test_the_odd_row_itself_is_a_fault_of_ours_that_names_it(odd_api: Client) -> None:
    for path in ("/api/v1/workloads/job-11", "/api/v1/objects/ComputeWorkload/job-11"):
        answer = odd_api.get(path)
        assert answer.status_code == 500
        assert "ComputeWorkload/job-11 cannot be read (deadline: " in answer.json()["detail"]
    # Its decision cannot be read, and the workload can.
    answer = odd_api.get("/api/v1/workloads/job-2")
    assert (answer.status_code, answer.json()["decision"]) == (200, None)


@pytest.mark.own_database
def test_the_gateway_s_lists_go_on_past_an_odd_row(postgres: PostgresDatabase, session: Session) -> None:
    store_data_centres(postgres, [data_centre(1)])
    submit(postgres, workload("job-1"))
    without_check(session, "compute_workloads", "deadline")
    without_check(session, "broadcast_log", "created_at")
    without_check(session, "workload_notifications", "created_at")
    odd_workload(session, "odd")
    session.execute("update workload_notifications set work_state = 'discarded'")
    session.execute("update workload_notifications set created_at = 'infinity' where job_id = 'odd'")
    for number, moment in enumerate(("now", "infinity", "now"), 1):
        session.execute(
            "insert into broadcast_log (sequence, event_type, event, created_at) values (%s, 'test', '{}', %s)",
            (number, moment),
        )
    with running_gateway(postgres) as gateway:
        catalogue = gateway.get("/beckn/catalog")
        (provider,) = catalogue.json()["message"]["catalog"]["providers"]
        assert [item["id"] for item in provider["items"]] == ["job-1"]
        assert catalogue.headers["Pylon-Unreadable"] == "ComputeWorkload/odd"
        dead = gateway.get("/queue/dead").json()
        assert [one["job_id"] for one in dead["notifications"]] == ["job-1"]
        assert len(dead["unreadable"]) == 1
        page = gateway.get("/beckn/broadcast/poll?after=0").json()
        assert ([event["sequence"] for event in page["events"]], page["next"]) == ([1, 3], 3)
        assert gateway.feed.newest == 3
    assert PublishedDecisions(postgres).events_after(1, 1).next == 2
