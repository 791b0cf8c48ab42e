"""The endpoint that lists what was decided: each decision in a few words, what it came to and what came second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, ValidationError

from api.places import Place, place_of, read_place
from database.interface import Database
from database.stored_rows import LEFT_OUT, UnreadableRow, left_out, read_each
from decisions.publishing.schema import Estimates, RunnerUp, Scorer, Waiting
from grid.half_hours import from_rfc3339
from ontology.types import Moment
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import PlainText, StrictQuery

TAG = Tag(name="Decisions", description="What was decided, and how narrowly")
MOST_AT_ONCE = 200
"""Each is read from its whole output, of some 13 kB."""

Part = TypeVar("Part", bound=BaseModel)


class DecisionsQuery(StrictQuery):
    limit: int = Field(50, ge=1, le=MOST_AT_ONCE, description="How many to return at most")
    after: Place | None = Field(None, description="Go on after this: `next` of the previous answer")
    job_id: PlainText | None = Field(None, description="Only those about this workload")
    dc_id: PlainText | None = Field(None, description="Only those that chose this data centre")
    scorer: Scorer | None = Field(None, description="Only those whose scores this one set")

    def filter(self) -> dict[str, str]:
        """What is asked for, by name."""
        wanted = {"job_id": self.job_id, "dc_id": self.dc_id, "scorer": self.scorer}
        return {name: str(value) for name, value in wanted.items() if value is not None}


class DecisionRow(BaseModel):
    """A decision in a few words. What its output does not say, as one of an earlier shape, is null."""

    decision_id: UUID
    sequence: int | None = Field(description="Its number in the log of events")
    job_id: str
    operator: str | None = Field(description="Whose workload it is")
    workload_type: str | None
    chosen_dc_id: str | None = Field(description="Null: no data centre could take it, see `waiting`")
    recommended_start: Moment | None
    considered: int | None = Field(description="How many data centres were")
    score: float | None = Field(description="Of the chosen data centre, of 100")
    objective_gbp: float | None = Field(description="J of the answer, £")
    runner_up: RunnerUp | None = Field(description="The next best data centre, and by how much it is worse")
    estimates: Estimates | None = Field(description="Of the chosen data centre: its run now beside the chosen one")
    waiting: Waiting | None = Field(description="What becomes of a workload that is not placed")
    scorer: Scorer
    model: str | None
    fallback_reason: str | None
    reasoning: str | None
    decided_at: Moment


class DecisionPage(BaseModel):
    """Decisions, newest first."""

    decisions: list[DecisionRow]
    next: Place | None = Field(description="Pass this as after= to go on; null at the end")
    unreadable: list[UnreadableRow] = Field([], description=LEFT_OUT)


def decision_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/decisions`"""
    endpoints = APIBlueprint("decisions", __name__, url_prefix="/api/v1/decisions", abp_tags=[TAG])

    @endpoints.get(
        "",
        summary="Decisions, newest first",
        description="The whole of one is GET /api/v1/objects/OrchestrationDecision/<decision_id>.",
        responses={200: DecisionPage},
    )
    def decisions(query: DecisionsQuery) -> Response:
        page = read_decisions(database, query)
        return answer({"decisions": page.decisions, "next": page.next, **left_out(page.unreadable)})

    return endpoints


def read_decisions(database: Database, query: DecisionsQuery) -> DecisionPage:
    """A page of decisions, the newest first.

    Raises:
        DatabaseError: the database does not answer.
    """
    before, before_id = read_place(query.after)
    asked = {"p_before": before, "p_before_id": before_id, "p_limit": query.limit + 1, "p_filter": query.filter()}
    found = database.call("decision_list", asked, repeatable=True)
    shown = found[: query.limit]
    rows, unreadable = read_each(_row, shown, lambda row: f"OrchestrationDecision/{row['decision_id']}")
    last = shown[-1] if len(found) > query.limit else None
    following = None if last is None else place_of(from_rfc3339(last["decided_at"]), UUID(last["decision_id"]))
    return DecisionPage(decisions=rows, next=following, unreadable=unreadable)


def _row(found: Mapping[str, Any]) -> DecisionRow:
    parts = {
        "runner_up": _readable(RunnerUp, found["runner_up"]),
        "estimates": _readable(Estimates, found["estimates"]),
        "waiting": _readable(Waiting, found["waiting"]),
    }
    return DecisionRow.model_validate({**found, **parts})


def _readable(part: type[Part], stored: Any) -> Part | None:
    """A part of an output; None where it has none, or of another shape: nothing in the audit log is mended."""
    try:
        return None if stored is None else part.model_validate(stored)
    except ValidationError:
        return None
