"""The official Beckn 1.1 schema, the network's overlay and the worked messages, from where BECKN_SPEC_DIR points.

Their licence keeps them out of the repository; a test that needs them is skipped where they are not.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]

CORE = "beckn-core-1.1.0-transaction.yaml"

needs_specification = pytest.mark.skipif(
    not os.environ.get("BECKN_SPEC_DIR"), reason="BECKN_SPEC_DIR does not point at the Beckn specification"
)


def folder() -> Path:
    return Path(os.environ["BECKN_SPEC_DIR"])


def worked_messages() -> list[Path]:
    """The worked messages, or none where the specification is not."""
    return sorted((folder() / "messages").glob("*.json")) if os.environ.get("BECKN_SPEC_DIR") else []


def on_search_faults(document: Any) -> list[str]:
    """What the official schema of `on_search` finds wrong, fields that Beckn does not know included."""
    return _faults(_schema_of("on_search"), document)


def message_faults(document: Any) -> list[str]:
    """What the official schema of a message's action, and the network's own rules, find wrong with it."""
    return _faults(_schema_of(document["context"]["action"]), document) + overlay_faults(document)


def overlay_faults(document: Any) -> list[str]:
    """What the network's own rules find wrong."""
    return _faults(_overlay(), document)


@cache
def official() -> Any:
    """Beckn's description of the transaction API, as published."""
    text = (folder() / CORE).read_bytes()
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def components() -> dict[str, Any]:
    """The official schemas by name, closed: an object has no fields but those its schema lists.

    OpenAPI 3.0 schemas are JSON Schema draft 4 but for words that 1.1 does not use; and draft 4 understands a
    reference as OpenAPI 3.0 does, alone and without regard to its neighbours.
    """
    schemas: dict[str, Any] = official()["components"]["schemas"]
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
    body = official()["paths"][f"/{action}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = {**body, "components": {"schemas": components()}}
    return jsonschema_rs.Draft4Validator(schema, validate_formats=True, formats={"uuid": _is_uuid})


@cache
def _overlay() -> jsonschema_rs.Draft202012Validator:
    schema = json.loads((folder() / "strict_overlay.schema.json").read_text())
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def _is_uuid(text: str) -> bool:
    # Draft 4 does not know this format, OpenAPI does.
    return re.fullmatch("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text) is not None


def _faults(schema: Any, document: Any) -> list[str]:
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in schema.iter_errors(document)]
