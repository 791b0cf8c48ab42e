"""kill -9 of the coordinator's process before and after its steps: one award, and its power held once."""

from __future__ import annotations

from datetime import datetime, timedelta

from database.postgres import PostgresDatabase
from grid_world import NOW, store_world
from killed_steps import run_until_killed
from negotiation.book import NegotiationBook
from negotiation.model import NegotiationState
from negotiation.steps import next_step
from stored_negotiations import OutsideAgent, carry_on, check_award, held, is_the_vector, life_of, opened

PROGRAM = "negotiation_process.py"
LEASE = timedelta(seconds=31)


def awards_next(database: PostgresDatabase, now: datetime) -> bool:
    """Whether the next step is the award; nothing is made of it."""
    book = NegotiationBook(database)
    (claimed,), _ = book.claim_due("only looks", now, lease_seconds=30, limit=1)
    step = next_step(claimed, now)
    book.fail(claimed, "only looked at", now, again_after_s=0)
    return step.state is NegotiationState.AWARDED


def test_a_coordinator_that_is_killed_leaves_one_award(postgres: PostgresDatabase, conninfo: str) -> None:
    store_world(postgres, data_centres=2)
    negotiation = opened(postgres, outside=["A"], round_seconds=300)
    agent = OutsideAgent(postgres, negotiation.negotiation_id, "A")
    carry_on(postgres)
    agent.answer()

    run_until_killed(PROGRAM, conninfo, NOW, "storing ROUND")
    assert life_of(postgres, negotiation).negotiation.state is NegotiationState.OPEN
    carry_on(postgres, NOW)
    assert life_of(postgres, negotiation).negotiation.state is NegotiationState.OPEN, "its lease holds still"
    run_until_killed(PROGRAM, conninfo, NOW + LEASE, "stored ROUND")
    assert life_of(postgres, negotiation).negotiation.state is NegotiationState.ROUND

    now = NOW + LEASE
    agent.answer(now)
    while not awards_next(postgres, now):
        carry_on(postgres, now)
        agent.answer(now)
    run_until_killed(PROGRAM, conninfo, now, "storing AWARDED")
    assert not held(postgres)
    assert not life_of(postgres, negotiation).awards
    run_until_killed(PROGRAM, conninfo, now + LEASE, "stored AWARDED")
    assert len(held(postgres)) == 3

    agent.answer(now + LEASE)
    carry_on(postgres, now + LEASE)
    life = check_award(postgres, negotiation)
    assert (life.negotiation.state, life.negotiation.award_number) == (NegotiationState.CONFIRMED, 1)
    is_the_vector(life)
    assert len(held(postgres)) == 3
    called = [(one.agent, one.round) for one in life.messages if one.performative == "cfp"]
    assert len(called) == len(set(called)), "nobody is asked twice"
