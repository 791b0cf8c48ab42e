"""Tools about workloads: submitting one, and what became of it."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from agent_tools.definitions import Asked, Call, Given, Key, Named, Time, ToolDefinition
from agent_tools.platform_calls import path_part
from agent_tools.refusals import ToolRefused
from agent_tools.workload_fields import RunAsked, WorkloadAsked, absent

_SAID_BY_PLAN_WORKLOAD = {"description", "minimum", "maximum", "pattern"}


def _as_plan_workload_says(schema: dict[str, Any]) -> None:
    for name in schema["properties"].keys() - {"job_id", "run"}:
        field = schema["properties"][name]
        schema["properties"][name] = {key: value for key, value in field.items() if key not in _SAID_BY_PLAN_WORKLOAD}


class SubmitAsked(WorkloadAsked):
    """As plan_workload takes it, which says what the fields mean and their bounds, checked here all the same."""

    model_config = ConfigDict(json_schema_extra=_as_plan_workload_says)

    job_id: Key = Field(description="Yours to choose; the same again changes nothing")
    run: RunAsked = absent("Left out, it is simulated")


class Submitted(Given):
    job_id: str
    created: bool = Field(description="false: the same was stored already")
    status: str
    operator: str | None
    created_at: Time


async def submit_workload(asked: SubmitAsked, call: Call) -> Submitted:
    status, stored = await call.platform.post("/api/v1/workloads", asked.submission())
    (row,) = stored["workloads"]
    return Submitted(
        job_id=row["job_id"],
        created=status == 201,
        status=row["status"],
        operator=row["operator"],
        created_at=row["created_at"],
    )


class WorkloadNamed(Asked):
    job_id: Named


class Run(Given):
    ended: str | None = Field(description="How; null: it has not")
    exit_status: int | None
    cause: str | None
    output_tail: str | None = Field(description="Its last line, quoted")
    run_s: float | None
    it_energy_kwh: float | None


class Account(Given):
    site_energy_kwh: float
    carbon_gco2: float | None
    cost_gbp: float | None
    run_now_carbon_gco2: float | None = Field(description="Without a decision")
    run_now_cost_gbp: float | None
    settled_at: Time | None


class WorkloadTold(Given):
    job_id: str
    status: str
    status_reason: str | None
    dc_id: str | None
    scheduled_start: Time | None
    actual_start: Time | None
    actual_end: Time | None
    run: Run | None = Field(description="null for a simulated run")
    account: Account | None = Field(description="null until it has ended")


async def get_workload(asked: WorkloadNamed, call: Call) -> WorkloadTold:
    path = f"/api/v1/workloads/{path_part(asked.job_id)}"
    row = await call.platform.get_if_there(path)
    if row is None:
        raise ToolRefused("there is no such workload of this caller: find_objects with ComputeWorkload lists them")
    run = await call.platform.get_if_there(f"{path}/run")
    accounts = await call.platform.get("/api/v1/objects/WorkloadRun", {"job_id": asked.job_id, "limit": 20})
    newest = max(accounts["objects"], key=lambda each: str(each["ended_at"]), default=None)
    decision = row["decision"] or {}
    return WorkloadTold(
        job_id=row["job_id"],
        status=row["status"],
        status_reason=row["status_reason"],
        dc_id=row["host_dc_id"] if row["actual_start"] else decision.get("chosen_dc_id") or row["host_dc_id"],
        scheduled_start=row["scheduled_start"],
        actual_start=row["actual_start"],
        actual_end=row["actual_end"],
        run=None if run is None else _run(run),
        account=None if newest is None else _account(newest),
    )


def _run(report: dict[str, Any]) -> Run:
    lines = [line for line in (report["output_tail"] or "").splitlines() if line.strip()]
    energy = [each["energy_wh"] for each in report["energy"] if each.get("energy_wh") is not None]
    return Run(
        ended=report["ended"],
        exit_status=report["exit_status"],
        cause=report["cause"],
        output_tail=lines[-1] if lines else None,
        run_s=report["run_s"],
        it_energy_kwh=round(sum(energy) / 1000, 6) if energy else None,
    )


def _account(account: dict[str, Any]) -> Account:
    return Account(
        site_energy_kwh=round(account["site_energy_wh"] / 1000, 6),
        **{name: account[name] for name in Account.model_fields if name != "site_energy_kwh"},
    )


SUBMIT_WORKLOAD = ToolDefinition(
    name="submit_workload",
    description="Stores one workload, with the fields of plan_workload, which is then decided, booked and run. "
    "Plan it first; afterwards get_decision. Needs the scope workloads:write.",
    takes=SubmitAsked,
    gives=Submitted,
    run=submit_workload,
    writes=True,
)
GET_WORKLOAD = ToolDefinition(
    name="get_workload",
    description="A workload's status, place, times, what its runner reports, and what its run came to.",
    takes=WorkloadNamed,
    gives=WorkloadTold,
    run=get_workload,
)
