"""Endpoints for runners: programs on machines of a data centre that carry out what is booked there."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from threading import BoundedSemaphore

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from database.interface import Database
from execution.runner.protocol import (
    Begin,
    Finish,
    GiveBack,
    Heartbeat,
    Identity,
    OfferedTemplate,
    Registered,
    Registration,
    Standing,
    Take,
    Taken,
    Told,
)
from execution.runs import Registering, RunKey, RunnersRuns, Taking
from execution.silence import Silence
from ontology.types import Moment
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import NoParameters
from web.problems import Problem

TAG = Tag(name="Runners", description="Programs that run what is booked, on machines of a data centre")
WAITING_AT_ONCE = 4
"""Of the server's threads, so many may wait for work to become due; who comes then is to ask again soon."""

LOOK_EVERY_S = 1.0
ASK_AGAIN_S = 2.0


class RunnerPath(BaseModel):
    runner_id: Identity = Field(description="The runner's name", json_schema_extra={"example": "rack-1"})


class RunPath(RunnerPath):
    run_id: int = Field(ge=1, le=2**63 - 1, description="The run, as it was taken", json_schema_extra={"example": 17})


class RegisteredRunner(BaseModel):
    """A runner as it last registered."""

    runner_id: str
    dc_id: str
    capacity_kw: float
    templates: dict[str, OfferedTemplate]
    seen_at: Moment = Field(description="When it last asked for work")
    running: int = Field(description="How many runs it has begun and not ended")


class Runners(BaseModel):
    """The caller's runners."""

    runners: list[RegisteredRunner]


def runner_endpoints(
    requests: Database,
    database: Database,
    clock: Callable[[], datetime],
    *,
    carbon_price_gbp_per_t: float,
    silence: Silence,
    pause: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> APIBlueprint:
    """`/api/v1/runners…`.

    Args:
        requests: the database as a request's caller has it.
        database: the whole of it.
        silence: how long nothing may be heard of a run.
    """
    endpoints = APIBlueprint("runners", __name__, url_prefix="/api/v1/runners", abp_tags=[TAG])
    runs = RunnersRuns(requests, database, carbon_price_gbp_per_t=carbon_price_gbp_per_t, silence=silence)
    waiting = BoundedSemaphore(WAITING_AT_ONCE)

    def told(standing: Standing) -> Response:
        return answer(Told(now=clock(), standing=standing))

    def work_for(runner_id: str, asked: Take) -> Taken:
        state, offered = runs.take(runner_id, asked, clock())
        if state is Taking.UNKNOWN:
            raise Problem(404, f"there is no runner {runner_id}: POST /api/v1/runners registers it")
        if state is Taking.REPLACED:
            raise Problem(409, f"another process has registered as the runner {runner_id}")
        return Taken(now=clock(), runs=offered)

    @endpoints.get("", summary="Runners and what they run", responses={200: Runners})
    def registered(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer({"runners": [RegisteredRunner.model_validate(row) for row in runs.registered()]})

    @endpoints.post(
        "",
        summary="Register a runner",
        description="At each of its starts: an earlier process of the same name takes nothing more.",
        responses={200: Registered, 409: problem_answer("The data centre is simulated, and take_over is false")},
    )
    def register(body: Registration) -> Response:
        state, session = runs.register(body, clock())
        if state is Registering.SIMULATED:
            raise Problem(409, f"{body.dc_id} is simulated: register with take_over to have runners run it")
        if state is Registering.UNKNOWN_DATA_CENTRE or session is None:
            message = f"{body.dc_id} is no data centre of this runner's operator"
            raise Problem(422, f"invalid: dc_id ({message})", errors=[{"field": "dc_id", "message": message}])
        heartbeat_s, lost_after_s = silence.heartbeat_s, silence.lost_after_s
        return answer(Registered(now=clock(), session=session, heartbeat_s=heartbeat_s, lost_after_s=lost_after_s))

    @endpoints.post(
        "/<runner_id>/take",
        summary="Take a run that is due",
        description="Waits for up to wait_s seconds until there is one. What is taken is leased, under a fence.",
        responses={200: Taken, 409: problem_answer("Another process has registered by this name")},
    )
    def take(path: RunnerPath, body: Take) -> Response:
        found = work_for(path.runner_id, body)
        if found.runs or body.wait_s <= 0:
            return answer(found)
        if not waiting.acquire(blocking=False):
            return answer(found.model_copy(update={"ask_again_s": ASK_AGAIN_S}))
        try:
            ends_at = monotonic() + body.wait_s
            while not found.runs and (left_s := ends_at - monotonic()) > 0:
                pause(min(LOOK_EVERY_S, left_s))
                found = work_for(path.runner_id, body)
        finally:
            waiting.release()
        return answer(found)

    @endpoints.post("/<runner_id>/runs/<run_id>/begin", summary="May this run start now?", responses={200: Told})
    def begin(path: RunPath, body: Begin) -> Response:
        return told(runs.begin(RunKey(path.runner_id, path.run_id, body.fence), clock()))

    @endpoints.post("/<runner_id>/runs/<run_id>/heartbeat", summary="The run goes on", responses={200: Told})
    def heartbeat(path: RunPath, body: Heartbeat) -> Response:
        return told(runs.heartbeat(RunKey(path.runner_id, path.run_id, body.fence), body.energy, clock()))

    @endpoints.post("/<runner_id>/runs/<run_id>/give-back", summary="It is not run here", responses={200: Told})
    def give_back(path: RunPath, body: GiveBack) -> Response:
        return told(runs.give_back(RunKey(path.runner_id, path.run_id, body.fence), body, clock()))

    @endpoints.post("/<runner_id>/runs/<run_id>/finish", summary="The run has ended", responses={200: Told})
    def finish(path: RunPath, body: Finish) -> Response:
        return told(runs.finish(RunKey(path.runner_id, path.run_id, body.fence), body, clock()))

    return endpoints
