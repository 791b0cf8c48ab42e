"""The endpoint that lists what the pipeline did: its runs, with their sources and the time each stage took."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api.workloads import WrittenTime
from database.interface import Database
from ingest.sources import SourceState
from ontology.types import Moment
from web.api_blueprint import APIBlueprint
from web.kept_answers import UNCHANGED, KeptAnswers
from web.parameters import StrictQuery

TAG = Tag(name="Pipeline", description="What fetches, derives and stores the grid")


class PipelineRunsQuery(StrictQuery):
    limit: int = Field(48, ge=1, le=500, description="How many to return at most")
    after: WrittenTime | None = Field(None, description="Go on after this: `next` of the previous answer")


class PipelineRun(BaseModel):
    """One run: a half-hour has one at most."""

    slot: Moment = Field(description="Start of the half-hour it is for")
    state: Literal["running", "succeeded", "partial", "failed"] = Field(
        description="How it ended, or that it has not; partial: without a source"
    )
    started_at: Moment
    finished_at: Moment | None
    attempt: int = Field(description="How often it was begun")
    sources: dict[str, SourceState] = Field(description="Every upstream source after it")
    counts: dict[str, int] = Field(description="Rows stored, by kind")
    stages_ms: dict[str, float] = Field(description="How long each stage took, in milliseconds")
    error: str | None


class PipelineRuns(BaseModel):
    """Runs of the pipeline, the newest first. A half-hour that is not there had none."""

    runs: list[PipelineRun]
    next: Moment | None = Field(description="Pass this as after= to go on; null at the end")


def pipeline_run_endpoints(database: Database, answers: KeptAnswers) -> APIBlueprint:
    """`/api/v1/pipeline-runs`"""
    endpoints = APIBlueprint("pipeline_runs", __name__, url_prefix="/api/v1/pipeline-runs", abp_tags=[TAG])

    @endpoints.get("", summary="Runs of the pipeline, the newest first", responses={200: PipelineRuns, **UNCHANGED})
    def pipeline_runs(query: PipelineRunsQuery) -> Response:
        return answers.answer(lambda _: read_pipeline_runs(database, query.limit, query.after))

    return endpoints


def read_pipeline_runs(database: Database, limit: int, after: datetime | None = None) -> PipelineRuns:
    """Up to `limit` runs, the newest first, before that of the half-hour `after`.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("pipeline_runs_page", {"p_limit": limit + 1, "p_after": after}, repeatable=True)
    runs = [PipelineRun.model_validate(row) for row in found]
    following = runs[limit - 1].slot if len(runs) > limit else None
    return PipelineRuns(runs=runs[:limit], next=following)
