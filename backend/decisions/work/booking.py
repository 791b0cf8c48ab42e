"""What a decision asks the database to hold, and what its workload would have had without a decision."""

from __future__ import annotations

from database.interface import Row
from decisions.scoring.assessment import Assessment
from decisions.scoring.capacity import counted_kw
from decisions.scoring.decide import Decision
from decisions.scoring.feasibility import finish
from vocabulary import StrEnum


class RunNowBasis(StrEnum):
    """Why a workload would have run where it would have run without a decision."""

    HOME = "home"
    FIRST_COME = "first_come"


def booking_of(decision: Decision, chosen: Assessment | None) -> Row | None:
    """The power that the published answer takes, as {starts_at, ends_at, it_power_kw, run_now}.

    None where the workload is not placed. `chosen` is the published answer, which a model may have chosen.
    """
    run = chosen.recommended if chosen else None
    if run is None:
        return None
    return {
        "starts_at": run.start,
        "ends_at": run.end,
        "it_power_kw": counted_kw(decision.load.it_power_kw),
        "run_now": run_now_of(decision),
    }


def run_now_of(decision: Decision) -> Row | None:
    """The counterfactual that savings are counted against, fixed when the workload is decided.

    The workload starts at once: at its home, which is its `host_dc_id`, whatever the room there; without one, or
    where that is OFFLINE, at the first data centre by dc_id that is ACTIVE and has room for it now, as a rule that
    knows nothing of the grid would have it. None where there is no such place.
    """
    home = _home(decision)
    option, basis = (_first_come(decision), RunNowBasis.FIRST_COME) if home is None else (home, RunNowBasis.HOME)
    if option is None:
        return None
    as_of = decision.context.as_of
    return {
        "dc_id": option.centre.dc_id,
        "starts_at": as_of,
        "ends_at": finish(as_of, decision.load.duration),
        "it_power_kw": counted_kw(decision.load.it_power_kw),
        "basis": str(basis),
    }


def _home(decision: Decision) -> Assessment | None:
    host = decision.context.task.host_dc_id
    return next((option for option in decision.options if option.centre.dc_id == host), None)


def _first_come(decision: Decision) -> Assessment | None:
    with_room = (option for option in decision.options if option.has_room_now)
    return min(with_room, key=lambda option: option.centre.dc_id, default=None)
