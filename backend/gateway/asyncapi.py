"""Describes the WebSocket in AsyncAPI 3, from the models that its messages are made and checked with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.streaming_messages import CLIENT_MESSAGES, CLOSE_CODES, PROTOCOL, SERVER_MESSAGES

_DESCRIPTION = """One log of events, over a WebSocket with the subprotocol `{protocol}`. Messages are JSON texts. \
The gateway begins with `welcome`; the client sends `auth` where that is required, and `subscribe`; then come the \
events that follow `after`, `caught_up`, and the others as they happen. Resume with the greatest number that was \
received, be it of an event or of a heartbeat. The gateway pings every 20 seconds, and gives up who is silent for 40.

It closes with:

{codes}"""


def asyncapi_document(version: str, host: str) -> dict[str, Any]:
    """The AsyncAPI 3.1 document of `/stream` at `host` ("name:port")."""
    codes = "\n".join(f"- {code}: {why}" for code, why in CLOSE_CODES.items())
    _, schemas = models_json_schema(
        [(model, "validation") for model in CLIENT_MESSAGES]
        + [(model, "serialization") for model in SERVER_MESSAGES],
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )
    every = [*CLIENT_MESSAGES, *SERVER_MESSAGES]
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Pylon DEG events",
            "version": version,
            "description": _DESCRIPTION.format(protocol=PROTOCOL, codes=codes),
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": {"host": host, "protocol": "ws", "description": "The gateway"}},
        "channels": {
            "stream": {
                "address": "/stream",
                "servers": [{"$ref": "#/servers/gateway"}],
                "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in every},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "tell": _operation("send", "What the gateway tells", SERVER_MESSAGES),
            "hear": _operation("receive", "What clients say", CLIENT_MESSAGES),
        },
        "components": {
            "messages": {
                model.__name__: {
                    "name": model.__name__,
                    "summary": (model.__doc__ or "").strip().splitlines()[0],
                    "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
                }
                for model in every
            },
            "schemas": schemas["$defs"],
        },
    }


def _operation(action: str, summary: str, models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{model.__name__}"} for model in models],
    }
