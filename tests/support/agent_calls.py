"""Each tool for agents as it is usually called, in the world of `agents_world`."""

from __future__ import annotations

from typing import Any

JOB = {"workload_type": "INFERENCE_BATCH", "required_gpu_mins": 60}
NEGOTIATIONS = "/api/v1/negotiations"
SHARE_A_LIMIT = {
    "name": "shared",
    "half_hours": 2,
    "agents": [
        {
            "kind": "compute",
            "agent": agent,
            "endowment_mw": 1.5,
            "cost_gbp_per_mwh": cost,
            "jobs": [{"job_id": agent, "energy_mwh": 1, "max_power_mw": 2, "may_pause": True}],
        }
        for agent, cost in (("dear-later", [80, 130]), ("same-later", [80, 90]))
    ],
}
USUAL: dict[str, dict[str, Any]] = {
    "grid_now": {"region_id": 13},
    "grid_forecast": {"region_id": 13, "hours": 48},
    "find_green_window": {"duration_minutes": 90, "region_ids": [1, 13]},
    "list_data_centres": {"region_id": 1},
    "get_capacity": {"dc_id": "DC-001", "hours": 48},
    "plan_workload": JOB,
    "plan_batch": {"workloads": [{"job_id": f"p-{number}", **JOB} for number in range(10)], "time_limit_s": 1},
    "submit_workload": {"job_id": "usual", **JOB},
    "get_workload": {"job_id": "decided"},
    "get_decision": {"job_id": "decided", "compare_dc_id": "DC-003"},
    "list_decisions": {},
    "get_savings": {},
    "get_flexibility": {},
    "get_negotiations": {},
    "find_objects": {"object_type": "DataCentre", "limit": 3},
    "follow_link": {"object_type": "Region", "object_id": "1", "link_type": "LOCATED_IN"},
}
