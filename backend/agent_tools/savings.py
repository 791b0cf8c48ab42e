"""The tool about savings: what runs used, and what deciding has saved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agent_tools.definitions import Asked, AskedTime, Call, Given, Time, ToolDefinition

MOST_GROUPS = 31


class SavingsAsked(Asked):
    by: Literal["day", "data_centre", "operator", "workload_type"] = "day"
    start: AskedTime | None = Field(None, description="By default a week back")
    end: AskedTime | None = Field(None, description="By default now")


class Saved(Given):
    key: str | None
    runs: int
    site_energy_kwh: float
    carbon_gco2: float
    cost_gbp: float
    compared_runs: int = Field(description="Those whose saving is known")
    saving_kwh: float | None
    saving_gco2: float | None = Field(description="Below 0: deciding did harm")
    saving_gbp: float | None
    share_worse_than_run_now: float | None


class Savings(Given):
    as_of: Time
    period_from: Time
    period_to: Time
    total: Saved
    groups: list[Saved]
    not_to_be_read_as: str
    truncated: bool = False


async def get_savings(asked: SavingsAsked, call: Call) -> Savings:
    period = {
        "from": None if asked.start is None else asked.start.isoformat(),
        "to": None if asked.end is None else asked.end.isoformat(),
    }
    found = await call.platform.get("/api/v1/savings", {"by": asked.by, **period})
    return Savings(
        as_of=found["as_of"],
        period_from=found["period_from"],
        period_to=found["period_to"],
        total=_saved(found["total"]),
        groups=[_saved(group) for group in found["groups"][-MOST_GROUPS:]],
        not_to_be_read_as="marginal savings, offsets or a bill: average intensities, wholesale prices",
        truncated=len(found["groups"]) > MOST_GROUPS,
    )


def _saved(group: dict[str, Any]) -> Saved:
    compared = group["compared"] or {}
    return Saved(
        key=group["key"],
        runs=group["runs"],
        site_energy_kwh=group["site_energy_kwh"],
        carbon_gco2=group["carbon_gco2"],
        cost_gbp=group["cost_gbp"],
        compared_runs=compared.get("runs", 0),
        saving_kwh=compared.get("realised_saving_kwh"),
        saving_gco2=compared.get("realised_saving_gco2"),
        saving_gbp=compared.get("realised_saving_gbp"),
        share_worse_than_run_now=compared.get("share_worse_than_run_now"),
    )


GET_SAVINGS = ToolDefinition(
    name="get_savings",
    description="What the caller's runs used, emitted and cost, and what deciding saved against running each at "
    "once. One run: get_workload.",
    takes=SavingsAsked,
    gives=Savings,
    run=get_savings,
    rows="groups",
)
