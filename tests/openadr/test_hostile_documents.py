"""Objects with whatever in them: taken, or refused in words and not stored; never a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from flexibility_world import STARTS_AT
from grid.half_hours import rfc3339
from grid_world import NOW, store_world
from new_database import new_database
from openadr.endpoints.parameters import ROOT
from settings import load_settings

Json = Any
PROGRAM, EVENT, VEN = "«program»", "«event»", "«ven»"
"""Stand for the ids of what there is."""
INTERVALS = [{"id": 0, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-2000]}]}]
PERIOD = {"start": rfc3339(STARTS_AT), "duration": "PT30M", "randomizeStart": "PT0S"}
CALLBACK = {
    "objects": ["EVENT"],
    "operations": ["POST"],
    "callbackUrl": "https://ven.example/hear",
    "bearerToken": "token-1",
}
WHOLE: dict[str, Json] = {
    "programs": {"programName": "p", "intervalPeriod": PERIOD, "targets": ["south"], "attributes": []},
    "events": {
        "programID": PROGRAM,
        "eventName": "e",
        "priority": 0,
        "targets": [],
        "intervalPeriod": PERIOD,
        "payloadDescriptors": [{"payloadType": "DISPATCH_SETPOINT_RELATIVE", "units": "KW"}],
        "reportDescriptors": [{"payloadType": "USAGE", "frequency": 1}],
        "intervals": INTERVALS,
    },
    "reports": {
        "eventID": EVENT,
        "clientName": "v",
        "resources": [{"resourceName": "meter-1", "intervalPeriod": PERIOD, "intervals": INTERVALS}],
    },
    "vens": {"venName": "v", "targets": ["south"], "attributes": [{"type": "a", "values": [1, "x", True]}]},
    "resources": {"resourceName": "r", "venID": VEN, "targets": ["south"]},
    "subscriptions": {"clientName": "v", "programID": PROGRAM, "objectOperations": [CALLBACK], "targets": []},
}
ODD: tuple[Json, ...] = (
    *(None, True, 0, -1, 2**63, 1e308, 1.5, "", "0", "x" * 2000, "\x00", "\ud800", "‮", "NaN", "null"),
    *([], {}, [[]], [None], {"": ""}, [{}] * 3, float("nan"), float("inf"), "P1Y", "PT0S", "-PT30M"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "2026-11-22", "http://127.0.0.1/", "file:///etc/passwd"),
    *("../../programs", "'; drop table openadr_objects; --", PROGRAM, EVENT, VEN),
)
REFUSED = {400, 404, 409, 413}


@dataclass
class Vtn:
    database: PostgresDatabase
    client: Any
    ids: dict[str, str]

    def send(self, method: str, path: str, document: Json) -> tuple[int, str]:
        text = "" if document is None else json.dumps(document)
        for stand_in, object_id in self.ids.items():
            text = text.replace(json.dumps(stand_in)[1:-1], object_id)
        headers = {"Content-Type": "application/json"}
        answer = self.client.open(f"{ROOT}/{path}", method=method, data=text, headers=headers)
        return answer.status_code, answer.text

    def made(self, kind: str, document: Json) -> str:
        status, text = self.send("POST", kind, document)
        assert status == 201, text
        return str(json.loads(text)["id"])

    def stored(self) -> int:
        tables = {"openadr_objects": "object_id", "flexibility_events": "event_id", "openadr_webhooks": "webhook_id"}
        return sum(len(self.database.select(table, order=OrderBy((key,)))) for table, key in tables.items())


@pytest.fixture(scope="module")
def vtn(postgres_server: EmbeddedPostgres) -> Iterator[Vtn]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo, max_connections=2)
        store_world(database, data_centres=1)
        app = create_app(database, load_settings({}), clock=lambda: NOW)
        found = Vtn(database, app.test_client(), {})
        found.ids[PROGRAM] = found.made("programs", {"programName": "there"})
        found.ids[EVENT] = found.made("events", {"programID": PROGRAM})
        found.ids[VEN] = found.made("vens", {"venName": "there"})
        yield found
        database.close()


def places(document: Json, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a document, at any depth."""
    parts: list[tuple[str | int, Json]] = []
    if isinstance(document, dict):
        parts = list(document.items())
    elif isinstance(document, list):
        parts = list(enumerate(document))
    return [at, *(place for key, value in parts for place in places(value, (*at, key)))]


def changed(document: Json, at: tuple[str | int, ...], odd: Json) -> Json:
    """A copy with `odd` at a place."""
    if not at:
        return odd
    copy = document.copy()
    copy[at[0]] = changed(copy[at[0]], at[1:], odd)
    return copy


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_not_spoiled_is_taken(vtn: Vtn, kind: str) -> None:
    object_id = vtn.made(kind, WHOLE[kind])
    status, text = vtn.send("DELETE", f"{kind}/{object_id}", None)
    assert status == 200, text


@pytest.mark.parametrize("method", ["POST", "PUT"])
@given(kind=st.sampled_from(sorted(WHOLE)), data=st.data())
@settings(max_examples=120)
def test_whatever_stands_in_an_object_is_taken_or_refused_in_words(
    vtn: Vtn, method: str, kind: str, data: st.DataObject
) -> None:
    document = WHOLE[kind]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(places(document)))
        document = changed(document, at, data.draw(st.sampled_from(ODD)))
    there = {"programs": PROGRAM, "events": EVENT, "vens": VEN}.get(kind)
    path = f"{kind}/{vtn.ids[there] if there else 'unknown'}" if method == "PUT" else kind
    before = vtn.stored()
    status, text = vtn.send(method, path, document)
    if status in {200, 201}:
        if method == "POST":
            assert vtn.send("DELETE", f"{kind}/{json.loads(text)['id']}", None)[0] == 200
        return
    assert status in REFUSED, text
    assert json.loads(text)["status"] == status
    assert vtn.stored() == before
