"""A decision's published output, told in a few kilobytes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agent_tools.definitions import Given, Time

MOST_WARNINGS = 6
MOST_VIOLATIONS = 4


class Option(Given):
    dc_id: str
    name: str
    score: float = Field(description="0 to 100; 0 is infeasible")
    start: Time | None
    objective_gbp: float | None
    carbon_gco2: float | None
    cost_gbp: float | None
    violations: list[str]


class Chosen(Given):
    dc_id: str
    start: Time
    end: Time
    energy_kwh: float
    carbon_gco2: float | None
    cost_gbp: float | None
    objective_gbp: float | None
    run_now_carbon_gco2: float | None = Field(description="The same run begun at once, there")
    run_now_cost_gbp: float | None


def chosen_of(output: dict[str, Any]) -> Chosen | None:
    """What was chosen; None for a workload that waits."""
    decision = output["decision"]
    option = option_of(output, decision["dc_id"]) if decision["dc_id"] else None
    if option is None or decision["start"] is None:
        return None
    estimates = option["estimates"]
    recommended, run_now = estimates["recommended"] or {}, estimates["run_now"] or {}
    return Chosen(
        dc_id=decision["dc_id"],
        start=decision["start"],
        end=decision["end"],
        energy_kwh=estimates["energy_kwh"],
        carbon_gco2=recommended.get("carbon_gco2"),
        cost_gbp=recommended.get("cost_gbp"),
        objective_gbp=decision["objective_gbp"],
        run_now_carbon_gco2=run_now.get("carbon_gco2"),
        run_now_cost_gbp=run_now.get("cost_gbp"),
    )


def option_of(output: dict[str, Any], dc_id: str) -> dict[str, Any] | None:
    """One data centre's option, if it is among them."""
    return next((option for option in output["data_centre_options"] if option["dc_id"] == dc_id), None)


def told(option: dict[str, Any]) -> Option:
    """An option in short."""
    recommended = option["estimates"]["recommended"] or {}
    return Option(
        dc_id=option["dc_id"],
        name=option["name"],
        score=option["suitability_score"],
        start=option["evaluated_start"],
        objective_gbp=option["objective_gbp"],
        carbon_gco2=recommended.get("carbon_gco2"),
        cost_gbp=recommended.get("cost_gbp"),
        violations=violations_of(option["constraint_violations"]),
    )


def violations_of(found: list[dict[str, Any]]) -> list[str]:
    """What stands in the way, in sentences."""
    return [str(each["message"]) for each in found[:MOST_VIOLATIONS]]


def warnings_of(output: dict[str, Any]) -> list[str]:
    return list(output["_metadata"]["warnings"][:MOST_WARNINGS])
