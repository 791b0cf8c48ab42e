"""The description of the WebSocket: what the AsyncAPI initiative's own parser says of it, and whether it is true."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from decisions.publishing.event_types import EVENT_TYPES
from gateway.asyncapi import asyncapi_document
from gateway.streaming_messages import CLIENT_MESSAGES, CLOSE_CODES, SERVER_MESSAGES
from version import VERSION

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "tests" / "support" / "asyncapi_check.mjs"
PARSER = ROOT / "node_modules" / "@asyncapi" / "parser"


def findings(document: dict[str, Any]) -> list[str]:
    if not PARSER.exists():
        if os.environ.get("CI"):
            pytest.fail("npm's @asyncapi/parser is missing: make supabase-tools installs it")
        pytest.skip("npm's @asyncapi/parser is not installed")
    run = subprocess.run(
        ["node", str(CHECK)], input=json.dumps(document), capture_output=True, text=True, timeout=120, check=True
    )
    return run.stdout.splitlines()


def test_the_initiatives_own_parser_finds_nothing() -> None:
    assert findings(asyncapi_document(VERSION, "127.0.0.1:5050")) == []


def test_it_would_have_found_something() -> None:
    document = asyncapi_document(VERSION, "127.0.0.1:5050")
    document["chanels"] = document.pop("channels")
    assert findings(document)


def test_every_message_and_every_code_is_described() -> None:
    document = asyncapi_document(VERSION, "127.0.0.1:5050")
    names = {model.__name__ for model in (*CLIENT_MESSAGES, *SERVER_MESSAGES)}
    types = {event.name for event in EVENT_TYPES}
    assert set(document["components"]["messages"]) == (names - {"StreamedEvent"}) | types
    assert names | {event.summary.__name__ for event in EVENT_TYPES} <= set(document["components"]["schemas"])
    told = {message["$ref"].rpartition("/")[2] for message in document["operations"]["tell"]["messages"]}
    assert types < told
    assert all(str(code) in document["info"]["description"] for code in CLOSE_CODES)
    page = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
    assert all(str(code) in page for code in CLOSE_CODES)
