"""One whole message of each action of Beckn 1.1, of our own making: an order from its search to its cancellation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

SLOT = "DC-007:gpu-slot:20261122T0900Z"
PLACE = {
    "id": "DC-007",
    "descriptor": {"name": "The mill"},
    "gps": "54.97, -1.61",
    "address": "By the river, Newcastle",
    "city": {"name": "Newcastle"},
    "state": {"name": "North East England", "code": "GB-CI-REGION-4"},
    "country": {"name": "United Kingdom", "code": "GBR"},
    "area_code": "NE1",
}
SELLER = {"id": "op-mill", "descriptor": {"name": "Mill Computing", "short_desc": "Runs on the river"}}
WANTED = {"selected": {"measure": {"unit": "GPU-min", "value": "90"}}}
PRICE = {"currency": "GBP", "value": "0.021"}
TOTAL = {"currency": "GBP", "value": "1.95"}
BILLING = {
    "name": "Hedgehog Research",
    "email": "accounts@hedgehog.example",
    "address": "2 Lane End",
    "city": {"name": "Durham"},
    "tax_id": "GB123456789",
}
CUSTOMER = {"person": {"name": "Night shift"}, "contact": {"email": "night@hedgehog.example"}}


def _tags(**groups: Mapping[str, str]) -> list[Document]:
    return [
        {
            "descriptor": {"code": group.replace("_", "-")},
            "display": True,
            "list": [
                {"descriptor": {"code": code.replace("_", "-")}, "value": value} for code, value in tags.items()
            ],
        }
        for group, tags in groups.items()
    ]


def _stops(start: str, end: str, **more: Any) -> list[Document]:
    return [
        {"type": kind, **more, "time": {"timestamp": f"2026-11-22T{at}:00Z"}}
        for kind, at in (("start", start), ("end", end))
    ]


REQUIREMENTS = _tags(
    workload_requirements={
        "job_id": "hedgehog-1",
        "workload_type": "FINE_TUNING",
        "urgency": "LOW",
        "memory_gb": "24",
        "deferral_window": "PT6H",
    }
)
FULFILLMENT = {"id": "ful-1", "type": "COMPUTE", "stops": _stops("09:00", "10:30", location={"id": "DC-007"})}
PAYMENT = {"id": "pay-1", "type": "POST-FULFILLMENT", "collected_by": "BPP"}
OWED = {**PAYMENT, "status": "NOT-PAID", "params": {"amount": "1.95", "currency": "GBP"}}
QUOTE_ID = "2c6f0a5e-9b7d-4d38-8a61-6f0d7c1e5b42"
QUOTE = {
    "id": QUOTE_ID,
    "price": TOTAL,
    "breakup": [
        {"title": "COMPUTE", "item": {"id": SLOT}, "price": {"currency": "GBP", "value": "1.89"}},
        {"title": "ENERGY", "item": {"id": SLOT}, "price": {"currency": "GBP", "value": "0.06"}},
    ],
    "ttl": "PT10M",
}
TERMS = [
    {
        "fulfillment_state": {"descriptor": {"code": "SCHEDULED"}},
        "reason_required": True,
        "cancel_by": {"timestamp": "2026-11-22T08:59:00Z"},
        "cancellation_fee": {"amount": {"currency": "GBP", "value": "0"}},
    }
]
ITEM = {
    "id": SLOT,
    "descriptor": {"code": "FINE_TUNING", "name": "Ninety minutes at the mill"},
    "price": PRICE,
    "location_ids": ["DC-007"],
    "fulfillment_ids": ["ful-1"],
    "tags": _tags(
        grid_signal={"carbon_intensity_gco2_per_kwh": "88", "carbon_index": "low", "source": "modelled"},
        facility={"pue": "1.12", "capacity_mw": "4"},
        estimate={"energy_kwh": "1.7", "carbon_gco2": "149.6", "cost_gbp": "1.95"},
        suitability={"score": "81", "method": "weighted"},
    ),
}
OFFERED = {
    **ITEM,
    "quantity": {
        "unitized": {"count": 1, "measure": {"unit": "GPU-min", "value": "1"}},
        "available": {"measure": {"unit": "GPU-min", "value": "5400"}},
    },
    "category_ids": ["cat-1"],
    "payment_ids": ["pay-1"],
    "time": {"range": {"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T10:30:00Z"}},
    "matched": True,
    "recommended": True,
    "ttl": "900",
}
ORDERED = {**ITEM, "quantity": WANTED}
CHOICE = {"provider": SELLER, "items": [{"id": SLOT, "quantity": WANTED}]}
QUOTED = {
    "provider": {**SELLER, "locations": [PLACE]},
    "items": [ORDERED],
    "fulfillments": [{**FULFILLMENT, "customer": CUSTOMER}],
    "quote": QUOTE,
    "cancellation_terms": TERMS,
    "tags": REQUIREMENTS,
}
BILLED = {**QUOTED, "billing": BILLING, "payments": [OWED]}


def _placed(state: str, status: str = "ACTIVE", **more: Any) -> Document:
    known = {"descriptor": {"code": state}, "updated_at": "2026-11-22T08:05:00Z", "updated_by": "mill.example"}
    return {
        **BILLED,
        "id": "order-1",
        "status": status,
        "fulfillments": [{**FULFILLMENT, "customer": CUSTOMER, "state": known}],
        "created_at": "2026-11-22T08:05:00Z",
        "updated_at": "2026-11-22T08:05:00Z",
        **more,
    }


_MESSAGES: dict[str, Document] = {
    "search": {
        "intent": {
            "category": {"descriptor": {"code": "COMPUTE_SLOT"}},
            "item": {
                "descriptor": {"code": "FINE_TUNING"},
                "quantity": WANTED,
                "price": {"currency": "GBP", "maximum_value": "4"},
            },
            "fulfillment": {"type": "COMPUTE", "stops": _stops("08:00", "14:00")},
            "payment": {"type": "POST-FULFILLMENT"},
            "tags": [*REQUIREMENTS, *_tags(energy_constraints={"max_carbon_intensity_gco2_per_kwh": "140"})],
        }
    },
    "on_search": {
        "catalog": {
            "descriptor": {"name": "What is free"},
            "exp": "2026-11-22T08:30:00Z",
            "providers": [
                {
                    **SELLER,
                    "categories": [{"id": "cat-1", "descriptor": {"code": "COMPUTE_SLOT"}}],
                    "locations": [PLACE],
                    "fulfillments": [{**FULFILLMENT, "tracking": False}],
                    "payments": [PAYMENT],
                    "items": [OFFERED],
                    "ttl": 900,
                }
            ],
        }
    },
    "select": {"order": {**CHOICE, "tags": REQUIREMENTS}},
    "on_select": {"order": QUOTED},
    "init": {"order": {**CHOICE, "billing": BILLING, "fulfillments": [{"id": "ful-1", "customer": CUSTOMER}]}},
    "on_init": {"order": BILLED},
    "confirm": {
        "order": {
            **CHOICE,
            "billing": BILLING,
            "fulfillments": [{"id": "ful-1", "customer": CUSTOMER}],
            "payments": [OWED],
            "quote": {"id": QUOTE_ID, "price": TOTAL},
        }
    },
    "on_confirm": {"order": _placed("SCHEDULED")},
    "status": {"order_id": "order-1"},
    "on_status": {"order": _placed("RUNNING")},
    "update": {
        "update_target": "fulfillments",
        "order": {"id": "order-1", "fulfillments": [{"id": "ful-1", "stops": _stops("11:00", "12:30")}]},
    },
    "on_update": {"order": _placed("DEFERRED")},
    "cancel": {
        "order_id": "order-1",
        "cancellation_reason_id": "CHANGED_MIND",
        "descriptor": {"short_desc": "It rains"},
    },
    "on_cancel": {
        "order": _placed(
            "CANCELLED",
            "CANCELLED",
            cancellation={
                "time": "2026-11-22T08:06:00Z",
                "cancelled_by": "CONSUMER",
                "reason": {"id": "CHANGED_MIND", "descriptor": {"short_desc": "It rains"}},
            },
        )
    },
}


def _context(action: str) -> Document:
    context = {
        "domain": "beckn.one:DEG:compute-energy:1.0",
        "location": {"country": {"code": "GBR"}, "city": {"code": "*"}},
        "action": action,
        "version": "1.1.0",
        "bap_id": "hedgehog.example",
        "bap_uri": "https://hedgehog.example/beckn",
        "transaction_id": "b8a5b9a0-55a8-4f0b-8d53-3a6c0a4d1e77",
        "message_id": "f2f4ad0c-6d0e-4a7b-9a5b-c83a3cbb1d09",
        "timestamp": "2026-11-22T08:04:11.250Z",
        "ttl": "PT30S",
    }
    return (
        context if action == "search" else context | {"bpp_id": "mill.example", "bpp_uri": "http://127.0.0.1:5053/b"}
    )


EXAMPLES: dict[str, Document] = {
    action: {"context": _context(action), "message": message} for action, message in _MESSAGES.items()
}
EXAMPLES["on_select-error"] = {
    "context": _context("on_select"),
    "error": {"code": "40002", "message": "All of it is taken", "paths": "message.order.items[0].quantity"},
}
