"""What decisions of like workloads share changes none of them: each is what it is when nothing is shared."""

from __future__ import annotations

import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import a_context, capacity, centre, random_context, task, with_random_capacity
from decisions.scoring.capacity import less
from decisions.scoring.context import Capacity, DecisionContext, Task
from decisions.scoring.decide import Decision, decide
from decisions.scoring.like_workloads import MOST_KINDS, Kind
from vocabulary import Policy

seeds = st.integers(min_value=0, max_value=2**32)


def alone(context: DecisionContext, policy: Policy = Policy.BALANCED) -> Decision:
    """Decided on facts that are nobody else's."""
    return decide(DecisionContext.model_validate_json(context.model_dump_json()), policy=policy)


def changed(power: Capacity, rng: random.Random) -> Capacity:
    """The same after some run has taken power, or with other power at one place."""
    dc_id = rng.choice(sorted(power.free_it_kw) or ["nowhere"])
    if rng.random() < 0.7:
        start = power.start + timedelta(minutes=rng.randint(-40, 200))
        return less(power, dc_id, start, start + timedelta(minutes=rng.randint(1, 120)), rng.choice([0.1, 1, 3.4]))
    steps = ((0, rng.choice([0.0, 1.0, 7.6, 1000.0])), (rng.randint(1, 5), rng.choice([0.0, 2.0, 1000.0])))
    return power.model_copy(update={"free_it_kw": {**power.free_it_kw, dc_id: steps}})


@given(seed=seeds, policy=st.sampled_from(Policy))
@settings(max_examples=60, deadline=None)
def test_each_decision_of_a_batch_is_what_it_is_alone(seed: int, policy: Policy) -> None:
    rng = random.Random(seed)
    context = with_random_capacity(random_context(seed), seed)
    tasks = [context.task, random_context(seed + 1).task]
    for number in range(6):
        name = {"job_id": f"job-{number}"}
        context = context.model_copy(update={"task": rng.choice(tasks).model_copy(update=name)})
        assert decide(context, policy=policy) == alone(context, policy)
        if context.capacity is not None and rng.random() < 0.8:
            context = context.model_copy(update={"capacity": changed(context.capacity, rng)})


def test_the_options_of_other_places_stand_while_one_gives_power() -> None:
    context = a_context(
        centres=[centre("DC-1"), centre("DC-2"), centre("DC-3")],
        capacity=capacity({"DC-1": [(0, 9.0)], "DC-2": [(0, 9.0)], "DC-3": [(0, 9.0)]}),
    )
    first = {option.centre.dc_id: option for option in decide(context).options}
    assert context.capacity is not None
    taken = less(context.capacity, "DC-2", context.as_of, context.as_of + timedelta(hours=1), 1.5)
    second = {
        option.centre.dc_id: option for option in decide(context.model_copy(update={"capacity": taken})).options
    }
    assert second["DC-1"] is first["DC-1"]
    assert second["DC-3"] is first["DC-3"]
    assert (first["DC-2"].free_it_power_kw, second["DC-2"].free_it_power_kw) == (9.0, 7.5)


def test_workloads_are_alike_whatever_their_names_and_only_then() -> None:
    context = a_context(task=task(max_price_gbp=0.0))
    other = context.task.model_copy(update={"job_id": "another", "operator": "acme"})
    assert kind_of(other, context) == kind_of(context.task, context)
    for field, value in [("max_price_gbp", -0.0), ("required_gpu_mins", 7.0), ("runs_at", ("DC-1",))]:
        assert kind_of(context.task.model_copy(update={field: value}), context) != kind_of(context.task, context)


def test_more_kinds_than_are_kept_are_decided_as_well() -> None:
    context = a_context()
    for minutes in range(MOST_KINDS + 2):
        one = context.model_copy(
            update={"task": context.task.model_copy(update={"required_gpu_mins": 8.0 + minutes})}
        )
        assert decide(one).options
    assert decide(context) == alone(context)


def kind_of(one: Task, context: DecisionContext) -> Kind:
    return Kind.of(one, context.as_of, None, context.capacity)
