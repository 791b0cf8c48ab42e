"""The decision context over real HTTP, and consumers that mark it processed."""

from __future__ import annotations

from typing import Any

from database.interface import Database
from grid_world import NOW, store_world, submit, workload
from running_gateway import running_gateway, workers_on

CONTEXT = "/beckn/context"
PROCESSED = "/beckn/context/processed"
WRONG_MARKS: list[Any] = [{"task_id": "no spaces"}, {"consumer": 3}, {"tsk": "first"}, []]


def test_the_context_in_work_else_the_newest_and_who_has_processed_it(database: Database) -> None:
    with running_gateway(database) as gateway:
        empty = gateway.get(CONTEXT).json()
        assert empty == {"status": "empty", "state": "none", "task_id": None, "context": None, "processed_by": []}
        for body in ({}, {"task_id": "first"}):
            missing = gateway.post(PROCESSED, body)
            assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")

        store_world(database)
        workers = workers_on(database)
        submit(database, workload("first"))
        workers.work_once()
        submit(database, workload("second"))
        workers.work_once()
        newest = gateway.get(CONTEXT).json()
        assert (newest["status"], newest["state"], newest["task_id"]) == ("success", "decided", "second")
        context = newest["context"]
        assert context["task"]["job_id"] == "second"
        assert {"national", "regional", "data_centres", "generation_mix", "summary"} <= context.keys()
        assert [centre["dc_id"] for centre in context["data_centres"]] == ["DC-001", "DC-002", "DC-003"]
        assert gateway.get(f"{CONTEXT}?task_id=first").json()["context"]["task"]["job_id"] == "first"
        assert gateway.get(f"{CONTEXT}?task_id=third").json()["status"] == "empty"

        nothing = gateway.post(PROCESSED, headers={"Content-Type": "application/json"})
        assert nothing.json() == {"status": "success", "task_id": "second"}
        assert gateway.post(PROCESSED, {"consumer": "auditor"}).json()["task_id"] == "second"
        assert gateway.post(PROCESSED, {"task_id": "first"}).json()["task_id"] == "first"
        assert gateway.get(CONTEXT).json()["processed_by"] == ["auditor", "bpp"]
        assert gateway.get(f"{CONTEXT}?task_id=first").json()["processed_by"] == ["bpp"]

        # What a model is thinking about goes before what is decided.
        submit(database, workload("third"))
        (claim,) = workers.queue.claim(1).claimed
        batch = workers.queue.contexts(["third"], NOW)
        workers.queue.note_context(claim.lease, {**batch.grid, **batch.task_row("third")})
        in_work = gateway.get(CONTEXT).json()
        assert (in_work["state"], in_work["task_id"]) == ("in_work", "third")
        assert in_work["context"]["task"]["job_id"] == "third"

        for wrong in WRONG_MARKS:
            assert gateway.post(PROCESSED, wrong).status_code == 422
        assert gateway.post(PROCESSED, data="{", headers={"Content-Type": "application/json"}).status_code == 400
        for sent in ({"data": "task_id=first"}, {"data": "{}"}, {"data": ""}, {}):
            assert gateway.post(PROCESSED, **sent).status_code == 415
        assert gateway.get(f"{CONTEXT}?task_id=third").json()["processed_by"] == []
