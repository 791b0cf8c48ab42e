"""The catalogue of open workloads over real HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beckn_specification import on_search_faults
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid_world import NOW, submit, workload
from raw_http import exchange
from running_gateway import RunningGateway, running_gateway


def listed(gateway: RunningGateway, query: str = "") -> list[str]:
    document = gateway.get(f"/beckn/catalog{query}").json()
    (provider,) = document["message"]["catalog"]["providers"]
    items: list[Any] = provider.get("items", [])
    return [item["id"] for item in items]


def test_the_open_workloads_are_listed_and_the_others_are_not(database: Database) -> None:
    submit(database, *(workload(f"job-{number}") for number in range(4)))
    database.update("compute_workloads", {"status": "COMPLETED"}, where=[Where("job_id", "job-0")])
    database.update("compute_workloads", {"status": "DEFERRED_CARBON"}, where=[Where("job_id", "job-1")])
    with running_gateway(database) as gateway:
        assert sorted(listed(gateway)) == ["job-1", "job-2", "job-3"]
        assert len(listed(gateway, "?limit=2")) == 2
        assert gateway.get("/beckn/catalog?limit=0").status_code == 422
        document = gateway.get("/beckn/catalog").json()
    assert document["context"]["action"] == "on_search"
    assert document["context"]["timestamp"].startswith(f"{NOW:%Y-%m-%dT%H:%M:%S}")


def test_the_catalogue_is_a_valid_on_search(database: Database) -> None:
    submit(database, workload("job-1", carbon_cap_gco2=150, max_price_gbp=40, deferral_window_mins=60))
    with running_gateway(database) as gateway:
        assert on_search_faults(gateway.get("/beckn/catalog").json()) == []


def test_the_newest_are_listed_oldest_first_whatever_their_number(database: Database) -> None:
    submit(database, *(workload(f"job-{number:03}") for number in range(130)))  # all at one time
    with running_gateway(database) as gateway:
        longest = listed(gateway, "?limit=1000")
        assert longest == [f"job-{number:03}" for number in range(130)]
        for limit in (1, 7, 100, 101, 129):
            assert listed(gateway, f"?limit={limit}") == longest[-limit:]
        document = gateway.get("/beckn/catalog?limit=3").json()
    (provider,) = document["message"]["catalog"]["providers"]
    assert [item["fulfillment_ids"][0] for item in provider["items"]] == [
        fulfillment["id"] for fulfillment in provider["fulfillments"]
    ]


def test_a_change_is_in_the_next_answer(database: Database) -> None:
    with running_gateway(database) as gateway:
        for number in range(3):
            assert len(listed(gateway)) == number
            submit(database, workload(f"job-{number}"))


def test_many_that_ask_at_once_share_an_answer_and_hold_up_nobody(postgres: PostgresDatabase) -> None:
    submit(postgres, *(workload(f"job-{number}") for number in range(500)))
    readings: list[str] = []
    select = postgres.select

    def counting(table: str, *arguments: Any, **options: Any) -> Any:
        readings.append(table)
        return select(table, *arguments, **options)

    postgres.select = counting  # type: ignore[method-assign]
    request = b"GET /beckn/catalog?limit=500 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with running_gateway(postgres) as gateway, ThreadPoolExecutor(50) as clients:
        answers = [clients.submit(exchange, gateway.port, request) for _ in range(50)]
        assert gateway.get("/").status_code == 200
        found = [answer.result(timeout=60) for answer in answers]
    assert {answer.status for answer in found} == {200}
    assert len(readings) < 25, "those who ask while it is read share the next one"
