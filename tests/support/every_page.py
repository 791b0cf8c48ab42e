"""Every page of the dashboard, over a world in which each has something to show, and hostile texts in every field."""

from __future__ import annotations

import psycopg

from database.postgres import PostgresDatabase
from flexibility_world import ENDS_AT, announced, book_movable, carry_on
from grid_world import NOW, store_world, submit, workload
from metered_runs import metered_run, run_now
from running_gateway import workers_on
from served import Client
from stored_negotiations import carry_on as carry_negotiations_on
from stored_negotiations import opened
from stored_order import ORDER, store_order

HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=1</script>'
PAGES = (
    "/dashboard/",
    "/dashboard/regions/13",
    "/dashboard/data-centres",
    "/dashboard/data-centres/DC-001",
    "/dashboard/workloads",
    "/dashboard/workloads/new?workload_type=TRAINING_RUN&required_gpu_mins=120",
    "/dashboard/workloads/job-1",
    "/dashboard/decisions",
    "/dashboard/decisions/{decision}",
    "/dashboard/orders",
    f"/dashboard/orders/{ORDER}",
    '/dashboard/plan?workloads=[{"job_id":"a","workload_type":"OTHER"},{"workload_type":"OTHER","carbon_cap_gco2":1}]',
    "/dashboard/plan?workloads=x",
    "/dashboard/backtest?workload_type=OTHER&from=2026-11-22T00:00",
    "/dashboard/operations",
    "/dashboard/keys",
    "/dashboard/audit",
    "/dashboard/flexibility",
    "/dashboard/flexibility/{event}",
    "/dashboard/negotiations",
    "/dashboard/negotiations/{negotiation}",
    "/dashboard/savings?to=2026-11-23T08:00",
    "/dashboard/sign-in",
    "/dashboard/nowhere",
)


def store_every_page(database: PostgresDatabase) -> None:
    """A world with three data centres, a workload of a hostile reason and one that ran."""
    store_world(database)
    submit(database, workload("job-1", host_dc_id="DC-001"), workload("job-2"))
    database.call("cancel_workload", {"p_job_id": "job-1", "p_reason": HOSTILE, "p_now": NOW})
    metered_run(database, "ran-1", dc_id="DC-002", run_now=run_now(dc_id="DC-003"))
    store_order(database, terms={"lines": HOSTILE})
    submit(database, workload("decided-1", deferral_window_mins=600))
    workers_on(database).work_once()
    store_flexibility_event(database)
    store_hostile_names(database)
    opened(database)
    carry_negotiations_on(database)


def store_flexibility_event(database: PostgresDatabase) -> None:
    """One that a booked workload gave way for, settled."""
    book_movable(database, "gives-way")
    announced(database, source_id=HOSTILE[:40])
    carry_on(database, NOW)
    carry_on(database, ENDS_AT)


def store_hostile_names(database: PostgresDatabase) -> None:
    """In every field that somebody else writes and a page shows."""
    database.insert("operators", [{"operator_id": "OP-X", "name": HOSTILE, "operator_type": "OTHER"}])
    submit(database, workload("given-up", operator="OP-X"))
    agent = {"p_agent_id": "gateway:host:1", "p_name": HOSTILE, "p_agent_type": "GATEWAY", "p_version": HOSTILE[:40]}
    database.call("register_agent", {**agent, "p_detail": HOSTILE})
    with psycopg.connect(database.conninfo) as session:
        session.execute("update data_centres set name = %s where dc_id = 'DC-003'", [HOSTILE])
        session.execute(
            "update workload_notifications set work_state = 'discarded', attempt = 5, last_error = %s,"
            " finished_at = now() where job_id = 'given-up'",
            [HOSTILE],
        )


def address(site: Client, path: str) -> str:
    """Where a page is: `{decision}` is the newest one's, `{event}` the event of flexibility's."""
    if "{decision}" in path:
        path = path.format(decision=site.get("/api/v1/decisions?limit=1").json()["decisions"][0]["decision_id"])
    if "{event}" in path:
        path = path.format(event=site.get("/api/v1/flexibility/events").json()["events"][0]["event_id"])
    if "{negotiation}" in path:
        listed = site.get("/api/v1/negotiations").json()["negotiations"]
        path = path.format(negotiation=listed[0]["negotiation_id"])
    return site.url + path
