"""Endpoints by which the owner of a workload takes it back or moves it before it starts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.workloads import TAG, JobPath, Key, WrittenTime
from database.interface import Database
from database.stored_rows import read_alone
from grid.half_hours import from_rfc3339, rfc3339
from ontology.types import ComputeWorkload
from printable import printable
from vocabulary import StrEnum
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.problems import Problem

LONGEST_REASON = 500
_ORDERED = (
    "it was bought over Beckn: cancel or move its order there, with /beckn/cancel or /beckn/update of its seller"
)


class CancelBody(BaseModel):
    """Why a workload is cancelled."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"reason": "the data set was wrong"}}
    )

    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] | None = Field(
        None, description="Why, in a few words: it is kept, and told in the event"
    )


def _one_of_the_two(schema: dict[str, Any]) -> None:
    """What the fields alone do not say: at least one is there, and none is null."""
    for name, described in schema["properties"].items():
        stated, _null = described.pop("anyOf")
        del described["default"]
        schema["properties"][name] = {**described, **stated}
    schema["anyOf"] = [{"required": [name]} for name in schema["properties"]]
    schema["example"] = {"dc_id": "DC-002", "start": "2026-11-22T21:30:00Z"}


class MoveBody(BaseModel):
    """Where and when a workload is to run instead; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_one_of_the_two)

    dc_id: Key | None = Field(None, description="The data centre that it is to run in")
    start: WrittenTime | None = Field(None, description="When it is to start, within seven days")

    @model_validator(mode="after")
    def _says_something(self) -> MoveBody:
        if self.dc_id is None and self.start is None:
            raise ValueError("say where it is to run (dc_id), when it is to start (start), or both")
        return self


class Cancelling(StrEnum):
    """`REQUESTED`: a runner runs it, and stops it as soon as it hears of it."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"


class CancelledWorkload(BaseModel):
    """What became of the wish to cancel, and the workload as it is now."""

    state: Cancelling
    workload: ComputeWorkload


class MovedWorkload(BaseModel):
    """The workload with its new place and start."""

    workload: ComputeWorkload


def workload_change_endpoints(database: Database, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/api/v1/workloads/<job_id>/cancel` and `/move`."""
    endpoints = APIBlueprint("workload_changes", __name__, url_prefix="/api/v1/workloads", abp_tags=[TAG])

    @endpoints.post(
        "/<job_id>/cancel",
        summary="Cancel a workload",
        description="What waits for a decision or for its start is cancelled at once, and its power is free again; "
        "so is what runs in simulation. What a runner runs is cancelled once its runner has stopped it "
        "(`requested`). One that is cancelled already is answered like the first time.",
        responses={
            200: CancelledWorkload,
            409: problem_answer("It has ended, or it was bought over Beckn"),
        },
    )
    def cancel(path: JobPath, body: CancelBody) -> Response:
        reason = printable(body.reason or "by its owner", LONGEST_REASON)
        arguments = {"p_job_id": _named(path), "p_reason": reason, "p_now": clock()}
        result = database.call("cancel_workload", arguments, repeatable=True)
        _check_known(result, path)
        if result["state"] == "over":
            raise Problem(409, f"it is {result['workload']['status']}: what has ended cannot be cancelled")
        return answer({"state": result["state"], "workload": _workload(result, path)})

    @endpoints.post(
        "/<job_id>/move",
        summary="Move a workload before it starts",
        description="It keeps its power and its length, and takes the power of its new half-hours at once or not at "
        "all. It may not end after its deadline; a carbon cap, a price limit and a deferral window are its owner's "
        "own wishes, and do not bind its owner here.",
        responses={
            200: MovedWorkload,
            409: problem_answer(
                "There is no room there then, or it waits for no start: it says which, and what to do"
            ),
        },
    )
    def move(path: JobPath, body: MoveBody) -> Response:
        now = clock()
        arguments = {
            "p_job_id": _named(path),
            "p_booking": {"dc_id": body.dc_id, "starts_at": body.start},
            "p_now": now,
        }
        result = database.call("move_workload", arguments)
        _check_known(result, path)
        if result["state"] != "moved":
            raise _refused_move(result, body, now)
        return answer({"workload": _workload(result, path)})

    return endpoints


def _named(path: JobPath) -> str:
    if "\x00" in path.job_id:
        raise _unknown(path)
    return path.job_id


def _unknown(path: JobPath) -> Problem:
    return Problem(404, f"there is no workload {path.job_id!r}: GET /api/v1/workloads lists them")


def _check_known(result: dict[str, Any], path: JobPath) -> None:
    if result["state"] == "unknown":
        raise _unknown(path)
    if result["state"] == "ordered":
        raise Problem(409, _ORDERED)


def _refused_move(result: dict[str, Any], body: MoveBody, now: datetime) -> Problem:
    state, place = result["state"], body.dc_id or "its data centre"
    if state == "not_waiting":
        status = result["workload"]["status"]
        return Problem(409, f"it is {status}: only what has its place and has not started can be moved")
    if state == "not_active":
        return Problem(409, f"{place} takes no work at present: choose another data centre")
    if state == "too_late":
        latest = rfc3339(from_rfc3339(result["latest_start"]))
        return Problem(409, f"it would end after its deadline: start it by {latest}", latest_start=latest)
    if state == "no_room":
        if result["room_from"] is None:
            return Problem(
                409, f"{place} has no room for it within a week: choose another data centre", room_from=None
            )
        room_from = rfc3339(from_rfc3339(result["room_from"]))
        return Problem(409, f"{place} has no room for it then, but from {room_from} on", room_from=room_from)
    field, message = {
        "past": ("start", f"is in the past: it is now {rfc3339(now)}"),
        "too_far": ("start", "is more than seven days ahead"),
        "unknown_data_centre": ("dc_id", f"{body.dc_id} is not known here"),
    }[state]
    return Problem(422, f"invalid: {field} {message}", errors=[{"field": field, "message": message}])


def _workload(result: dict[str, Any], path: JobPath) -> ComputeWorkload:
    return read_alone(ComputeWorkload.model_validate, result["workload"], f"ComputeWorkload/{path.job_id}")
