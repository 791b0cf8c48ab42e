"""Tools about decisions: one with its reasons, and the newest ones."""

from __future__ import annotations

from typing import Any, Literal

import anyio
from pydantic import Field

from agent_tools.definitions import Asked, Call, Given, Named, Time, ToolDefinition
from agent_tools.explained import (
    Chosen,
    Option,
    chosen_of,
    option_of,
    told,
    violations_of,
    warnings_of,
)
from agent_tools.platform_calls import path_part
from agent_tools.refusals import ToolRefused
from grid.half_hours import from_rfc3339, rfc3339

LOOK_EVERY_S = 1.0
MOST_DECISIONS = 20
MOST_OPTIONS = 20


class DecisionAsked(Asked):
    job_id: Named
    detail: Literal["summary", "full"] = Field("summary", description="full: up to 20 places")
    compare_dc_id: Named | None = Field(None, description="Why not there?")


class Binding(Given):
    dc_id: str
    start: Time
    saving_gbp: float = Field(description="What it would have saved")
    violations: list[str]


class Decision(Given):
    job_id: str
    sequence: int | None
    decided_at: Time
    scorer: str
    rationale: str
    chosen: Chosen | None
    waiting_status: str | None
    waiting_reason: str | None
    runner_up_dc_id: str | None
    margin_gbp: float | None = Field(description="The runner-up costs so much more")
    binding: Binding | None = Field(description="The better run that a constraint ruled out")
    compared: Option | None = Field(description="The place asked about")
    compared_margin_gbp: float | None
    changes_above_gbp_per_t: float | None = Field(description="From this carbon price on, another answer")
    above_dc_id: str | None
    changes_below_gbp_per_t: float | None
    below_dc_id: str | None
    options: list[Option]
    warnings: list[str]
    truncated: bool = False


async def get_decision(asked: DecisionAsked, call: Call) -> Decision:
    row = await call.platform.get_if_there(f"/api/v1/workloads/{path_part(asked.job_id)}")
    if row is None:
        raise ToolRefused("there is no such workload of this caller")
    if row["decision"] is None or row["decision"]["output"] is None:
        raise ToolRefused("it is not decided yet: list_decisions with wait_s waits for it, then ask again")
    output = row["decision"]["output"]
    if "decision" not in output:
        raise ToolRefused("it was decided by an early version, which gave no reasons")
    summary, metadata = output["decision"], output["_metadata"]
    waiting, runner_up = summary["waiting"] or {}, summary["runner_up"] or {}
    switches = summary["carbon_price_switches"] or {}
    above, below = switches.get("above") or {}, switches.get("below") or {}
    compared = _compared(output, asked.compare_dc_id)
    options = output["data_centre_options"][: MOST_OPTIONS if asked.detail == "full" else 2]
    return Decision(
        job_id=asked.job_id,
        sequence=metadata["sequence"],
        decided_at=row["decision"]["decided_at"],
        scorer=metadata["scorer"],
        rationale=summary["rationale"],
        chosen=chosen_of(output),
        waiting_status=waiting.get("status"),
        waiting_reason=waiting.get("reason"),
        runner_up_dc_id=runner_up.get("dc_id"),
        margin_gbp=runner_up.get("margin_gbp"),
        binding=_binding(summary["binding_constraint"]),
        compared=compared,
        compared_margin_gbp=_margin(compared, summary["objective_gbp"]),
        changes_above_gbp_per_t=above.get("carbon_price_gbp_per_t"),
        above_dc_id=above.get("dc_id"),
        changes_below_gbp_per_t=below.get("carbon_price_gbp_per_t"),
        below_dc_id=below.get("dc_id"),
        options=[told(option) for option in options],
        warnings=warnings_of(output),
    )


def _compared(output: dict[str, Any], dc_id: str | None) -> Option | None:
    if dc_id is None:
        return None
    option = option_of(output, dc_id)
    if option is None:
        raise ToolRefused("compare_dc_id was not among the places considered: list_data_centres says which there are")
    return told(option)


def _margin(compared: Option | None, objective_gbp: float | None) -> float | None:
    if compared is None or compared.objective_gbp is None or objective_gbp is None:
        return None
    return round(compared.objective_gbp - objective_gbp, 6)


def _binding(found: dict[str, Any] | None) -> Binding | None:
    if found is None:
        return None
    return Binding(
        dc_id=found["dc_id"],
        start=found["start"],
        saving_gbp=found["saving_gbp"],
        violations=violations_of(found["violations"]),
    )


class DecisionsAsked(Asked):
    after: int | None = Field(None, ge=0, description="Without it the newest")
    limit: int = Field(10, ge=1, le=MOST_DECISIONS)
    wait_s: int = Field(0, ge=0, le=25, description="Wait so long for the first one")


class DecisionRow(Given):
    sequence: int
    decided_at: Time
    job_id: str | None
    status: str | None
    dc_id: str | None
    starts_at: Time | None
    carbon_gco2: float | None
    cost_gbp: float | None


class Decisions(Given):
    decisions: list[DecisionRow] = Field(description="Oldest first")
    next: int
    truncated: bool = False


async def list_decisions(asked: DecisionsAsked, call: Call) -> Decisions:
    after = asked.after
    if after is None:
        after = await _before_the_newest(asked.limit, call) if asked.wait_s == 0 else await newest_event(call)
    left_s = float(asked.wait_s)
    while True:
        page = await call.platform.from_gateway(
            "/beckn/broadcast/poll", {"after": after, "limit": asked.limit, "detail": "summary"}
        )
        if page["events"] or left_s <= 0:
            break
        await call.progress(asked.wait_s - left_s, asked.wait_s)
        await anyio.sleep(min(LOOK_EVERY_S, left_s))
        left_s -= LOOK_EVERY_S
    return Decisions(decisions=[_decided(event) for event in page["events"]], next=page["next"])


async def newest_event(call: Call) -> int:
    """The number after which everything is still to come."""
    page = await call.platform.from_gateway("/beckn/broadcast/poll", {"limit": 1, "detail": "summary"})
    return int(page["newest"] or 0)


async def _before_the_newest(count: int, call: Call) -> int:
    """A number after which the newest `count` decisions are."""
    page = await call.platform.from_gateway("/beckn/llm-output/history", {"limit": count})
    sequences = [each["_metadata"]["sequence"] for each in page["outputs"]]
    known = [sequence for sequence in sequences if sequence is not None]
    return min(known) - 1 if known else 0


def _decided(event: dict[str, Any]) -> DecisionRow:
    data = event["data"]
    starts_at = data.get("starts_at")
    return DecisionRow(
        sequence=event["sequence"],
        decided_at=event["created_at"],
        job_id=event["job_id"],
        status=data.get("status"),
        dc_id=data.get("dc_id"),
        starts_at=None if starts_at is None else rfc3339(from_rfc3339(starts_at)),
        carbon_gco2=data.get("carbon_gco2"),
        cost_gbp=data.get("cost_gbp"),
    )


GET_DECISION = ToolDefinition(
    name="get_decision",
    description="Why a workload is placed where it is: choice, runner-up, what ruled out a better one, why not "
    "compare_dc_id, and the carbon prices at which it changes.",
    takes=DecisionAsked,
    gives=Decision,
    run=get_decision,
    rows="options",
    longest_text=400,
)
LIST_DECISIONS = ToolDefinition(
    name="list_decisions",
    description="Decisions about the caller's workloads, by cursor. To watch: next as after, and wait_s. "
    "Reasons: get_decision.",
    takes=DecisionsAsked,
    gives=Decisions,
    run=list_decisions,
    rows="decisions",
    cursor=lambda row: row["sequence"],
)
