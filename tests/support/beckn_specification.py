"""What judges messages: this network's rules in our own words, and the official specification where there is one.

The licence of Beckn's schema, its worked messages and its published signatures keeps them out of the repository;
BECKN_SPEC_DIR names a folder of them. Our own rules, messages and signatures of the same shape are always there.
"""

from __future__ import annotations

import copy
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml  # type: ignore[import-untyped]

from beckn_examples import EXAMPLES
from beckn_rules import SCHEMAS, context_schema, message_schema, subscriptions_schema

CORE = "beckn-core-1.1.0-transaction.yaml"
REGISTRY = "beckn-registry-1.1.1.yaml"
SIGNATURES = "signing_test_vectors.json"


def on_search_faults(document: Any) -> list[str]:
    """What is wrong with an `on_search`, which need not say for which buyer, fields unknown to Beckn included."""
    found = _faults(message_schema("on_search", between_platforms=False), document)
    return found + (_faults(_schema_of("on_search"), document) if _folder() else [])


def message_faults(document: Any) -> list[str]:
    """What is wrong with a message that one platform sends to another."""
    action = document["context"]["action"]
    found = _faults(message_schema(action, between_platforms=True), document)
    if _folder():
        found += _faults(_schema_of(action), document) + _faults(_overlay(), document)
    return found


def context_faults(document: Any) -> list[str]:
    """What is wrong with the context of a message between platforms."""
    found = _faults(context_schema(document["context"].get("action", "search")), document)
    if _folder():
        found += [fault for fault in _faults(_overlay(), document) if fault.startswith("context")]
    return found


def subscription_faults(document: Any) -> list[str]:
    """What is wrong with the answer to a lookup."""
    found = _faults(subscriptions_schema(), document)
    return found + (_faults(_official_subscriptions(), document) if _folder() else [])


def worked_messages() -> dict[str, Any]:
    """Whole messages by name: one of each action of ours, and the official ones where they are."""
    worked = copy.deepcopy(EXAMPLES)
    if folder := _folder():
        for file in sorted((folder / "messages").glob("*.json")):
            document = json.loads(file.read_text())
            if "context" in document:
                worked[file.stem] = document
    return worked


def signing_vectors() -> dict[str, Any]:
    """Signatures that our code did not make, by the name of who made them."""
    found = {"openssl": json.loads((Path(__file__).parent / "signing_vectors.json").read_text())}
    if folder := _folder():
        found["official"] = json.loads((folder / SIGNATURES).read_text())
    return found


def specifications() -> dict[str, dict[str, Any]]:
    """Beckn's objects by name, as our rules have them, and as the official schema does where it is.

    An object is closed: it has no fields but those its schema lists.
    """
    return {"ours": SCHEMAS, "official": _components()} if _folder() else {"ours": SCHEMAS}


def _folder() -> Path | None:
    name = os.environ.get("BECKN_SPEC_DIR")
    return Path(name) if name else None


def _official(name: str) -> Any:
    folder = _folder()
    assert folder is not None
    return yaml.load((folder / name).read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _core() -> Any:
    """Beckn's description of the transaction API, as published."""
    return _official(CORE)


@cache
def _components() -> dict[str, Any]:
    """The official schemas by name, closed.

    OpenAPI 3.0 schemas are JSON Schema draft 4 but for words that 1.1 does not use; and draft 4 understands a
    reference as OpenAPI 3.0 does, alone and without regard to its neighbours.
    """
    schemas: dict[str, Any] = _core()["components"]["schemas"]
    return {name: _closed(schema) for name, schema in schemas.items()}


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def _schema_of(action: str) -> jsonschema_rs.Draft4Validator:
    body = _core()["paths"][f"/{action}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = {**body, "components": {"schemas": _components()}}
    return jsonschema_rs.Draft4Validator(schema, validate_formats=True, formats={"uuid": _is_uuid})


@cache
def _overlay() -> jsonschema_rs.Draft202012Validator:
    folder = _folder()
    assert folder is not None
    schema = json.loads((folder / "strict_overlay.schema.json").read_text())
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


@cache
def _official_subscriptions() -> jsonschema_rs.Draft202012Validator:
    schema = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Subscription"},
        "components": {"schemas": _official(REGISTRY)["components"]["schemas"]},
    }
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def _is_uuid(text: str) -> bool:
    # Draft 4 does not know this format, OpenAPI does.
    return re.fullmatch("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text) is not None


def _faults(schema: Any, document: Any) -> list[str]:
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in schema.iter_errors(document)]
