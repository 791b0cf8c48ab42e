"""What is stored with the steps of an event: an offer, and cashflows, their figures as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from database.interface import Row
from decimal_text import decimal_text as text
from flexibility.choosing.choice import Choice, committed_mwh
from flexibility.choosing.offer import Offer
from flexibility.event_model import StoredEvent
from flexibility.rules.cashflows import Cashflow
from grid.half_hours import rfc3339


def texts(values: Iterable[Decimal]) -> list[str]:
    return [text(value) for value in values]


def offer_document(event: StoredEvent, offer: Offer) -> Row:
    """What is offered, or why nothing is: kept with the decision."""
    return {
        **_choice(event, offer.choice),
        "considered": offer.considered,
        "gain_alone_gbp": {name: text(gain) for name, gain in offer.gains_alone},
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
    }


def _choice(event: StoredEvent, choice: Choice) -> Row:
    return {
        "method": str(choice.method),
        "revenue_gbp": text(choice.revenue_gbp),
        "cost_gbp": text(choice.cost_gbp),
        "gain_gbp": text(choice.gain_gbp),
        "gap_gbp": text(choice.gap_gbp),
        "freed_mwh": texts(choice.freed_mwh),
        "committed_mwh": texts(committed_mwh(event.wanted, choice.freed_mwh)),
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
