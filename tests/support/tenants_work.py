"""Jobs of tenants, their decisions, and all that a tenant can see of the world."""

from __future__ import annotations

import json
from typing import Any

from database.interface import Database, OrderBy, Row
from database.tenant_door import TenantDatabase
from decisions.work.notifications import WorkQueue
from grid_world import NOW

EVERYTHING = [
    "Operator",
    "Region",
    "DataCentre",
    "ComputeWorkload",
    "CapacityBooking",
    "Agent",
    "AgentState",
    "OrchestrationDecision",
    "StorageAsset",
    "FlexibilityUnit",
    "FlexibilityEvent",
]
TABLES = [
    ("operators", "operator_id"),
    ("data_centres", "dc_id"),
    ("compute_workloads", "job_id"),
    ("capacity_bookings", "booking_key"),
    ("run_accounts", "booking_key"),
    ("agents", "agent_id"),
    ("agent_states", "state_id"),
    ("orchestration_decisions", "decision_id"),
    ("storage_assets", "asset_id"),
    ("flexibility_units", "unit_id"),
    ("flexibility_events", "event_id"),
    ("flexibility_moves", "event_id"),
]


def submission(job_id: str, secret: str = "", **more: Any) -> Row:
    return {
        "job_id": job_id,
        "workload_type": "RAG_QUERY",
        "urgency": "LOW",
        "required_gpu_mins": 60,
        "submission_digest": f"digest of {job_id}",
        **({"status_reason": secret} if secret else {}),
        **more,
    }


def submit(tenant: Database, *rows: Row) -> Any:
    return tenant.call("submit_workloads", {"p_rows": list(rows)})


def decide_all(service: Database) -> int:
    """Decide whatever waits, as a worker would; how many there were."""
    queue = WorkQueue(service, "pylon-test", lease_seconds=60)
    claims_ = queue.claim(100).claimed
    batch = queue.contexts([claim.job for claim in claims_], NOW)
    assert all(claim.job in batch for claim in claims_)
    answer = service.call(
        "publish_decisions",
        {
            "p_agent_id": "pylon-test",
            "p_grid": batch.grid,
            "p_decisions": [
                {
                    "notification_id": claim.notification_id,
                    "lease_token": claim.lease_token,
                    "context": batch.task_row(claim.job),
                    "output": json.dumps(
                        {
                            "data_centre_options": [],
                            "task": {"job_id": claim.job_id},
                            "decision": {"of": claim.operator},
                            "_metadata": {"task_id": claim.job_id, "sequence": None},
                        }
                    ),
                    "chosen_dc_id": None,
                    "workload_status": "DEFERRED_CARBON",
                    "scorer": "deterministic",
                    "scorer_version": "1",
                    "reasoning": f"decided for {claim.operator}",
                }
                for claim in claims_
            ],
        },
    )
    assert [result["state"] for result in answer["results"]] == ["published"] * len(claims_)
    return len(claims_)


def everything_seen(tenant: TenantDatabase) -> str:
    """All that a tenant's functions and tables say, as one text."""
    said: list[Any] = [
        tenant.call("live_state", {"p_now": NOW, "p_types": EVERYTHING}),
        tenant.call("workloads_page", {"p_status": None, "p_after": None, "p_limit": 100}),
        tenant.call("events_after", {"p_after": 0, "p_limit": 100}),
        tenant.call("outputs_history", {"p_after": None, "p_limit": 100}),
        tenant.call("newest_unacknowledged_output", {"p_consumer": "bpp"}),
        tenant.call("current_context"),
        tenant.call("grid_context", {"p_now": NOW}),
        tenant.call("own_dead_letters"),
        tenant.call("own_hosted_workloads"),
        *(tenant.select(table, order=OrderBy((key,))) for table, key in TABLES),
    ]
    for job_id in ("job-1", "of-a", "of-b"):
        said.append(tenant.call("workload_detail", {"p_job_id": job_id}))
        said.append(tenant.call("task_output", {"p_task_id": job_id}))
        said.append(tenant.call("current_context", {"p_task_id": job_id}))
    return json.dumps(said)
