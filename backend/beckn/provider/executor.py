"""Runs what was ordered: a simulation in real time, over the half-hours of the real grid.

An order starts at its slot, draws its power for as long as its workload takes, and ends. What it used is worked out
from the half-hours it really ran in: energy is power x time, carbon and cost follow the intensity and the price that
are stored for each of them.

Just before a start the grid is looked at once more: when a run now would meet grid stress, its carbon cap, or
CARBON_SPIKE times the carbon it was sold with, and it may wait and something better is to come, it is deferred, and
its buyer is told why. Every step is stored with its callback in one transaction, under a lease: several processes
never run one order twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from beckn.protocol.objects import Action, Subscriber
from beckn.provider.messages_order import CancelledBy, FulfillmentStateCode
from beckn.provider.order_book import Actuals, Changing, OrderBook, OrderChange, OrderLease, lease_of
from beckn.provider.order_document import unsolicited
from beckn.provider.quotes import has_moved
from beckn.provider.requirements import Wanted
from beckn.provider.slots import SlotRun, possible_runs, run_at
from beckn.provider.stored_orders import (
    CancellationRecord,
    Deferral,
    DeferralReason,
    RequestedBy,
    StoredOrder,
)
from database.errors import DatabaseError, DataRefused
from database.interface import Database, OrderBy, Where
from decisions.scoring.context import DataCentre
from decisions.scoring.feasibility import Constraint
from grid.columns import CARBON_INTENSITY_COLUMN
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of, rfc3339
from grid.provenance import in_a_row
from queueing.consumer import Consumer, Round
from queueing.heartbeat import Heartbeat
from queueing.supervised import troubles
from vocabulary import SignalSource, Urgency, WorkloadStatus

_log = logging.getLogger(__name__)

CHANNEL = "beckn_orders"
POLL_SECONDS = 1.0
LEASE_SECONDS = 20.0
LONGEST_HOLD_S = 120.0
AGAIN_AFTER_S = 20.0
"""A step that failed is tried again after about so long."""
BATCH = 20

CARBON_SPIKE = 1.25
"""A run that would emit this many times what it was sold with is a spike."""

ON_TIME = timedelta(minutes=1)
"""A run that is started this soon after its time counts as started at it."""

_DEFERRED_STATUS = {
    DeferralReason.GRID_STRESS: WorkloadStatus.DEFERRED_GRID_STRESS,
    DeferralReason.CARBON: WorkloadStatus.DEFERRED_CARBON,
}


@dataclass(frozen=True)
class UsedHalfHour:
    """The grid in one half-hour of a run; None is unknown."""

    start: datetime
    carbon_intensity_gco2_per_kwh: float | None
    price_gbp_per_mwh: float | None
    carbon_source: str | None = None
    price_source: str | None = None


@dataclass(frozen=True)
class Spike:
    """What speaks against a run now."""

    reason: DeferralReason
    explanation: str


def used(order: StoredOrder, pue: float, half_hours: Iterable[UsedHalfHour]) -> Actuals:
    """What a run from `starts_at` to `ends_at` used: site energy, and the carbon and cost of every half-hour's share.

    Carbon or cost is None where it is unknown for one of the half-hours.
    """
    site_kw = order.it_power_kw * pue
    known = {half_hour.start: half_hour for half_hour in half_hours}
    carbon: float | None = 0.0
    cost: float | None = 0.0
    slot = half_hour_of(order.starts_at)
    while slot < order.ends_at:
        overlap = min(order.ends_at, slot + HALF_HOUR) - max(order.starts_at, slot)
        energy_kwh = site_kw * (overlap / timedelta(hours=1))
        grid = known.get(slot)
        intensity = grid.carbon_intensity_gco2_per_kwh if grid else None
        price = grid.price_gbp_per_mwh if grid else None
        carbon = None if carbon is None or intensity is None else carbon + energy_kwh * intensity
        cost = None if cost is None or price is None else cost + energy_kwh * price / 1000
        slot += HALF_HOUR
    return Actuals(
        start=order.starts_at,
        end=order.ends_at,
        energy_kwh=round(site_kw * ((order.ends_at - order.starts_at) / timedelta(hours=1)), 9),
        carbon_gco2=None if carbon is None else round(carbon, 6),
        cost_gbp=None if cost is None else round(cost, 9),
    )


def basis(half_hours: Sequence[UsedHalfHour]) -> str:
    """What of a run's carbon and cost no source gave, as a sentence to add; else nothing."""
    remarks = []
    for what, sources in (
        ("carbon", [each.carbon_source for each in half_hours]),
        ("cost", [each.price_source for each in half_hours]),
    ):
        for source, word in ((SignalSource.SYNTHETIC, "invented"), (SignalSource.MODELLED, "modelled")):
            if count := sources.count(source):
                remarks.append(f"its {what} rests on {word} figures in {count} of {len(half_hours)} half-hours")
    return f" Note that {in_a_row(remarks)}." if remarks else ""


def spike_against(order: StoredOrder, run: SlotRun | None, broken: Iterable[Constraint]) -> Spike | None:
    """Why an order should not run now, if there is a reason of the grid's; CRITICAL work always runs."""
    if order.terms.task.urgency is Urgency.CRITICAL:
        return None
    constraints = set(broken)
    if Constraint.GRID_STRESS in constraints:
        return Spike(DeferralReason.GRID_STRESS, "The grid would be under stress while it runs.")
    if Constraint.CARBON_CAP in constraints:
        return Spike(DeferralReason.CARBON, "The carbon intensity would rise above its cap while it runs.")
    sold_gco2 = order.terms.estimated_carbon_gco2
    if run is not None and run.carbon_gco2 > CARBON_SPIKE * sold_gco2:
        return Spike(
            DeferralReason.CARBON,
            f"It would emit {run.carbon_gco2:.0f} gCO2 now, but it was sold as emitting {sold_gco2:.0f} gCO2.",
        )
    return None


class Executor(Consumer):
    """Starts, defers and ends the orders of one provider's platform, in a thread of its own.

    Orders outlive it: whoever runs next takes them up.
    """

    def __init__(
        self,
        database: Database,
        own: Subscriber,
        *,
        worker: str,
        carbon_price_gbp_per_t: float,
        clock: Callable[[], datetime],
        stored: Callable[[], None] = lambda: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`stored` is called when there are callbacks in the outbox."""
        super().__init__("executor", self.work_once, database, CHANNEL, threads=1, poll_seconds=poll_seconds)
        self._database = database
        self._own = own
        self._book = OrderBook(database, own.subscriber_id)
        self._worker = worker
        self._carbon_price = carbon_price_gbp_per_t
        self._clock = clock
        self._stored = stored
        self._failed_at: dict[UUID, float] = {}
        self._heartbeat: Heartbeat[OrderLease] = Heartbeat(
            "the keeper of orders' leases",
            lambda orders: self._book.extend(orders, clock(), lease_seconds=LEASE_SECONDS),
            lease_seconds=LEASE_SECONDS,
            longest_hold_s=LONGEST_HOLD_S,
        )

    def start(self) -> None:
        """Begin to work."""
        self._heartbeat.start()
        super().start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let the step in hand be finished, and end. What is left waits in the database."""
        super().stop(timeout_s)
        self._heartbeat.stop()

    def work_once(self) -> Round:
        """Start or end every order that is due now."""
        return self.run_due(self._clock())

    def run_due(self, now: datetime) -> Round:
        """Start or end every order that is due at `now`, in this thread.

        Raises:
            DatabaseError: the orders cannot be had.
        """
        due = self._book.claim_due(self._worker, now, lease_seconds=LEASE_SECONDS, limit=BATCH)
        if due.claimed:
            self.found(more_likely=False)
        with self._heartbeat.holding([lease_of(order) for order in due.claimed]):
            for order in due.claimed:
                self._try_step(order, now)
        if due.claimed:
            self._stored()
        next_due_s = (due.next_due_at - now).total_seconds() if due.next_due_at else None
        return Round(len(due.claimed), next_due_s)

    def troubles(self) -> list[str]:
        """What is wrong with the thread, and that there are orders it cannot go on with, in words."""
        since = time.monotonic() - 2 * AGAIN_AFTER_S
        failing = [order_id for order_id, at in list(self._failed_at.items()) if at > since]
        told = f"{len(failing)} Beckn orders cannot be started or ended: the log says why"
        return [*super().troubles(), *troubles([self._heartbeat.loop]), *([told] if failing else [])]

    def _try_step(self, order: StoredOrder, now: datetime) -> None:
        """One step of one order; a fault in it does not hold up the others."""
        try:
            self._step(order, now)
            self._failed_at.pop(order.order_id, None)
        except DataRefused as error:
            _log.error("order %s: this step was refused: %s", order.order_id, error)
            self._fail(order, now, error)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - told, and tried again after a while
            _log.exception("order %s: this step failed", order.order_id)
            self._fail(order, now, error)

    def _fail(self, order: StoredOrder, now: datetime, error: Exception) -> None:
        self._failed_at[order.order_id] = time.monotonic()
        self._book.fail(order, f"{type(error).__name__}: {error}", now, again_after_s=AGAIN_AFTER_S)

    def _step(self, order: StoredOrder, now: datetime) -> None:
        if order.state is FulfillmentStateCode.RUNNING:
            self._complete(order, now)
            return
        if self._too_late(order, now):
            self._give_up(order, now)
            return
        change = self._deferral(order, now)
        if change is None or self._store(change, Action.ON_UPDATE) is Changing.NO_CAPACITY:
            self._begin(order, now)

    def _begin(self, order: StoredOrder, now: datetime) -> None:
        start = order.starts_at if now - order.starts_at <= ON_TIME else now
        end = start + order.terms.duration
        change = OrderChange(
            order=order,
            state=FulfillmentStateCode.RUNNING,
            status=WorkloadStatus.RUNNING,
            status_reason=f"Runs at {order.dc_id}.",
            at=now,
            due_at=end,
            starts_at=start,
            ends_at=end,
            actuals=Actuals(start=start),
        )
        self._store(change, Action.ON_STATUS)

    def _complete(self, order: StoredOrder, now: datetime) -> None:
        (centre,) = self._database.select(
            "data_centres",
            where=[Where("dc_id", order.dc_id)],
            order=OrderBy(("dc_id",)),
            columns=("pue", "region_id"),
        )
        half_hours = self._half_hours(centre["region_id"], order.starts_at, order.ends_at)
        change = OrderChange(
            order=order,
            state=FulfillmentStateCode.COMPLETED,
            status=WorkloadStatus.COMPLETED,
            status_reason=f"Ran at {order.dc_id}.{basis(half_hours)}",
            at=now,
            due_at=None,
            actuals=used(order, centre["pue"], half_hours),
        )
        self._store(change, Action.ON_STATUS)

    def _give_up(self, order: StoredOrder, now: datetime) -> None:
        reason = "It was not started in time to end by its deadline."
        change = OrderChange(
            order=order,
            state=FulfillmentStateCode.CANCELLED,
            status=WorkloadStatus.FAILED,
            status_reason=reason,
            at=now,
            due_at=None,
            cancellation=CancellationRecord(time=now, cancelled_by=CancelledBy.PROVIDER, reason=reason),
        )
        self._store(change, Action.ON_CANCEL)

    def _deferral(self, order: StoredOrder, now: datetime) -> OrderChange | None:
        """The change to a better time within the order's flexibility, when something speaks against now."""
        grid = self._book.grid(now)
        centre = next((centre for centre in grid.data_centres if centre.dc_id == order.dc_id), None)
        if centre is None:
            return None
        run, violations = run_at(order.terms.task, grid, centre, now, carbon_price_gbp_per_t=self._carbon_price)
        spike = spike_against(order, run, (violation.constraint for violation in violations))
        if spike is None:
            return None
        better = next(iter(self._better_runs(order, centre, run, spike, now)), None)
        if better is None:
            _log.info("order %s runs all the same: %s", order.order_id, spike.explanation)
            return None
        return OrderChange(
            order=order,
            state=FulfillmentStateCode.DEFERRED,
            status=_DEFERRED_STATUS[spike.reason],
            status_reason=f"{spike.explanation} It starts at {rfc3339(better.start)}.",
            at=now,
            due_at=better.start,
            starts_at=better.start,
            ends_at=better.end,
            deferral=Deferral(
                reason=spike.reason,
                requested_by=RequestedBy.BPP,
                moved_from=order.starts_at,
                shifted_s=(better.start - order.starts_at).total_seconds(),
                explanation=spike.explanation,
            ),
        )

    def _better_runs(
        self, order: StoredOrder, centre: DataCentre, run: SlotRun | None, spike: Spike, now: datetime
    ) -> Iterable[SlotRun]:
        """Later runs in the same place that break nothing, cost no more than agreed, and emit less; best first."""
        grid = self._book.grid(now).model_copy(update={"data_centres": (centre,)})
        wanted = Wanted(order.terms.task, half_hour_of(now) + HALF_HOUR, ())
        bookings = self._book.bookings(now, without=order)
        later = possible_runs(wanted, grid, bookings, now=now, carbon_price_gbp_per_t=self._carbon_price)
        return (
            one
            for one in later
            if not has_moved(order.terms.price_gbp, one.cost_gbp)
            and (spike.reason is DeferralReason.GRID_STRESS or run is None or one.carbon_gco2 < run.carbon_gco2)
        )

    def _too_late(self, order: StoredOrder, now: datetime) -> bool:
        deadline = order.terms.task.deadline
        late = now - order.starts_at > ON_TIME
        return late and deadline is not None and now + order.terms.duration > deadline

    def _half_hours(self, region_id: int, start: datetime, end: datetime) -> list[UsedHalfHour]:
        within = [Where("timestamp", half_hour_of(start), "gte"), Where("timestamp", end, "lt")]
        order = OrderBy(("timestamp",))
        regional = self._database.select(
            "regional_grid_signals", where=[Where("region_id", region_id), *within], order=order
        )
        national = self._database.select("grid_signals", where=within, order=order)
        prices = {row["timestamp"]: row for row in national}
        intensities = {row["timestamp"]: row for row in regional}
        return [
            UsedHalfHour(
                from_rfc3339(moment),
                carbon_intensity_gco2_per_kwh=intensities.get(moment, {}).get(CARBON_INTENSITY_COLUMN),
                price_gbp_per_mwh=prices.get(moment, {}).get("wholesale_price_gbp_mwh"),
                carbon_source=intensities.get(moment, {}).get("carbon_source"),
                price_source=prices.get(moment, {}).get("price_source"),
            )
            for moment in sorted(prices.keys() | intensities.keys())
        ]

    def _store(self, change: OrderChange, action: Action) -> Changing:
        told = unsolicited(change.after(), action, self._own, change.at)
        changed = self._book.change(change, outgoing=[told], by_executor=True)
        _log.info("order %s: %s (%s)", change.order.order_id, change.state, changed.state)
        return changed.state
