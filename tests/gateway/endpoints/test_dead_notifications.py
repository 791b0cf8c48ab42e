"""The operator's endpoints: what failed for good, and putting it back."""

from __future__ import annotations

from typing import Any

from database.interface import Database
from decisions.work.notifications import WorkQueue
from grid_world import store_world, submit, workload
from running_gateway import RunningGateway, running_gateway, workers_on

DEAD = "/queue/dead"
REQUEUE = "/queue/dead/requeue"
WRONG_REQUESTS: list[Any] = [{"notification_ids": "all"}, {"notification_ids": [-1]}, {"ids": []}, [], None]


def kill(database: Database, *job_ids: str) -> None:
    """Workloads whose every attempt fails."""
    submit(database, *(workload(job_id) for job_id in job_ids))
    queue = WorkQueue(database, "gateway:test:2", lease_seconds=60)
    for _ in range(5):
        for claim in queue.claim(100).claimed:
            arguments = {
                "p_notification_id": claim.notification_id,
                "p_lease_token": claim.lease_token,
                "p_error": f"{claim.job_id} is poisonous",
                "p_retry_seconds": 0,
            }
            database.call("fail_notification", arguments)


def dead(gateway: RunningGateway, query: str = "") -> list[Any]:
    found: list[Any] = gateway.get(DEAD + query).json()["notifications"]
    return found


def test_the_dead_are_listed_with_their_errors_and_put_back(database: Database) -> None:
    store_world(database)
    with running_gateway(database, environ={"PYLON_API_KEY": "correct-horse"}) as gateway:
        key = {"Authorization": "Bearer correct-horse"}
        assert gateway.get(DEAD).json() == {"notifications": [], "next": None}
        kill(database, "first", "second", "third")
        found = dead(gateway)
        assert [(each["job_id"], each["attempts"]) for each in found] == [("first", 5), ("second", 5), ("third", 5)]
        assert "first is poisonous" in found[0]["last_error"]
        own = gateway.get(f"{DEAD}/own?limit=2").json()["notifications"]
        assert [(each["job_id"], each["reason"], each["attempts"]) for each in own] == [
            ("third", "submitted", 5),
            ("second", "submitted", 5),
        ]
        numbers = [each["notification_id"] for each in found]
        page = gateway.get(f"{DEAD}?limit=2").json()
        assert [each["notification_id"] for each in page["notifications"]] == numbers[:2]
        assert [each["notification_id"] for each in dead(gateway, f"?limit=2&after={page['next']}")] == numbers[2:]
        health = gateway.get("/health")
        assert (health.status_code, health.json()["state"], health.json()["queue"]["dead"]) == (200, "degraded", 3)

        assert gateway.post(REQUEUE, {}).status_code == 401
        for body in WRONG_REQUESTS:
            assert gateway.post(REQUEUE, body, headers=key).status_code in {415, 422}
        assert gateway.post(REQUEUE, {"notification_ids": [numbers[1], 999]}, headers=key).json() == {"requeued": 1}
        assert [each["job_id"] for each in dead(gateway)] == ["first", "third"]
        assert gateway.post(REQUEUE, {}, headers=key).json() == {"requeued": 2}
        assert gateway.post(REQUEUE, {}, headers=key).json() == {"requeued": 0}
        assert gateway.get("/health").json()["queue"]["depth"] == 3
        assert workers_on(database).work_once() == 3
        assert gateway.get("/beckn/llm-output/history").json()["count"] == 3
