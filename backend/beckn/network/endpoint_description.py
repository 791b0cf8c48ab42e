"""How an endpoint that takes messages describes its body and its signature in OpenAPI.

The endpoints read the very bytes, since those are signed, and check them by themselves; so the framework cannot tell
from their parameters what they take.
"""

from __future__ import annotations

from typing import Any

from beckn.protocol.context import MessageContext, OrderContext, is_callback
from beckn.protocol.objects import ANY_CITY, COUNTRY, DOMAIN, VERSION, Action


def takes_message(action: Action) -> dict[str, Any]:
    """What an operation's description has beside what the framework finds: the body and the signature header."""
    checked = MessageContext if action is Action.SEARCH else OrderContext
    context = {
        "type": "object",
        "required": [name for name, field in checked.model_fields.items() if field.is_required()],
        "properties": {"action": {"const": str(action)}},
        "description": "Beckn 1.1 context: who exchanges what, as part of which transaction, and for how long",
    }
    content = {"type": "object", "description": "Beckn 1.1 message"}
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["context"] if is_callback(action) else ["context", "message"],
        "properties": {"context": context, "message": content},
    }
    if is_callback(action):
        schema["properties"]["error"] = {"type": "object", "description": "In place of the message"}
    return {
        "requestBody": {
            "required": True,
            "description": "Signed exactly as it is sent, in the header Authorization (BECKN-006)",
            "content": {"application/json": {"schema": schema, "example": _example(action)}},
        }
    }


def _example(action: Action) -> dict[str, Any]:
    context = {
        "domain": DOMAIN,
        "location": {"country": {"code": COUNTRY}, "city": {"code": ANY_CITY}},
        "action": str(action),
        "version": VERSION,
        "bap_id": "buyer.example.org",
        "bap_uri": "https://buyer.example.org/beckn",
        "transaction_id": "6f1c9e4e-5f1b-4c6e-9a51-2f0f3f0d9b10",
        "message_id": "0f4a3c58-8f0c-4f0e-8a84-1d1f6f1d2c3b",
        "timestamp": "2026-11-22T08:04:11Z",
        "ttl": "PT30S",
    }
    if action is not Action.SEARCH:
        context |= {"bpp_id": "provider.example.org", "bpp_uri": "https://provider.example.org/beckn"}
    return {"context": context, "message": {}}
