"""What becomes of an event next, state by state: each answer is one step, made whole or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

from database.interface import Row
from decimal_text import decimal_text as text
from decisions.publishing.schema import Scorer
from decisions.scoring.freshness import Freshness
from decisions.work.notifications import Lease, OwnedJob
from decisions.work.record import DecidedWith, record_of
from flexibility.book import BookedWork, EventBook, Outcome, SiteHistory, Situation, Step
from flexibility.choosing.moves import Move
from flexibility.documents import in_words, offer_document, texts, what_gives_way
from flexibility.event_model import ClaimedEvent, EventState, Programme, StoredEvent
from flexibility.offering import WholeOffer, offer_in, signals_behind
from flexibility.rules.baseline import METHOD, VERSION, InDay, NoBaseline, baseline_of, wanted_days
from flexibility.rules.dfs import MOST_MW
from flexibility.rules.exact import HOURS, mean
from flexibility.rules.gate_closure import gate_closure, is_open
from flexibility.rules.supplier_prices import SupplierPrices
from flexibility.settling import PricesMissing, settle
from grid.half_hours import HALF_HOUR, rfc3339, settlement_date
from vocabulary import Policy

LOOK_AGAIN = timedelta(minutes=15)
LAST_LOOK = timedelta(minutes=5)
"""Before gate closure: what finds nothing to offer by then is declined."""
METERS_AGAIN = timedelta(minutes=5)
PRICES_AGAIN = timedelta(minutes=30)
SETTLE_AGAIN = timedelta(days=1)
SETTLED_FOR_GOOD = timedelta(days=60)
"""After an event its prices and readings are looked at once a day, for so long."""

EXPECTED_VOLUME = "SEV"
NO_LEASE = Lease(0, 0)
"""The database gives each notification its lease when it makes the step."""


@dataclass(frozen=True)
class Steps:
    """How events are carried on: what J weighs, and the suppliers' prices."""

    book: EventBook
    carbon_price_gbp_per_t: float
    supplier_prices: SupplierPrices

    def next_step(self, event: ClaimedEvent, now: datetime) -> Step:
        """What is to be done about an event now."""
        if event.state in {EventState.ANNOUNCED, EventState.OFFERED, EventState.COMMITTED}:
            return self._before_gate_closure(event, now)
        if event.state is EventState.NOTIFIED:
            return self._delivered(event, now)
        return self._settled(event, now)

    def _before_gate_closure(self, event: ClaimedEvent, now: datetime) -> Step:
        if event.state is EventState.COMMITTED:
            return self._notified(event, now)
        if now >= event.gate_closes_at:
            return Step(EventState.MISSED, f"Its gate closed at {rfc3339(event.gate_closes_at)}.", None, content={})
        situation = self.book.situation(event, now)
        offer = offer_in(situation, event.wanted, self.carbon_price_gbp_per_t)
        if event.state is EventState.ANNOUNCED:
            return self._offered(event, situation, offer, now)
        return self._committed(event, situation, offer, now)

    def _offered(self, event: StoredEvent, situation: Situation, offer: WholeOffer, now: datetime) -> Step:
        signals = signals_behind(situation)
        document = offer_document(offer, signals)
        if offer.sells:
            invented = any(state.freshness is Freshness.INVENTED for state in signals)
            rests = " It rests on invented figures: its warnings say which." if invented else ""
            return Step(EventState.OFFERED, what_gives_way(offer) + rests, now, content=document)
        why = _why_nothing(offer, situation)
        last_look = event.gate_closes_at - LAST_LOOK
        if now < last_look:
            return Step(EventState.ANNOUNCED, why, min(now + LOOK_AGAIN, last_look))
        return Step(EventState.DECLINED, why, None, content=document)

    def _committed(self, event: StoredEvent, situation: Situation, offer: WholeOffer, now: datetime) -> Step:
        document = offer_document(offer, signals_behind(situation))
        if not offer.sells:
            reason = "What was offered can no longer give way, or no longer gains by it."
            return Step(EventState.DECLINED, reason, None, content=document)
        work = {one.job: one for one in reversed(situation.booked)}
        dc_ids = sorted({move.booked.dc_id for move in offer.moves})
        history = self.book.history(event, dc_ids)
        sold = _sold_by_unit(event, offer, situation)
        total_mwh = sum((sum(mwh, Decimal(0)) for mwh in sold.values()), Decimal(0))
        return Step(
            EventState.COMMITTED,
            f"Sold, and accepted as offered: {in_words(total_mwh)}.",
            now,
            content=document,
            with_it={
                "agent_id": None,
                "grid": situation.contexts.grid,
                "grid_version": situation.contexts.grid_version,
                "moves": [
                    self._move_row(event, move, work[OwnedJob(move.booked.operator, move.job_id)], situation, now)
                    for move in offer.moves
                ],
                "commitments": [
                    {"unit_id": unit_id, "half_hour": rfc3339(half_hour), "committed_mwh": text(mwh)}
                    for unit_id, volumes in sold.items()
                    for half_hour, mwh in zip(event.half_hours, volumes, strict=True)
                ],
                "storage": [
                    {
                        "asset_id": sale.asset_id,
                        "unit_id": sale.unit_id,
                        "half_hour": rfc3339(sale.start + place * HALF_HOUR),
                        "charge_mw": text(charge),
                        "discharge_mw": text(discharge),
                    }
                    for sale in offer.batteries
                    for place, (charge, discharge) in enumerate(zip(sale.charge_mw, sale.discharge_mw, strict=True))
                ],
                "baselines": [
                    row
                    for dc_id in dc_ids
                    for row in _baseline_rows(event, dc_id, situation.unit_of[dc_id], history[dc_id])
                ],
            },
        )

    def _move_row(self, event: StoredEvent, move: Move, work: BookedWork, situation: Situation, now: datetime) -> Row:
        capacity = move.decision.context.capacity
        task_row = {
            **situation.contexts.task_row(work.job),
            "capacity": capacity.model_dump(mode="json") if capacity else None,
            "flexibility": {
                "event_id": str(event.event_id),
                "starts_at": rfc3339(event.starts_at),
                "price_gbp_per_mwh": texts(event.price_gbp_per_mwh),
                "closed_sites": sorted(situation.unit_of),
                "freed_mwh": texts(move.candidate.freed_mwh),
                "keep_gbp": text(move.keep_gbp),
                "delta_gbp": text(move.delta_gbp),
            },
        }
        decided_with = DecidedWith(
            carbon_price_gbp_per_t=self.carbon_price_gbp_per_t,
            policy=Policy.BALANCED,
            generated_at=now,
            scorer=Scorer.DETERMINISTIC,
        )
        record = record_of(NO_LEASE, task_row, move.decision, decided_with)
        return {
            "booking_id": work.booking_id,
            "tenant": work.operator,
            "job_id": work.job_id,
            "unit_id": situation.unit_of[work.dc_id],
            "from_dc_id": work.dc_id,
            "from_starts_at": work.starts_at,
            "to_dc_id": move.to_dc_id,
            "to_starts_at": move.to.start,
            "it_power_kw": work.it_power_kw,
            "keep_gbp": text(move.keep_gbp),
            "delta_gbp": text(move.delta_gbp),
            "freed_mwh": texts(move.candidate.freed_mwh),
            "record": record.to_row(),
        }

    def _notified(self, event: StoredEvent, now: datetime) -> Step:
        outcome = self.book.outcome(event)
        expected = _expected_by_unit(outcome)
        rows: list[Row] = []
        for sold in outcome.commitments:
            if is_open(sold.half_hour, now):
                named = {"unit_id": sold.unit_id, "half_hour": rfc3339(sold.half_hour)}
                rows.append({**named, "kind": "WMAN", "volume_mwh": None})
                rows.append({**named, "kind": "ECVN", "volume_mwh": text(sold.committed_mwh)})
                rows.append({**named, "kind": "SEV", "volume_mwh": text(-expected[sold.unit_id, sold.half_hour])})
        if not rows:
            reason = f"Its last gate closed at {rfc3339(gate_closure(event.half_hours[-1]))} before it was notified."
            return Step(EventState.MISSED, reason, None, content={})
        late = len({sold.half_hour for sold in outcome.commitments}) - len({row["half_hour"] for row in rows})
        reason = "It was notified before gate closure" + (f", but for {late} half-hours." if late else ".")
        return Step(
            EventState.NOTIFIED,
            f"{reason} Simulated: nobody receives it.",
            event.ends_at,
            content={"half_hours_notified": sorted({row["half_hour"] for row in rows})},
            with_it={"notifications": rows},
        )

    def _delivered(self, event: StoredEvent, now: datetime) -> Step:
        if now < event.ends_at:
            return Step(EventState.NOTIFIED, "It is not over yet.", event.ends_at)
        outcome = self.book.outcome(event)
        if not outcome.is_metered:
            return Step(EventState.NOTIFIED, "What ran in its half-hours is yet to be metered.", now + METERS_AGAIN)
        adjustment_mwh = self._in_day_adjustments(event, outcome)
        delivered = {
            half_hour: sum(
                (
                    one.baseline_mwh + adjustment_mwh.get(one.dc_id, Decimal(0)) - one.metered_mwh
                    for one in outcome.baselines
                    if one.half_hour == half_hour
                ),
                Decimal(0),
            )
            + sum((one.freed_mwh for one in outcome.batteries if one.half_hour == half_hour), Decimal(0))
            for half_hour in event.half_hours
        }
        total = in_words(sum(delivered.values(), Decimal(0)))
        content: Row = {"delivered_mwh": texts(delivered.values())}
        if adjustment_mwh:
            # From here the database adds them to the baselines, which are written before they can be known.
            content["in_day_mwh"] = {dc_id: text(mwh) for dc_id, mwh in adjustment_mwh.items()}
        return Step(EventState.DELIVERED, f"Delivered, by the meters: {total}.", now, content=content)

    def _in_day_adjustments(self, event: StoredEvent, outcome: Outcome) -> dict[str, Decimal]:
        """By data centre, where the event wants them: one without history, or without readings then, has none."""
        if event.in_day is not InDay.ADDITIVE:
            return {}
        dc_ids = sorted({one.dc_id for one in outcome.baselines})
        readings, found = self.book.in_day_readings(event, dc_ids), {}
        for dc_id, history in self.book.history(event, dc_ids).items():
            try:
                baseline = baseline_of(
                    event.half_hours[:1],
                    history.days,
                    event_days=frozenset(history.event_days),
                    in_day=event.in_day,
                    metered_today=readings.get(dc_id, {}),
                )
            except NoBaseline:
                continue
            found[dc_id] = baseline.adjustment_mwh
        return found

    def _settled(self, event: StoredEvent, now: datetime) -> Step:
        is_open_still = now < event.ends_at + SETTLED_FOR_GOOD
        outcome = self.book.outcome(event)
        try:
            settlement = settle(event, outcome, self.supplier_prices)
        except PricesMissing as missing:
            return Step(event.state, f"It waits: {missing}.", now + PRICES_AGAIN if is_open_still else None)
        again = now + SETTLE_AGAIN if is_open_still else None
        if settlement.inputs == outcome.inputs:
            return Step(event.state, f"Run {outcome.run} stands.", again)
        run = outcome.run + 1
        return Step(
            EventState.SETTLED,
            f"Run {run}: £{settlement.received_gbp:,.2f} received.",
            again,
            content={"run": run, "received_gbp": text(settlement.received_gbp)},
            with_it={"settlement": settlement.to_row(run)},
        )


def _why_nothing(offer: WholeOffer, situation: Situation) -> str:
    if offer.considered:
        return f"None of {offer.considered} workloads gains by giving way."
    if not situation.unit_of:
        return "No data centre of its owner's can give way in its half-hours."
    return "Nothing that may give way is placed in its half-hours."


def _sold_by_unit(event: StoredEvent, offer: WholeOffer, situation: Situation) -> dict[str, list[Decimal]]:
    """What each unit sells in each half-hour: what is freed in it, as long as the need lasts, in the units' order.

    Of the Demand Flexibility Service never more than one submission may have: what is freed beyond is over-delivered.
    """
    freed: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * len(event.need_mw))
    for move in offer.moves:
        unit = freed[situation.unit_of[move.booked.dc_id]]
        for place, mwh in enumerate(move.candidate.freed_mwh):
            unit[place] += mwh
    left = list(offer.moved_mwh)
    sold: dict[str, list[Decimal]] = {}
    for unit_id in sorted(freed):
        sold[unit_id] = [min(mwh, left[place]) for place, mwh in enumerate(freed[unit_id])]
        left = [rest - mwh for rest, mwh in zip(left, sold[unit_id], strict=True)]
    for sale in offer.batteries:
        unit_mwh = sold.setdefault(sale.unit_id, [Decimal(0)] * len(event.need_mw))
        sold[sale.unit_id] = [mwh + freed for mwh, freed in zip(unit_mwh, sale.freed_mwh, strict=True)]
    if event.programme is not Programme.DFS:
        return sold
    return {unit_id: [min(mwh, MOST_MW * HOURS) for mwh in volumes] for unit_id, volumes in sold.items()}


def _expected_by_unit(outcome: Outcome) -> dict[tuple[str, datetime], Decimal]:
    expected: dict[tuple[str, datetime], Decimal] = defaultdict(Decimal)
    for one in outcome.baselines:
        expected[one.unit_id, one.half_hour] += one.baseline_mwh
    return expected


def _baseline_rows(event: StoredEvent, dc_id: str, unit_id: str, history: SiteHistory) -> list[Row]:
    """BL01 from history, each day of London by its own; without any, what was booked is the expected volume."""
    return [
        row
        for _, places in groupby(range(len(event.half_hours)), lambda place: settlement_date(event.half_hours[place]))
        for row in _baseline_rows_of_a_day(event, list(places), dc_id, unit_id, history)
    ]


def _baseline_rows_of_a_day(
    event: StoredEvent, places: Sequence[int], dc_id: str, unit_id: str, history: SiteHistory
) -> list[Row]:
    half_hours = [event.half_hours[place] for place in places]
    try:
        baseline = baseline_of(half_hours, history.days, event_days=frozenset(history.event_days))
        method, days, values = METHOD, baseline.days, baseline.unadjusted_mwh
    except NoBaseline:
        method, days = EXPECTED_VOLUME, ()
        values = tuple(mean([history.expected_mwh[place]]) for place in places)
    return [
        {
            "dc_id": dc_id,
            "unit_id": unit_id,
            "half_hour": rfc3339(half_hour),
            "method": method,
            "version": VERSION,
            "days": [day.isoformat() for day in days],
            "wanted_days": wanted_days(settlement_date(half_hour)),
            "unadjusted_mwh": text(mwh),
            "adjustment_mwh": "0",
            "baseline_mwh": text(mwh),
            "in_day": str(event.in_day),
        }
        for half_hour, mwh in zip(half_hours, values, strict=True)
    ]
