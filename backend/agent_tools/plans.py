"""Tools that plan: one workload, or up to fifty together. Nothing is stored."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from pydantic import ConfigDict, Field, WithJsonSchema

from agent_tools.definitions import Asked, AskedTime, Call, Given, Time, ToolDefinition
from agent_tools.explained import Chosen, Option, chosen_of, told, violations_of, warnings_of
from agent_tools.refusals import ToolRefused
from agent_tools.workload_fields import WorkloadAsked, absent
from vocabulary import Policy

MOST_TOGETHER = 50
MOST_TIME_LIMIT_S = 10
TOP = 3
TOLD_EVERY_S = 1.0
# What an answer may take beyond the solver's time: waiting for a turn, and the comparison.
_MORE_S = 20.0


def _names_say_it(schema: dict[str, Any]) -> None:
    for name in ("required_gpu_mins", "required_cpu_cores", "required_memory_gb"):
        del schema["properties"][name]["description"]


class PlanAsked(WorkloadAsked):
    model_config = ConfigDict(json_schema_extra=_names_say_it)

    policy: Policy = Policy.BALANCED
    at: AskedTime = absent("As of then, within 48 hours")


class Plan(Given):
    chosen: Chosen | None = Field(description="null: it would wait; waiting says why")
    waiting_status: str | None
    waiting_reason: str | None
    it_power_kw: float
    duration_minutes: float
    top: list[Option]
    places: int = Field(description="How many were considered")
    warnings: list[str]


async def plan_workload(asked: PlanAsked, call: Call) -> Plan:
    parameters = {"policy": asked.policy, "at": None if asked.at is None else asked.at.isoformat()}
    _, output = await call.platform.post("/api/v1/plan", asked.submission("policy", "at"), parameters)
    decision = output["decision"]
    waiting = decision["waiting"] or {}
    options = output["data_centre_options"]
    return Plan(
        chosen=chosen_of(output),
        waiting_status=waiting.get("status"),
        waiting_reason=waiting.get("reason"),
        it_power_kw=decision["workload"]["it_power_kw"],
        duration_minutes=decision["workload"]["duration_minutes"],
        top=[told(option) for option in options[:TOP]],
        places=len(options),
        warnings=warnings_of(output),
    )


class TogetherAsked(WorkloadAsked):
    interruptible: bool = Field(False, description="May pause between half-hours")


# Spelt out it would be the fields of plan_workload a second time, a tenth of all definitions.
_AS_PLAN_WORKLOAD = WithJsonSchema(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_TOGETHER,
        "items": {"type": "object", "required": ["workload_type"]},
        "description": "Each: job_id, fields of plan_workload; interruptible: true if it may pause",
    }
)


class PlanBatchAsked(Asked):
    workloads: Annotated[list[TogetherAsked], Field(min_length=1, max_length=MOST_TOGETHER), _AS_PLAN_WORKLOAD]
    policy: Policy = Policy.BALANCED
    time_limit_s: float = Field(3, ge=0.1, le=MOST_TIME_LIMIT_S, allow_inf_nan=False)


class PlannedJob(Given):
    job_id: str
    status: str
    dc_id: str | None
    start: Time | None
    end: Time | None
    carbon_gco2: float | None
    cost_gbp: float | None
    violations: list[str]


class PlanBatch(Given):
    as_of: Time
    method: str
    energy_kwh: float
    carbon_gco2: float
    cost_gbp: float
    objective_gbp: float
    gap: float | None = Field(description="Share by which a plan could be better at most")
    without_plan_carbon_gco2: float = Field(description="The same at once, each at home")
    without_plan_cost_gbp: float
    left_out: int
    jobs: list[PlannedJob]
    warnings: list[str]
    truncated: bool = False


async def plan_batch(asked: PlanBatchAsked, call: Call) -> PlanBatch:
    body = asked.model_dump(mode="json", exclude_none=True, warnings=False)
    answer = await _answer_while_telling(body, asked.time_limit_s, call)
    totals, alone = answer["totals"], answer["run_now_at_home"]["without_plan"]
    return PlanBatch(
        as_of=answer["as_of"],
        method=answer["method"],
        energy_kwh=totals["energy_kwh"],
        carbon_gco2=totals["carbon_gco2"],
        cost_gbp=totals["cost_gbp"],
        objective_gbp=totals["objective_gbp"],
        gap=answer["gap"],
        without_plan_carbon_gco2=alone["carbon_gco2"],
        without_plan_cost_gbp=alone["cost_gbp"],
        left_out=sum(job["status"] == "left_out" for job in answer["jobs"]),
        jobs=[_planned(job) for job in answer["jobs"]],
        warnings=answer["warnings"],
    )


async def _answer_while_telling(body: dict[str, Any], time_limit_s: float, call: Call) -> dict[str, Any]:
    """What the platform answers; meanwhile the caller is told how much of the time has passed."""
    refused: ToolRefused | None = None
    answer: dict[str, Any] = {}

    async def tell() -> None:
        passed_s = 0.0
        while True:
            await call.progress(min(passed_s, time_limit_s), time_limit_s)
            await anyio.sleep(TOLD_EVERY_S)
            passed_s += TOLD_EVERY_S

    async with anyio.create_task_group() as telling:
        telling.start_soon(tell)
        try:
            _, answer = await call.platform.post("/api/v1/plan/batch", body, within_s=time_limit_s + _MORE_S)
        except ToolRefused as error:  # a task group would wrap it
            refused = error
        telling.cancel_scope.cancel()
    if refused is not None:
        raise refused
    return answer


def _planned(job: dict[str, Any]) -> PlannedJob:
    figures = {name: job[name] for name in PlannedJob.model_fields if name != "violations"}
    return PlannedJob(**figures, violations=violations_of(job["violations"]))


PLAN_WORKLOAD = ToolDefinition(
    name="plan_workload",
    description="Where and when one workload would run, with energy, carbon, cost, the best three places and what "
    "stands in the way. Stores nothing: submit_workload with the same fields comes next.",
    takes=PlanAsked,
    gives=Plan,
    run=plan_workload,
)
PLAN_BATCH = ToolDefinition(
    name="plan_batch",
    description="Up to 50 workloads planned together within capacity, with a certified gap. Stores nothing. For one: "
    "plan_workload.",
    takes=PlanBatchAsked,
    gives=PlanBatch,
    run=plan_batch,
    rows="jobs",
)
