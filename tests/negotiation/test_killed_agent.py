"""kill -9 of an agent's process around what it answers: that is said once or not at all, and the award stands."""

from __future__ import annotations

from datetime import timedelta

from database.postgres import PostgresDatabase
from grid_world import NOW, store_world
from killed_steps import run_until_killed
from negotiation.model import AgentState, NegotiationState
from negotiation.talk import read_part
from stored_negotiations import (
    ROUND_SECONDS,
    OutsideAgent,
    carry_on,
    check_award,
    held,
    is_the_vector,
    life_of,
    newest,
    opened,
)

PROGRAM = "negotiating_process.py"
LATER = timedelta(seconds=ROUND_SECONDS + 1)


def test_an_agent_that_is_killed_goes_on_when_it_is_started_again_and_else_stands_at_its_fallback(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    store_world(postgres, data_centres=2)
    negotiation = opened(postgres, outside=["A"])
    who = (str(negotiation.negotiation_id), "A")
    started_again = OutsideAgent(postgres, negotiation.negotiation_id, "A")

    carry_on(postgres)
    run_until_killed(PROGRAM, conninfo, NOW, "said alone", *who)
    assert started_again.answer() is None, "it finds that it has answered"

    carry_on(postgres)
    run_until_killed(PROGRAM, conninfo, NOW, "saying round", *who)
    part = read_part(postgres, negotiation.negotiation_id, "A")
    assert part is not None
    assert (part.call is not None, part.answered) == (True, False)
    while life_of(postgres, negotiation).negotiation.state is NegotiationState.ROUND:
        assert started_again.answer() is not None
        carry_on(postgres)
    is_the_vector(check_award(postgres, negotiation))

    run_until_killed(PROGRAM, conninfo, NOW, "saying confirm", *who)
    carry_on(postgres)
    assert life_of(postgres, negotiation).negotiation.state is NegotiationState.AWARDED, (
        "it may still be started again"
    )
    carry_on(postgres, NOW + LATER)
    life = check_award(postgres, negotiation)
    assert (life.negotiation.state, life.negotiation.award_number) == (NegotiationState.CONFIRMED, 2)
    assert newest(life)["A"][1:] == (90, 90)
    assert next(agent.state for agent in life.agents if agent.agent == "A") is AgentState.BREACHED
    assert started_again.answer(NOW + LATER) is None
    assert held(postgres)
