"""From a settlement to the moves of work that is booked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
import scipy.optimize

from grid_world import NOW
from negotiation.agents import BookedJob, ComputeAgent, SearchTime
from negotiation.awarding import moves_of
from negotiation.declared import DeclaredBookedJob, DeclaredCompute
from negotiation.model import AgentState, Kind, KnownAgent
from negotiation.settling import Award, Outcome


def test_where_work_begins_is_searched_for_also_where_planning_has_used_up_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []
    milp = scipy.optimize.milp

    def heard(*arguments: Any, options: Any, **named: Any) -> Any:
        asked.append(options["time_limit"])
        return milp(*arguments, options=options, **named)

    monkeypatch.setattr(scipy.optimize, "milp", heard)
    job = BookedJob("job", power_mw=1.0, half_hours=1, starts=(0, 1), costs_gbp=(0.0, 1.0))
    planner = ComputeAgent("A", np.ones(2), np.zeros(2), [job])
    planner.searches = SearchTime(seconds=0.0)
    declared = DeclaredBookedJob(
        job_id="job", booking_key=UUID(int=1), booked=0, power_mw=1.0, half_hours=1, starts=[0, 1], costs_gbp=[0, 1]
    )
    known = KnownAgent(
        agent="A",
        operator="op-a",
        kind=Kind.COMPUTE,
        dc_id="DC-001",
        endowment_mw=[1, 1],
        least_mw=[0, 0],
        most_mw=[1, 1],
        state=AgentState.PROPOSED,
        pue=1.2,
        declared=DeclaredCompute(cost_gbp_per_mwh=[0, 0], jobs=[declared]).model_dump(mode="json"),
    )
    award = Award("A", np.array([0.0, 1.0]), np.ones(2), 1.0, 0.0, 0.0)
    (move,) = moves_of(Outcome((award,), np.zeros(2), True), {"A": known}, {"A": planner}, NOW)
    assert move["starts_at"] > move["from_starts_at"]
    assert min(asked) >= 1
