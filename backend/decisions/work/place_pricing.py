"""Keeps what a kilowatt is worth in each half-hour: plans together what waits or has not begun, and stores prices.

After a pipeline run, and at most every five minutes where something was decided or changed since. Decisions carry the
prices that are known when they are made; they wait for none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from database.interface import Database, Row
from database.stored_rows import read_each
from decisions.joint.place_prices import PlacePrices, price_places
from decisions.joint.problem import Job, PlanInputs
from decisions.scoring.capacity import less
from decisions.scoring.context import Capacity, DecisionContext, Task
from decisions.scoring.objective import Terms
from decisions.scoring.signals import read_signals
from decisions.work.known_grid import KnownGrid
from queueing.supervised import Rest, SupervisedLoop, troubles
from vocabulary import Policy

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 20.0
# The planner shares the processor with the API's answers.
TIME_LIMIT_S = 3.0


class _Held(BaseModel):
    """Power that a decision has promised to a run that has not begun."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dc_id: str
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    it_power_kw: float


class PlacePricing:
    """Looks from time to time, in a thread of its own."""

    def __init__(
        self,
        database: Database,
        *,
        carbon_price_gbp_per_t: float,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing runs before `start`."""
        self._database = database
        self._terms = Terms.of(Policy.BALANCED, carbon_price_gbp_per_t)
        self._clock = clock
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._loop = SupervisedLoop("the pricing of places", self._turn, self._stopping)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._stopping.set()
        self._loop.join(10.0)

    def troubles(self) -> list[str]:
        """What is wrong with it, in words."""
        return troubles([self._loop])

    def price(self) -> PlacePrices | None:
        """Plan and store, if it is time to; what was stored.

        Raises:
            DatabaseError: the database does not answer.
            pydantic.ValidationError: it holds what the scorer does not understand.
        """
        now = self._clock()
        work = self._database.call("work_to_price", {"p_now": now})
        if work is None:
            return None
        prices = self._planned(work["contexts"], [_Held.model_validate(row) for row in work["held"]])
        if prices is None:
            return None
        row: Row = {
            "slot": work["slot"],
            "planned_at": now,
            "newest_event": work["newest_event"],
            "starts_at": prices.start,
            "half_hours": prices.half_hours,
            "workloads": prices.workloads,
            "left_out": prices.left_out,
            "method": str(prices.method),
            "gbp_per_kw": prices.gbp_per_kw,
        }
        answer = self._database.call("store_capacity_prices", {"p_prices": row}, repeatable=True)
        return prices if answer["state"] == "stored" else None

    def _planned(self, contexts: Row, held: Sequence[_Held]) -> PlacePrices | None:
        """The prices; None where there is no data centre, or no signal for the present half-hour."""
        grid = KnownGrid(contexts["grid"], contexts["grid_version"])
        if not grid.is_whole:
            return None
        context = grid.parse().model_copy(update={"capacity": Capacity.model_validate(contexts["capacity"])})
        tasks, _ = read_each(
            Task.model_validate, [row["task"] for row in contexts["tasks"]], lambda task: f"Workload/{task['job_id']}"
        )
        return price_places(
            # Several operators may have named their workloads alike.
            [Job(task.model_copy(update={"job_id": str(number)})) for number, task in enumerate(tasks)],
            _with_its_power(held, context),
            self._terms,
            monotonic=self._monotonic,
            time_limit_s=TIME_LIMIT_S,
        )

    def _turn(self) -> Rest | None:
        prices = self.price()
        if prices is not None and prices.gbp_per_kw:
            _log.info(
                "power is short at %d data centres: %d workloads planned together, %d find no room",
                len(prices.gbp_per_kw),
                prices.workloads,
                prices.left_out,
            )
        return lambda: self._stopping.wait(LOOK_EVERY_S)


def _with_its_power(held: Sequence[_Held], context: DecisionContext) -> PlanInputs:
    """Where the work may be placed, with the power free that it holds so far."""
    capacity = context.capacity
    if capacity is not None:
        for one in held:
            capacity = less(capacity, one.dc_id, one.starts_at, one.ends_at, -one.it_power_kw)
    return PlanInputs(context.as_of, read_signals(context), context.data_centres, capacity)
