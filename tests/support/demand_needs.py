"""Buyers' needs as bytes and as they are read, for tests that need no server."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

from beckn.demand_flex.need import DemandNeed, read_need
from beckn.demand_flex.wire import DEMAND_FLEX_DOMAIN, NeedRequest
from beckn.protocol.context import read_message
from beckn.protocol.objects import Action
from flexibility_buyer import Json
from grid_world import NOW

START = datetime(2026, 11, 22, 10, tzinfo=NOW.tzinfo)
CONTEXT = {
    "domain": DEMAND_FLEX_DOMAIN,
    "location": {"country": {"code": "GBR"}},
    "version": "1.1.0",
    "bap_id": "utility.example",
    "bap_uri": "https://utility.example/beckn",
    "bpp_id": "bpp.example",
    "bpp_uri": "https://bpp.example/beckn",
    "transaction_id": "3d39df73-a4c0-4374-9836-ec6c365a7ecc",
    "message_id": "54fb3f15-48aa-4408-bca4-52486b767679",
    "timestamp": "2026-11-22T08:04:11Z",
    "ttl": "PT1H",
}


def body_of(contract: Json, action: Action) -> bytes:
    return json.dumps({"context": {**CONTEXT, "action": str(action)}, "message": {"contract": contract}}).encode()


def read(contract: Json, action: Action = Action.CONFIRM, now: datetime = NOW) -> DemandNeed:
    return read_need(action, read_message(NeedRequest, body_of(contract, action)), now)


def the_need(contract: Json) -> Json:
    need: Json = contract["commitments"][0]["resources"][0]["resourceAttributes"]
    return need


def decimals(*numbers: int | str) -> list[Decimal]:
    return [Decimal(number) for number in numbers]
