"""One order and the messages of its transaction, stored as the provider's platform leaves them."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from database.interface import Database, OrderBy, Row, Where
from grid_world import NOW, workload

BUYER, PROVIDER = "bap.example", "bpp.example"
ORDER, TRANSACTION = UUID(int=1), UUID(int=2)


def store_order(database: Database, **changes: object) -> None:
    """An order of 12.5 kW in DC-001 of `grid_world`, and its quote. What it was agreed on is unreadable."""
    database.insert("compute_workloads", [workload("order:1", status="QUEUED")])
    (stored,) = database.select("compute_workloads", where=[Where("job_id", "order:1")], order=OrderBy(("job_id",)))
    quote: Row = {
        "quote_id": str(UUID(int=3)),
        "bpp_id": PROVIDER,
        "bap_id": BUYER,
        "transaction_id": str(TRANSACTION),
        "dc_id": "DC-001",
        "item_id": "slot",
        "starts_at": NOW + timedelta(hours=1),
        "ends_at": NOW + timedelta(hours=2, minutes=30),
        "it_power_kw": 12.5,
        "price_gbp": 3.25,
        "terms": {"lines": "none"},
        "created_at": NOW - timedelta(minutes=3),
        "buyer_operator": stored["tenant"],
        "seller_operator": stored["tenant"],
    }
    database.insert("beckn_quotes", [{**quote, "expires_at": NOW + timedelta(hours=1)}])
    order = {
        **quote,
        "order_id": str(ORDER),
        "job_id": "order:1",
        "state": "SCHEDULED",
        "scheduled_at": NOW,
        "created_at": NOW - timedelta(minutes=1),
        "updated_at": NOW,
    }
    database.insert("beckn_orders", [{**order, **changes}])


def received(action: str, minutes: int, **changes: object) -> Row:
    """A message that the provider got."""
    return {
        "recipient": PROVIDER,
        "sender": BUYER,
        "action": action,
        "transaction_id": str(TRANSACTION),
        "message_id": str(UUID(int=10 + minutes)),
        "answer": {"message": {"ack": {"status": "ACK"}}},
        "work_state": "completed",
        "received_at": NOW + timedelta(minutes=minutes),
        **changes,
    }


def sent(action: str, minutes: int, **changes: object) -> Row:
    """A message that the provider sent."""
    return {
        "sender": PROVIDER,
        "origin": PROVIDER,
        "recipient": BUYER,
        "recipient_type": "BAP",
        "action": action,
        "domain": "compute",
        "transaction_id": str(TRANSACTION),
        "message_id": str(UUID(int=10 + minutes)),
        "work_state": "completed",
        "expires_at": NOW + timedelta(hours=1),
        "created_at": NOW + timedelta(minutes=minutes),
        **changes,
    }
