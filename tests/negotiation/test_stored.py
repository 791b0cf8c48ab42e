"""A stored negotiation's way through its states on the real database: one transaction a step, whoever dies when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations

import pytest

from api.negotiation_answers import detail
from database.errors import DatabaseError
from database.interface import OrderBy, Row, Where
from database.postgres import PostgresDatabase
from described_events import assert_as_described
from grid_world import NOW, data_centre, store_data_centres, store_world
from negotiation.book import NegotiationBook, Stepped
from negotiation.life import CoordinatorThread
from negotiation.model import (
    AgentState,
    Confirmation,
    Fallback,
    Leaving,
    NegotiationState,
    OfferedPlan,
    Proposal,
)
from negotiation.steps import next_step
from negotiation.talk import Opening, Saying, cancel_negotiation, open_negotiation, parts_of, read_part, say
from stored_negotiations import (
    ENDS_AT,
    ROUND_SECONDS,
    STARTS_AT,
    OutsideAgent,
    carry_on,
    check_award,
    coordinator,
    held,
    is_the_vector,
    life_of,
    negotiate_with,
    new_agent,
    new_negotiation,
    newest,
    opened,
)

LATER = timedelta(seconds=ROUND_SECONDS + 1)


@pytest.fixture
def world(postgres: PostgresDatabase) -> PostgresDatabase:
    store_world(postgres, data_centres=2)
    return postgres


def test_three_agents_share_a_limit_and_their_power_is_held_until_it_is_over(world: PostgresDatabase) -> None:
    negotiation = opened(world)
    carry_on(world)
    life = check_award(world, negotiation)
    assert life.negotiation.state is NegotiationState.CONFIRMED, life.negotiation.state_reason
    is_the_vector(life)
    assert {agent.state for agent in life.agents} == {AgentState.CONFIRMED}
    assert [(one.payer, one.payee, one.amount_gbp) for one in life.payments] == [("A", "S", "6"), ("B", "S", "10")]
    rows = [(row["dc_id"], row["starts_at"], float(row["it_power_kw"])) for row in held(world)]
    first, second = STARTS_AT, STARTS_AT + timedelta(minutes=30)
    assert [(dc_id, str(at)[11:16]) for dc_id, at, _ in rows] == [
        ("DC-001", str(first)[11:16]),
        ("DC-001", str(second)[11:16]),
        ("DC-002", str(first)[11:16]),
    ]
    assert [kw for *_, kw in rows] == pytest.approx([1800 / 1.2, 200 / 1.2, 2000 / 1.2], abs=1e-3)
    said = [message.performative for message in life.messages if message.agent == "A"]
    assert said[:2] == ["cfp", "propose"]
    assert said[-2:] == ["accept-proposal", "confirm"]

    carry_on(world, ENDS_AT)
    assert life_of(world, negotiation).negotiation.state is NegotiationState.SETTLED
    assert not held(world)
    assert len(held(world, "ENDED")) == 3


def events(database: PostgresDatabase) -> list[Row]:
    where = [Where("topic", "negotiations")]
    return database.select("broadcast_log", where=where, order=OrderBy(("sequence",)))


def test_how_a_negotiation_goes_is_told_to_all_that_take_part_and_to_no_stream_of_decisions(
    world: PostgresDatabase,
) -> None:
    world.insert("operators", [{"operator_id": "op-b", "name": "B"}])
    agents = [new_agent("A"), new_agent("B", tenant="op-b"), new_agent("S")]
    negotiation = opened(world, agents=agents, name="n" * 200)
    carry_on(world)
    carry_on(world, ENDS_AT)
    told = events(world)
    types = ["negotiation.opened", "negotiation.awarded", "negotiation.settled"]
    assert [(row["event_type"], row["tenant"]) for row in told] == [(t, o) for t in types for o in ("op-b", None)]
    assert_as_described(told)
    assert {row["subject"] for row in told} == {str(negotiation.negotiation_id)}
    assert told[2]["event"]["cost_gbp"] == pytest.approx(175.2)
    assert not {"outcome", "agents", "pays_gbp"} & set(told[2]["event"])
    decisions = world.call("events_after", {"p_after": 0, "p_limit": 100})
    assert decisions["events"] == []
    cancelled = opened(world, name="again", agents=agents)
    cancel_negotiation(world, cancelled.negotiation_id, "no longer", NOW)
    (failed, _) = events(world)[-2:]
    assert (failed["event_type"], failed["event"]["state"]) == ("negotiation.failed", "CANCELLED")


def test_agents_outside_answer_round_by_round_and_come_to_the_same_award(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["A", "S"])
    agents = [OutsideAgent(world, negotiation.negotiation_id, name) for name in ("A", "S")]
    carry_on(world)
    assert life_of(world, negotiation).negotiation.state is NegotiationState.OPEN
    assert {part.agent for part in parts_of(world)} == {"A", "S"}
    negotiate_with(world, agents)
    life = check_award(world, negotiation)
    assert life.negotiation.state is NegotiationState.CONFIRMED, life.negotiation.state_reason
    is_the_vector(life)


@pytest.mark.parametrize("order", list(permutations("ABS")), ids="".join)
def test_the_order_of_the_agents_changes_no_award(world: PostgresDatabase, order: Sequence[str]) -> None:
    negotiation = opened(world, agents=[new_agent(name) for name in order])
    carry_on(world)
    is_the_vector(check_award(world, negotiation))
    assert not held(world), "whoever draws at no data centre holds nothing"


def test_an_agent_that_falls_silent_stands_at_its_fallback_in_the_end(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"])
    silent = OutsideAgent(world, negotiation.negotiation_id, "B")
    carry_on(world)
    silent.answer()
    now = NOW
    while life_of(world, negotiation).negotiation.state in {NegotiationState.OPEN, NegotiationState.ROUND}:
        carry_on(world, now)
        now += LATER
    life = check_award(world, negotiation)
    assert life.negotiation.state is NegotiationState.CONFIRMED
    pays, cost, alone = newest(life)["B"]
    assert (cost, alone) == (92.5, 92.5)
    assert pays <= 0
    assert next(agent.state for agent in life.agents if agent.agent == "B") is AgentState.SILENT


def test_who_never_joins_is_left_out_with_its_share(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"])
    carry_on(world)
    carry_on(world, NOW + LATER)
    life = check_award(world, negotiation)
    assert set(newest(life)) == {"A", "S"}
    assert life.negotiation.outcome is not None
    assert life.negotiation.outcome["limit_mw"] == [1.5, 1.5]
    late = OutsideAgent(world, negotiation.negotiation_id, "B")
    assert late.answer() is None


def test_a_repeated_a_late_and_a_second_answer_change_nothing(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["A"])
    agent = OutsideAgent(world, negotiation.negotiation_id, "A")
    carry_on(world)
    part = read_part(world, negotiation.negotiation_id, "A")
    assert part is not None
    first = agent.reply_to(part.call)
    for expected in (Saying.STORED, Saying.REPEATED):
        assert say(world, negotiation.negotiation_id, "A", first, NOW).state is expected
    another = first.model_copy(update={"message_id": "another"})
    assert say(world, negotiation.negotiation_id, "A", another, NOW).state is Saying.WRONG_ROUND
    carry_on(world)
    assert say(world, negotiation.negotiation_id, "A", another, NOW).state is Saying.WRONG_ROUND, "it is late"
    early = Proposal(message_id="early", round=9, plans=[OfferedPlan(cost_gbp=1, draw_mw=[0, 0])])
    assert say(world, negotiation.negotiation_id, "A", early, NOW).state is Saying.WRONG_ROUND
    assert say(world, negotiation.negotiation_id, "B", first, NOW).state is Saying.UNKNOWN, "it is the program's"
    for other in (early, Leaving(message_id="early")):
        of_a_known_name = other.model_copy(update={"message_id": first.message_id})
        told = say(world, negotiation.negotiation_id, "A", of_a_known_name, NOW)
        assert (told.state, told.detail and "name of its own" in told.detail) == (Saying.DIFFERENT, True)
    messages = life_of(world, negotiation).messages
    assert sum(one.agent == "A" and one.sender == "agent" for one in messages) == 1
    negotiate_with(world, [agent])
    is_the_vector(check_award(world, negotiation))


@pytest.mark.parametrize(
    "draw_mw",
    [[1.6, 0.5], [-0.1, 1.5], [1.5], [1.5, 0.5, 0]],
    ids=["above its endowment", "below its least", "too few", "too many"],
)
def test_a_fallback_outside_an_agents_own_bounds_is_refused(world: PostgresDatabase, draw_mw: list[float]) -> None:
    negotiation = opened(world, outside=["A"])
    carry_on(world)
    message = Fallback(message_id="m", plan=OfferedPlan(cost_gbp=1, draw_mw=draw_mw))
    said = say(world, negotiation.negotiation_id, "A", message, NOW)
    assert said.state is Saying.OUT_OF_BOUNDS, said
    assert said.detail
    assert said.part is not None
    assert not said.part.answered


def test_a_proposal_above_what_the_agent_registered_is_refused(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["A"])
    agent = OutsideAgent(world, negotiation.negotiation_id, "A")
    carry_on(world)
    agent.answer()
    carry_on(world)
    part = read_part(world, negotiation.negotiation_id, "A")
    assert part is not None
    assert part.call is not None
    many = len(part.call.prices_gbp_per_mwh)
    plans = [OfferedPlan(cost_gbp=-1e6, draw_mw=[2.5, 0])] * many
    for offered in (plans, [OfferedPlan(cost_gbp=1, draw_mw=[1, 1])] * (many + 1)):
        message = Proposal(message_id="m", round=1, plans=offered)
        assert say(world, negotiation.negotiation_id, "A", message, NOW).state is Saying.OUT_OF_BOUNDS
    negotiate_with(world, [agent])
    is_the_vector(check_award(world, negotiation))


@pytest.mark.parametrize("cost_factor", [0.0, 0.5, 3.0, -10.0])
def test_an_agent_that_lies_makes_nobody_pay_more_than_its_fallback(
    world: PostgresDatabase, cost_factor: float
) -> None:
    negotiation = opened(world, outside=["B"])
    negotiate_with(world, [OutsideAgent(world, negotiation.negotiation_id, "B", cost_factor)])
    life = life_of(world, negotiation)
    if life.negotiation.state is not NegotiationState.FALLBACK:
        check_award(world, negotiation)


def test_who_leaves_stands_at_its_fallback(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"])
    agent = OutsideAgent(world, negotiation.negotiation_id, "B")
    carry_on(world)
    agent.answer()
    carry_on(world)
    leaving = Leaving(message_id="bye", reason="no longer")
    assert say(world, negotiation.negotiation_id, "B", leaving, NOW).state is Saying.STORED
    carry_on(world)
    life = check_award(world, negotiation)
    assert life.negotiation.state is NegotiationState.CONFIRMED
    assert newest(life)["B"][1] == 92.5
    assert say(world, negotiation.negotiation_id, "B", Leaving(message_id="again"), NOW).state is Saying.NOT_OPEN


def test_an_award_that_is_not_confirmed_is_made_again_without_whoever_did_not(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["A", "B"])
    agents = [OutsideAgent(world, negotiation.negotiation_id, name) for name in ("A", "B")]
    while life_of(world, negotiation).negotiation.state is not NegotiationState.AWARDED:
        carry_on(world)
        for agent in agents:
            if life_of(world, negotiation).negotiation.state is not NegotiationState.AWARDED:
                agent.answer()
    is_the_vector(check_award(world, negotiation))
    assert len(held(world)) == 3, "what is awarded is held from the first moment"
    first = life_of(world, negotiation).awards[0]
    agents[0].answer()
    before = life_of(world, negotiation)
    again = Confirmation(message_id="again", award_id=first.award_id)
    assert say(world, negotiation.negotiation_id, "A", again, NOW).state is Saying.REPEATED
    assert life_of(world, negotiation) == before, "to confirm twice keeps nothing, and outdates no step"
    carry_on(world, NOW + LATER)
    life = check_award(world, negotiation)
    assert (life.negotiation.state, life.negotiation.award_number) == (NegotiationState.AWARDED, 2)
    assert newest(life)["B"][1] == 92.5
    stale = Confirmation(message_id="stale", award_id=first.award_id)
    assert say(world, negotiation.negotiation_id, "A", stale, NOW + LATER).state is Saying.WRONG_AWARD
    negotiate_with(world, agents[:1], NOW + LATER)
    life = check_award(world, negotiation)
    assert life.negotiation.state is NegotiationState.CONFIRMED
    assert next(agent.state for agent in life.agents if agent.agent == "B") is AgentState.BREACHED


def test_an_award_that_comes_to_nothing_is_told_to_nobody(world: PostgresDatabase) -> None:
    agents = [new_agent(name, outside=True) for name in ("A", "B")]
    negotiation = opened(world, agents=agents, starts_at=STARTS_AT, closes_at=NOW + timedelta(minutes=10))
    halls = [
        OutsideAgent(world, negotiation.negotiation_id, "A"),
        OutsideAgent(world, negotiation.negotiation_id, "B"),
    ]
    while life_of(world, negotiation).negotiation.state is not NegotiationState.AWARDED:
        carry_on(world)
        for hall in halls:
            if life_of(world, negotiation).negotiation.state is not NegotiationState.AWARDED:
                hall.answer()
    assert len(detail(life_of(world, negotiation)).awards) == 2
    for name in ("A", "B"):
        assert say(world, negotiation.negotiation_id, name, Leaving(message_id="bye"), NOW).state is Saying.STORED
    carry_on(world)
    life = life_of(world, negotiation)
    assert life.negotiation.state is NegotiationState.FALLBACK
    assert life.awards, "they are kept"
    told = detail(life)
    assert (told.awards, told.payments, told.award_id) == ([], [], None)
    assert told.explanation == [life.negotiation.state_reason]
    part = read_part(world, negotiation.negotiation_id, "A")
    assert part is not None
    assert part.award is None


def test_an_agents_time_to_answer_begins_with_its_own_step(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"])
    busy = CoordinatorThread(world, worker="busy", clock=lambda: NOW + LATER)
    busy.run_due(NOW)
    part = read_part(world, negotiation.negotiation_id, "B")
    assert part is not None
    assert part.call is not None
    assert part.call.answer_by == NOW + LATER + timedelta(seconds=ROUND_SECONDS)


def test_what_a_clock_that_was_ahead_put_off_goes_on_by_the_right_time(world: PostgresDatabase) -> None:
    tomorrow = NOW + timedelta(days=1)
    later = {"starts_at": STARTS_AT + timedelta(days=1), "closes_at": tomorrow + timedelta(minutes=10)}
    negotiation = opened(world, outside=["B"], **later)
    CoordinatorThread(world, worker="ahead", clock=lambda: tomorrow).run_due(tomorrow)
    assert (life_of(world, negotiation).negotiation.answer_by or NOW) > tomorrow
    coordinator(world).run_due(NOW)
    stored = life_of(world, negotiation).negotiation
    assert (stored.state, stored.answer_by) == (NegotiationState.OPEN, NOW + timedelta(seconds=ROUND_SECONDS))
    assert coordinator(world).run_due(NOW).taken == 0, "it waits for B"


def test_a_coordinator_that_lost_its_lease_changes_nothing(world: PostgresDatabase) -> None:
    negotiation = opened(world)
    book = NegotiationBook(world)
    (old,), _ = book.claim_due("killed", NOW, lease_seconds=30, limit=1)
    step = next_step(old, NOW)
    (new,), _ = book.claim_due("another", NOW + timedelta(seconds=31), lease_seconds=30, limit=1)
    assert book.store(old, step, NOW).state is Stepped.FENCED
    assert not life_of(world, negotiation).messages
    assert book.store(new, next_step(new, NOW), NOW).state is Stepped.CHANGED
    assert book.store(old, step, NOW).state is Stepped.FENCED
    assert book.store(new, step, NOW).state is Stepped.FENCED, "a lease is for one step"
    carry_on(world)
    is_the_vector(check_award(world, negotiation))
    assert len(held(world)) == 3


def test_a_step_that_does_not_know_what_was_said_meanwhile_is_not_made(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"])
    agent = OutsideAgent(world, negotiation.negotiation_id, "B")
    carry_on(world)
    book = NegotiationBook(world)
    (claimed,), _ = book.claim_due("slow", NOW + LATER, lease_seconds=30, limit=1)
    agent.answer()
    assert book.store(claimed, next_step(claimed, NOW + LATER), NOW + LATER).state is Stepped.OUTDATED
    book.fail(claimed, "said meanwhile", NOW + LATER, again_after_s=0)
    negotiate_with(world, [agent], NOW + LATER)
    is_the_vector(check_award(world, negotiation))


def test_power_that_has_gone_meanwhile_is_not_held_twice(postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=1)
    store_data_centres(postgres, [data_centre(2, total_capacity_mw=1)])
    negotiation = opened(postgres)
    carry_on(postgres)
    life = check_award(postgres, negotiation)
    assert life.negotiation.state is NegotiationState.CONFIRMED
    assert newest(life)["B"][1] == 92.5, "it stands at its fallback"
    assert {row["dc_id"] for row in held(postgres)} == {"DC-001"}


def test_where_nobody_gains_all_stand_at_their_fallback(world: PostgresDatabase) -> None:
    alone = [new_agent(name, endowment_mw=[2, 2]) for name in ("A", "B")]
    negotiation = opened(world, agents=alone)
    carry_on(world)
    life = life_of(world, negotiation)
    assert life.negotiation.state is NegotiationState.FALLBACK
    assert not life.awards
    assert not held(world)


def test_what_cannot_end_before_its_first_half_hour_expires(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"], closes_at=STARTS_AT + timedelta(hours=1))
    OutsideAgent(world, negotiation.negotiation_id, "B")
    carry_on(world)
    OutsideAgent(world, negotiation.negotiation_id, "B").answer()
    carry_on(world, STARTS_AT)
    carry_on(world, STARTS_AT + LATER)
    carry_on(world, STARTS_AT + 2 * LATER)
    assert life_of(world, negotiation).negotiation.state in {NegotiationState.EXPIRED, NegotiationState.ROUND}
    carry_on(world, STARTS_AT + timedelta(hours=2))
    assert life_of(world, negotiation).negotiation.state is NegotiationState.EXPIRED
    assert not held(world)


def test_one_of_which_nothing_can_be_worked_out_expires_too(
    world: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    negotiation = opened(world, outside=["B"])
    carry_on(world)
    OutsideAgent(world, negotiation.negotiation_id, "B").answer()
    carry_on(world)
    assert life_of(world, negotiation).negotiation.state is NegotiationState.ROUND

    def none(*_: object) -> None:
        raise RuntimeError("it cannot be worked out")

    monkeypatch.setattr("negotiation.coordination.cheapest_mixture", none)
    failing = coordinator(world)
    failing.run_due(NOW + LATER)
    assert failing.troubles()
    assert life_of(world, negotiation).negotiation.state is NegotiationState.ROUND
    carry_on(world, STARTS_AT)
    assert life_of(world, negotiation).negotiation.state is NegotiationState.EXPIRED


def test_the_same_again_is_the_same_and_one_negotiation_at_a_time_is_about_a_limit(world: PostgresDatabase) -> None:
    first = open_negotiation(world, new_negotiation(limit_key="region-13", document={"a": 1}), NOW)
    again = open_negotiation(world, new_negotiation(limit_key="region-13", document={"a": 1}), NOW)
    assert (first.state, again.state) == (Opening.OPENED, Opening.ALREADY)
    assert open_negotiation(world, new_negotiation(document={"a": 2}), NOW).state is Opening.DIFFERENT
    other = new_negotiation(name="other", limit_key="region-13")
    assert open_negotiation(world, other, NOW).state is Opening.LIMIT_IN_USE
    stranger = new_negotiation(name="x", agents=[new_agent("A", tenant="nobody")])
    assert open_negotiation(world, stranger, NOW).state is Opening.UNKNOWN_OPERATOR
    nowhere = new_negotiation(name="x", agents=[new_agent("A", dc_id="DC-999")])
    assert open_negotiation(world, nowhere, NOW).state is Opening.UNKNOWN_DATA_CENTRE
    carry_on(world)
    assert open_negotiation(world, other, NOW).state is Opening.OPENED, "the first is awarded"


def test_so_many_are_opened_by_hand_within_an_hour_and_no_more(world: PostgresDatabase) -> None:
    ended = {
        "tenant": "platform",
        "started_by": "hand",
        "starts_at": STARTS_AT,
        "half_hours": 2,
        "round_seconds": 60,
        "most_rounds": 10,
        "closes_at": STARTS_AT,
        "state": "CANCELLED",
        "work_state": "completed",
        "scheduled_at": NOW,
        "opened_at": NOW,
    }
    world.insert("negotiations", [ended | {"name": f"n-{number}"} for number in range(200)])
    assert open_negotiation(world, new_negotiation(), NOW).state is Opening.TOO_OFTEN
    assert open_negotiation(world, new_negotiation(), NOW + timedelta(minutes=61)).state is Opening.OPENED


def test_a_negotiation_is_taken_back_until_it_is_awarded(world: PostgresDatabase) -> None:
    negotiation = opened(world, outside=["B"])
    carry_on(world)
    assert cancel_negotiation(world, negotiation.negotiation_id, "no longer", NOW).state == "cancelled"
    assert say(world, negotiation.negotiation_id, "B", Leaving(message_id="m"), NOW).state is Saying.NOT_OPEN
    carry_on(world, NOW + LATER)
    assert life_of(world, negotiation).negotiation.state is NegotiationState.CANCELLED
    done = opened(world, name="done")
    carry_on(world)
    assert cancel_negotiation(world, done.negotiation_id, "too late", NOW).state == "ended"


@pytest.mark.parametrize("table", ["negotiation_messages", "negotiation_awards", "negotiation_payments"])
def test_what_was_said_awarded_and_paid_is_written_once(world: PostgresDatabase, table: str) -> None:
    negotiation = opened(world)
    carry_on(world)
    with pytest.raises(DatabaseError, match="audit log"):
        world.delete(table, where=[Where("negotiation_id", str(negotiation.negotiation_id))])


def test_another_thread_carries_on_what_a_coordinator_left(world: PostgresDatabase) -> None:
    """At every step another worker: all that it needs is in what was said."""
    negotiation = opened(world, outside=["A"])
    agent = OutsideAgent(world, negotiation.negotiation_id, "A")
    for number in range(100):
        taken = coordinator(world, f"worker-{number}").run_due(NOW).taken
        if not taken and agent.answer() is None:
            break
    is_the_vector(check_award(world, negotiation))
    assert json.dumps(life_of(world, negotiation).model_dump(mode="json"))
