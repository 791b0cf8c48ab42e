"""Describes the WebSocket in AsyncAPI 3, from the models that its messages are made and checked with.

An event is a message of its own for each type that the log holds, with the schema of its summary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from decisions.publishing.event_types import EVENT_TYPES, EventType
from gateway.streaming_messages import CLIENT_MESSAGES, CLOSE_CODES, PROTOCOL, SERVER_MESSAGES, StreamedEvent

_DESCRIPTION = """One log of events, over a WebSocket with the subprotocol `{protocol}`. Messages are JSON texts. \
The gateway begins with `welcome`; the client sends `auth` where that is required, and `subscribe`; then come the \
events that follow `after`, `caught_up`, and the others as they happen. Resume with the greatest number that was \
received, be it of an event or of a heartbeat. The gateway pings every 20 seconds, and gives up who is silent for 40.

It closes with:

{codes}"""


def asyncapi_document(version: str, host: str) -> dict[str, Any]:
    """The AsyncAPI 3.1 document of `/stream` at `host` ("name:port")."""
    codes = "\n".join(f"- {code}: {why}" for code, why in CLOSE_CODES.items())
    said = [model for model in SERVER_MESSAGES if model is not StreamedEvent]
    told = [*(model.__name__ for model in said), *(event.name for event in EVENT_TYPES)]
    heard = [model.__name__ for model in CLIENT_MESSAGES]
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
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*heard, *told)},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "tell": _operation("send", "What the gateway tells", told),
            "hear": _operation("receive", "What clients say", heard),
        },
        "components": {
            "messages": {
                **{model.__name__: _message(model) for model in (*CLIENT_MESSAGES, *said)},
                **{event.name: _event(event) for event in EVENT_TYPES},
            },
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Any]:
    summaries = dict.fromkeys(event.summary for event in EVENT_TYPES)
    _, schemas = models_json_schema(
        [(model, "validation") for model in CLIENT_MESSAGES]
        + [(model, "serialization") for model in (*SERVER_MESSAGES, *summaries)],
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )
    described: dict[str, Any] = schemas["$defs"]
    return described


def _message(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": model.__name__,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _event(event: EventType) -> dict[str, Any]:
    summary = {"$ref": f"#/components/schemas/{event.summary.__name__}"}
    whole = {"type": "object", "description": "The whole of it: these members and more"}
    return {
        "name": event.name,
        "summary": f"{event.means}.",
        "payload": {
            "allOf": [
                {"$ref": f"#/components/schemas/{StreamedEvent.__name__}"},
                {
                    "type": "object",
                    "properties": {
                        "topic": {"const": str(event.topic)},
                        "event": {"const": event.name},
                        "data": {"anyOf": [summary, whole]},
                    },
                },
            ]
        },
    }


def _operation(action: str, summary: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in names],
    }
