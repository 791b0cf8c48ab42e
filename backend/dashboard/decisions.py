"""The pages of decisions: all of them as they come, and one with every data centre that was considered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlencode

from flask import Blueprint, Response
from pydantic import ValidationError

from api.decisions import DecisionPage, DecisionsQuery, read_decisions
from dashboard.decision_view import decision_view, readable_output
from dashboard.page import JsonLink, Pages
from dashboard.paging import following, given_values
from dashboard.workloads import centre_names, faults_of, question_of
from database.interface import Database
from decisions.publishing.schema import Scorer
from ontology.objects import ObjectNotFound, read_one
from ontology.types import OrchestrationDecision
from web.problems import Problem

ROWS_A_PAGE = 50
FILTERS = ("job_id", "dc_id", "scorer")


def decision_pages(dashboard: Blueprint, pages: Pages, database: Database, clock: Callable[[], datetime]) -> None:
    """`/dashboard/decisions` and `/dashboard/decisions/<decision_id>`"""

    @dashboard.get("/decisions")
    def decisions() -> Response:
        given = given_values()
        page, faults = _read(database, given)
        filters = {name: given[name] for name in FILTERS if name in given and not faults}
        return pages.page(
            "decisions.html",
            "decisions",
            "Decisions",
            json=JsonLink(f"/api/v1/decisions?{urlencode({**filters, 'limit': ROWS_A_PAGE})}"),
            page=page,
            faults=faults,
            filters=filters,
            scorers=list(Scorer),
            centres=centre_names(database),
            is_later_page="after" in given and not faults,
            following=following("dashboard.decisions", page.next, filters),
        )

    @dashboard.get("/decisions/<decision_id>")
    def decision(decision_id: str) -> Response:
        now = clock()
        stored = _stored(database, decision_id)
        output = readable_output(stored.output)
        return pages.page(
            "decision_page.html",
            "decisions",
            f"Decision about {stored.job_id}",
            json=JsonLink(f"/api/v1/objects/OrchestrationDecision/{stored.decision_id}"),
            stored=stored,
            view=None if output is None else decision_view(output, now),
            centres=centre_names(database),
            question=None if output is None else question_of(output.task, now),
        )


def _read(database: Database, given: dict[str, str]) -> tuple[DecisionPage, dict[str, str]]:
    """The decisions that were asked for; the newest, and what is wrong, where there are none such."""
    try:
        return read_decisions(database, DecisionsQuery.model_validate({"limit": ROWS_A_PAGE, **given})), {}
    except ValidationError as error:
        return read_decisions(database, DecisionsQuery(limit=ROWS_A_PAGE)), faults_of(error)


def _stored(database: Database, decision_id: str) -> OrchestrationDecision:
    try:
        found = read_one(database, OrchestrationDecision, decision_id)
    except ObjectNotFound:
        raise Problem(404, f"there is no decision {decision_id!r}: GET /api/v1/decisions lists them") from None
    assert isinstance(found, OrchestrationDecision)  # noqa: S101 - for the type checker
    return found
