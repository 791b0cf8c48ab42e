"""Which work to move: the worked example through the scorer, and the choice against every set."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decision_contexts as worlds
from decisions.scoring.context import DecisionContext
from flexibility.choosing import choice as choosing
from flexibility.choosing.choice import Candidate, Choice, Event, Method, choose, committed_mwh
from flexibility.choosing.moves import Booked, Mover, closed
from flexibility.choosing.offer import Offer, make_offer
from grid.half_hours import HALF_HOUR

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
AS_OF = datetime(2026, 11, 24, 10, tzinfo=timezone.utc)

EVENT = Event(NOON, (Decimal(2),) * 4, tuple(map(Decimal, (180, 220, 240, 160))))
SITES = frozenset({"DC-001", "DC-002"})


def series(now: list[float], later: list[float]) -> list[float | None]:
    """By half-hour from 10:00: known from 12:00 to 14:00 and from 15:00 to 17:00, the event and what comes after."""
    return [None] * 4 + now + [None] * 2 + later


WORLD: dict[str, Any] = {
    "as_of": AS_OF,
    "price": series([62, 64, 66, 60], [88, 92, 96, 104]),
    "stress": series([0.62, 0.63, 0.64, 0.62], [0.74, 0.78, 0.82, 0.86]),
    "carbon": {
        13: series([150, 148, 146, 150], [190, 200, 210, 215]),
        2: series([40, 42, 44, 40], [55, 60, 66, 70]),
    },
    "centres": [
        worlds.centre("DC-001", pue=1.0),
        worlds.centre("DC-002", pue=1.0, region_id=2, location_region="South Scotland"),
    ],
}
WORK = {"W1": ("DC-001", 1200.0, "MEDIUM"), "W2": ("DC-002", 800.0, "LOW"), "W3": ("DC-001", 500.0, "HIGH")}


def booked(name: str, free_kw: float = 5000, **facts: Any) -> tuple[DecisionContext, Booked]:
    """A workload of the example: two hours from 12:00, at a site of its own."""
    dc_id, kw, urgency = WORK[name]
    task = {
        "job_id": name,
        "workload_type": "TRAINING_RUN",
        "urgency": urgency,
        "required_gpu_mins": 960,
        "estimated_energy_kwh": 2 * kw,
        "deferral_window_mins": 720,
        "runs_at": [dc_id],
        **facts,
    }
    capacity = {"start": AS_OF.isoformat(), "half_hours": 96, "free_it_kw": {one: [[0, free_kw]] for one in SITES}}
    document = worlds.context_json(task=task, capacity=capacity, **WORLD)
    return DecisionContext.model_validate(document), Booked(dc_id, NOON, NOON + timedelta(hours=2), kw)


MOVER = Mover(EVENT, SITES, carbon_price_gbp_per_t=100)


@pytest.mark.parametrize(
    ("name", "keep", "delta"),
    [("W1", "234.0990", "119.9910"), ("W2", "138.9460", "74.4840"), ("W3", "97.541250", "51.433750")],
)
def test_moving_costs_what_j_says(name: str, keep: str, delta: str) -> None:
    move = MOVER.move(*booked(name))
    assert move is not None
    waited = 2 * Decimal({"W1": "0.05", "W2": "0.01", "W3": "0.50"}[name])
    assert move.keep_gbp - waited == Decimal(keep), "two hours from now to noon are waited for either way"
    assert move.delta_gbp == Decimal(delta)
    assert move.to.start == NOON + timedelta(hours=3)
    assert move.to_dc_id == WORK[name][0]


def offer_of(*names: str) -> Offer:
    return make_offer(MOVER, [booked(name) for name in names])


def test_the_worked_example_chooses_two_of_three() -> None:
    offer = offer_of("W1", "W2", "W3")
    assert offer.choice.names == ("W1", "W2")
    assert offer.choice.gain_gbp == Decimal("605.5250")
    assert (offer.choice.revenue_gbp, offer.choice.cost_gbp) == (Decimal(800), Decimal("194.4750"))
    assert committed_mwh(EVENT, offer.choice.freed_mwh) == (Decimal(1),) * 4
    assert (offer.choice.method, offer.choice.gap_gbp) == (Method.ENUMERATED, Decimal(0))
    assert [move.candidate.name for move in offer.moves] == ["W1", "W2"]


def candidates() -> dict[str, Candidate]:
    moves = {name: MOVER.move(*booked(name)) for name in WORK}
    return {name: move.candidate for name, move in moves.items() if move is not None}


@pytest.mark.parametrize(
    ("names", "gain"),
    [
        ("W1 W2", "605.5250"),
        ("W1 W2 W3", "554.0912"),
        ("W1 W3", "508.5752"),
        ("W2 W3", "394.0822"),
        ("W1", "360.0090"),
        ("W2", "245.5160"),
        ("W3", "148.5663"),
    ],
)
def test_every_set_of_the_worked_example(names: str, gain: str) -> None:
    found = choosing.figures(EVENT, [candidates()[name] for name in names.split()], Method.ENUMERATED)
    assert abs(found.gain_gbp - Decimal(gain)) <= Decimal("0.00006")


def test_the_solver_finds_what_enumeration_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MOST_ENUMERATED", 1)
    found = choose(EVENT, list(candidates().values()))
    assert (found.names, found.gain_gbp, found.method) == (("W1", "W2"), Decimal("605.5250"), Method.EXACT)


@pytest.mark.parametrize(
    "facts",
    [
        {"urgency": "CRITICAL"},
        {"deadline": (NOON + timedelta(hours=4)).isoformat()},
        {"deferral_window_mins": 240},
        {"carbon_cap_gco2": 200},
    ],
    ids=["critical", "deadline", "window", "cap"],
)
def test_what_must_not_or_cannot_move_stays(facts: dict[str, Any]) -> None:
    assert MOVER.move(*booked("W1", **facts)) is None


def test_what_has_begun_and_what_is_elsewhere_stays() -> None:
    context, place = booked("W1")
    begun = Booked(place.dc_id, AS_OF, AS_OF + timedelta(hours=4), 1200)
    assert MOVER.move(context, begun) is None
    assert Mover(EVENT, frozenset({"DC-002"}), carbon_price_gbp_per_t=100).move(context, place) is None


def test_a_missing_signal_moves_nothing() -> None:
    context, place = booked("W1")
    unknown = Booked(place.dc_id, NOON - HALF_HOUR, NOON + timedelta(hours=1, minutes=30), 1200)
    assert MOVER.move(context, unknown) is None, "half past eleven has no price"


def test_nothing_is_offered_that_costs_more_than_it_earns() -> None:
    cheap = Event(NOON, EVENT.need_mw, (Decimal(20),) * 4)
    offer = make_offer(Mover(cheap, SITES, carbon_price_gbp_per_t=100), [booked(name) for name in WORK])
    assert offer.moves == ()
    assert offer.choice.names == ()
    assert offer.choice.objective_gbp == 0
    assert offer.considered == 3
    assert all(gain < 0 for _, gain in offer.gains_alone)


def test_what_finds_no_room_beside_the_others_stays() -> None:
    offer = make_offer(MOVER, [booked(name, free_kw=1300) for name in ("W1", "W3")])
    assert [move.candidate.name for move in offer.moves] == ["W1"]
    assert offer.choice.gain_gbp == Decimal("360.0090")
    assert offer.choice.gap_gbp == Decimal("148.56625"), "the bound lets both move"


def test_a_closed_half_hour_has_nothing_free() -> None:
    context, _ = booked("W1")
    assert context.capacity is not None
    left = closed(context.capacity, "DC-001", NOON, NOON + timedelta(hours=2))
    assert left.free_it_kw["DC-001"] == ((0, 5000.0), (4, 0.0), (8, 5000.0))


@pytest.mark.parametrize(("need", "price"), [([], []), (["1"], []), (["-1"], ["5"]), (["1"], ["-5"])])
def test_an_event_that_needs_no_reduction_is_none(need: list[str], price: list[str]) -> None:
    with pytest.raises(ValueError, match="an event needs"):
        Event(NOON, tuple(map(Decimal, need)), tuple(map(Decimal, price)))


AMOUNTS = st.decimals("0", "4", places=2)
EVENTS = st.integers(1, 4).flatmap(
    lambda many: st.builds(
        Event,
        st.just(NOON),
        st.tuples(*[AMOUNTS] * many),
        st.tuples(*[st.decimals("0", "500", places=1)] * many),
    )
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Event, list[Candidate]]:
    event = draw(EVENTS)
    freed = st.tuples(*[AMOUNTS] * len(event.need_mw))
    costs = st.decimals("-50", "400", places=2)
    return event, [Candidate(f"W{n}", draw(costs), draw(freed)) for n in range(draw(st.integers(0, 6)))]


def best_of_all_sets(event: Event, some: list[Candidate]) -> Choice:
    sets = (chosen for many in range(len(some) + 1) for chosen in combinations(some, many))
    return min((choosing.figures(event, chosen, Method.EXACT) for chosen in sets), key=lambda one: one.objective_gbp)


@given(cases())
@settings(max_examples=40)
def test_no_set_is_better_than_the_choice(case: tuple[Event, list[Candidate]]) -> None:
    event, some = case
    useful = [one for one in some if any(one.freed_mwh)]
    found = choose(event, some)
    assert abs(found.objective_gbp - best_of_all_sets(event, useful).objective_gbp) < Decimal("1e-8")
    assert found.objective_gbp <= 0
    assert choose(event, some[::-1]).names == found.names, "the order of the candidates changes nothing"


@given(cases())
@settings(max_examples=15)
def test_the_solver_is_within_its_gap_of_the_best(case: tuple[Event, list[Candidate]]) -> None:
    event, some = case
    useful = [one for one in some if any(one.freed_mwh)]
    if not useful:
        return
    found = choosing._solved(event, useful, 10.0)
    best = best_of_all_sets(event, useful).objective_gbp
    assert found.objective_gbp - found.gap_gbp - Decimal("1e-5") <= best <= found.objective_gbp + Decimal("1e-8")
