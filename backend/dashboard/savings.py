"""The page of savings: what deciding has saved, by day, place, operator or type, beside what it had foretold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlencode

from flask import Blueprint, Response
from pydantic import ValidationError

from api.savings import GroupedBy, SavingsAnswer, SavingsQuery, read_savings
from dashboard.page import JsonLink, Pages
from dashboard.paging import given_values
from dashboard.workloads import faults_of, faults_told
from database.interface import Database
from grid.half_hours import rfc3339
from web.problems import Problem

BY_WORDS = {
    GroupedBy.DAY: "day",
    GroupedBy.DATA_CENTRE: "data centre",
    GroupedBy.OPERATOR: "operator",
    GroupedBy.WORKLOAD_TYPE: "type of workload",
}
METHOD = "docs/accounting.md"
"""Where the whole of the method is written; the sentences of the answer are its statement."""


def savings_pages(
    dashboard: Blueprint,
    pages: Pages,
    database: Database,
    clock: Callable[[], datetime],
    carbon_price_gbp_per_t: float,
) -> None:
    """`/dashboard/savings`"""

    @dashboard.get("/savings")
    def savings() -> Response:
        now = clock()
        given = {name: _with_zone(name, value) for name, value in given_values().items()}
        found, faults = _read(database, given, now, carbon_price_gbp_per_t)
        asked = {"by": str(found.by)}
        if not faults:
            asked |= {name: given[name] for name in ("from", "to") if name in given}
        ends = {"from": found.period_from, "to": found.period_to}
        return pages.page(
            "savings.html",
            "savings",
            "Savings",
            json=JsonLink(f"/api/v1/savings?{urlencode(asked)}"),
            found=found,
            faults=faults,
            by_words=BY_WORDS,
            period={name: rfc3339(end)[:16] for name, end in ends.items() if name in asked},
            method=METHOD,
        )


def _read(
    database: Database, given: dict[str, str], now: datetime, carbon_price_gbp_per_t: float
) -> tuple[SavingsAnswer, dict[str, str]]:
    """The savings that were asked for; the last week's, and what is wrong, where there are none such."""
    try:
        query = SavingsQuery.model_validate(given)
        return read_savings(database, query, now, carbon_price_gbp_per_t), {}
    except ValidationError as error:
        faults = faults_of(error)
    except Problem as problem:
        faults = faults_told(problem)
    return read_savings(database, SavingsQuery.model_validate({}), now, carbon_price_gbp_per_t), faults


def _with_zone(name: str, value: str) -> str:
    """A browser's field for a time has no zone; it is UTC here."""
    return value + ":00Z" if name in {"from", "to"} and len(value) == len("2026-11-22T08:00") else value
