"""What is stored with the steps of an event: an offer, and cashflows, their figures as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from database.interface import Row
from decimal_text import decimal_text as text
from decisions.scoring.freshness import SignalState
from flexibility.choosing.battery_sale import BatterySale
from flexibility.offering import WholeOffer
from flexibility.rules.cashflows import Cashflow
from grid.half_hours import rfc3339


def in_words(mwh: Decimal) -> str:
    """Energy for people, to the hundredth of a unit that suits it."""
    return f"{mwh:,.2f} MWh" if abs(mwh) >= 1 else f"{mwh * 1000:,.2f} kWh"


def what_gives_way(offer: WholeOffer) -> str:
    """An offer that sells something, in a sentence."""
    batteries = len(offer.batteries)
    who = [f"{len(offer.moves)} of {offer.considered} workloads"] if offer.moves else []
    who += [f"{batteries} {'battery' if batteries == 1 else 'batteries'}"] if batteries else []
    cost_gbp = offer.cost_gbp
    costs = f"it costs £{cost_gbp:,.2f} of J" if cost_gbp >= 0 else f"it saves £{-cost_gbp:,.2f} of J besides"
    return f"To give way: {' and '.join(who)}. It brings £{offer.revenue_gbp:,.2f}, and {costs}."


def texts(values: Iterable[Decimal]) -> list[str]:
    return [text(value) for value in values]


def offer_document(offer: WholeOffer, signals: Iterable[SignalState]) -> Row:
    """What is offered, or why nothing is, and what is to be said of the signals behind it: kept with the decision."""
    return {
        "warnings": [state.warning for state in signals if state.warning],
        "method": str(offer.choice.method),
        "revenue_gbp": text(offer.revenue_gbp),
        "cost_gbp": text(offer.cost_gbp),
        "gain_gbp": text(offer.gain_gbp),
        "gap_gbp": text(offer.choice.gap_gbp),
        "freed_mwh": texts(offer.choice.freed_mwh),
        "committed_mwh": texts(offer.committed_mwh),
        "considered": offer.considered,
        "gain_alone_gbp": {name: text(gain) for name, gain in offer.workloads.gains_alone},
        "moves": [
            {
                "operator": move.booked.operator,
                "job_id": move.job_id,
                "from": {"dc_id": move.booked.dc_id, "starts_at": rfc3339(move.booked.starts_at)},
                "to": {"dc_id": move.to_dc_id, "starts_at": rfc3339(move.to.start)},
                "keep_gbp": text(move.keep_gbp),
                "delta_gbp": text(move.delta_gbp),
                "freed_mwh": texts(move.candidate.freed_mwh),
            }
            for move in offer.moves
        ],
        "batteries": [_battery(sale) for sale in offer.batteries],
    }


def _battery(sale: BatterySale) -> Row:
    return {
        "asset_id": sale.asset_id,
        "freed_mwh": texts(sale.freed_mwh),
        "revenue_gbp": text(sale.revenue_gbp),
        "cost_gbp": text(sale.cost_gbp),
    }


def cashflow_rows(cashflows: Sequence[Cashflow]) -> list[Row]:
    """Those that are not nothing."""
    return [
        {
            "kind": str(flow.kind),
            "half_hour": rfc3339(flow.half_hour),
            "payer": flow.payer,
            "payee": flow.payee,
            "amount_gbp": text(flow.amount_gbp),
        }
        for flow in cashflows
        if flow.amount_gbp
    ]
