"""What was sold of flexibility, over HTTP: in pages, each tenant its own, every pound with whose move it is."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from flexibility_world import ENDS_AT, HALF_HOURS, STARTS_AT, announced, book_movable, carry_on
from grid.half_hours import HALF_HOUR, rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_world
from served import Client
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

FLEXIBILITY = "/api/v1/flexibility"
LISTS = ("baselines", "commitments", "settlements")
SHARED = "a-job-id-that-both-have"


@pytest.fixture
def asking(postgres: PostgresDatabase, conninfo: str) -> Iterator[tuple[Client, dict[str, dict[str, str]]]]:
    """An event of A's, settled, which moved two of its workloads; the headers of A, B and the platform."""
    make_operators(postgres)
    store_world(postgres, data_centres=0)
    store_data_centres(postgres, [data_centre(1, operator=A), data_centre(2, operator=B)])
    book_movable(postgres, SHARED, operator=A)
    book_movable(postgres, "other-of-a", operator=A, it_power_kw=600)
    book_movable(postgres, SHARED, operator=B, dc_id="DC-002")
    announced(postgres, tenant=A, need_mw=["2"] * HALF_HOURS)
    carry_on(postgres, NOW)
    carry_on(postgres, ENDS_AT)
    gate = gate_of(conninfo)
    try:
        with api_with_tenants(postgres, gate) as api:
            headers = {each: bearer(made_key(postgres, each)[0].text) for each in (A, B)}
            yield api, headers | {"platform": bearer(PLATFORM_KEY)}
    finally:
        gate.close()


def listed(api: Client, name: str, headers: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        asked = {**query, **({"after": after} if after else {})}
        answer = api.request("GET", f"{FLEXIBILITY}/{name}", params=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        found += answer.json()[name]
        after = answer.json()["next"]
        if after is None:
            return found


def test_what_was_sold_is_read_in_pages_and_each_pound_leads_to_a_workload(
    asking: tuple[Client, dict[str, dict[str, str]]], postgres: PostgresDatabase
) -> None:
    api, headers = asking
    commitments = listed(api, "commitments", headers[A], limit=3)
    assert [one["half_hour"] for one in commitments] == [
        rfc3339(STARTS_AT + place * HALF_HOUR) for place in reversed(range(HALF_HOURS))
    ]
    assert {(one["committed_mwh"], one["price_gbp_per_mwh"], one["is_notified"]) for one in commitments} == {
        ("1", "200", True)
    }
    baselines = listed(api, "baselines", headers[A], limit=1)
    assert [(one["dc_id"], one["metered_mwh"], one["operator"]) for one in baselines] == [("DC-001", "0", A)] * 4

    (run,) = listed(api, "settlements", headers[A])
    assert (run["operator"], run["run"], run["is_newest"], run["programme"]) == (A, 1, True, "DFS")
    assert {(flow["payer"], flow["payee"]) for flow in run["cashflows"]} == {("NESO", "Pylon")}
    brought = {one["job_id"]: one for one in run["workloads"]}
    assert {name: one["received_gbp"] for name, one in brought.items()} == {SHARED: "576", "other-of-a": "288"}, (
        "1.2 and 0.6 of 1.8 MW"
    )
    total = sum(Decimal(one["received_gbp"]) for one in brought.values()) + Decimal(run["unassigned_gbp"])
    assert total == Decimal(run["received_gbp"])
    (decision,) = postgres.select(
        "orchestration_decisions",
        where=[Where("decision_id", brought[SHARED]["decision_id"])],
        order=OrderBy(("decision_id",)),
    )
    assert decision["context"]["flexibility"]["event_id"] == run["event_id"]


def test_lists_are_of_one_event_or_unit_where_these_are_named(
    asking: tuple[Client, dict[str, dict[str, str]]], postgres: PostgresDatabase
) -> None:
    api, headers = asking
    (run,) = listed(api, "settlements", headers["platform"])
    unit = run["workloads"][0]["unit_id"]
    for name in LISTS:
        whole = listed(api, name, headers["platform"])
        assert whole
        assert listed(api, name, headers["platform"], event_id=run["event_id"], unit_id=unit, limit=2) == whole
        assert listed(api, name, headers["platform"], unit_id="V__NOBODY") == []
        assert listed(api, name, headers["platform"], event_id="6f1c2a3e-0d4b-4c5f-8a9b-1e2d3c4b5a69") == []


def test_each_tenant_sees_its_own_alone(asking: tuple[Client, dict[str, dict[str, str]]]) -> None:
    api, headers = asking
    (run,) = listed(api, "settlements", headers[A])
    for name in LISTS:
        assert listed(api, name, headers[B]) == []
        assert listed(api, name, headers[B], event_id=run["event_id"]) == []
        is_problem(api.get(f"{FLEXIBILITY}/{name}"), 401)


@pytest.mark.parametrize(
    "query",
    ["event_id=x", "unit_id=x", "after=x", "after=1-6f1c2a3e-0d4b-4c5f-8a9b-1e2d3c4b5a69-x", "limit=0", "unit=x"],
)
def test_what_is_no_place_event_or_unit_is_refused(api: Client, query: str) -> None:
    is_problem(api.get(f"{FLEXIBILITY}/settlements?{query}"), 422)
