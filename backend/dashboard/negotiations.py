"""The pages of negotiations: all of them, and one replayed round by round with its prices, draws and payments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response
from markupsafe import Markup
from pydantic import ValidationError

from api.negotiation_answers import HeardRound, NegotiationDetail
from api.stored_negotiations import NegotiationsQuery, read_detail, read_page
from dashboard.charts import Chart, Line, line_chart
from dashboard.grid_charts import KeyEntry
from dashboard.page import JsonLink, Pages
from dashboard.paging import following, given_values
from dashboard.time_axis import TimeAxis
from dashboard.words import figure
from dashboard.workloads import faults_of
from database.interface import Database
from web.problems import Problem

ROWS_A_PAGE = 50
MOST_DRAWN = 12
"""So many agents have a picture of what they draw; the table has them all."""

PRICE_KEY = (KeyEntry("called first", "line-2 dashed"), KeyEntry("after the round", "line-1 solid"))
DRAW_KEY = (KeyEntry("its own share of the limit", "line-3 dashed"), KeyEntry("drawn", "line-1 solid"))


@dataclass(frozen=True)
class Answered:
    """What one agent answered in a round: its first plan, drawn; None where it proposed none."""

    agent: str
    performative: str
    plans: int
    cost_gbp: float | None
    drawn: Markup | None


@dataclass(frozen=True)
class RoundRow:
    """A round's bounds, and their gap as a share of the widest."""

    number: int
    upper_gbp: float | None
    lower_gbp: float | None
    gap_gbp: float | None
    per_cent: float


def negotiation_pages(dashboard: Blueprint, pages: Pages, database: Database, clock: Callable[[], datetime]) -> None:
    """`/dashboard/negotiations` and `/dashboard/negotiations/<negotiation_id>`"""

    @dashboard.get("/negotiations")
    def negotiations() -> Response:
        given = given_values()
        try:
            query, faults = NegotiationsQuery.model_validate({"limit": ROWS_A_PAGE, **given}), {}
        except ValidationError as error:
            query, faults = NegotiationsQuery(limit=ROWS_A_PAGE), faults_of(error)
        found = read_page(database, query.limit, query.after)
        return pages.page(
            "negotiations.html",
            "plans",
            "Negotiations",
            json=JsonLink(f"/api/v1/negotiations?limit={ROWS_A_PAGE}"),
            negotiations=found.negotiations,
            faults=faults,
            following=following("dashboard.negotiations", found.next),
        )

    @dashboard.get("/negotiations/<negotiation_id>")
    def negotiation(negotiation_id: str) -> Response:
        found = read_detail(database, _identity(negotiation_id))
        if found is None:
            raise Problem(404, f"there is no negotiation {negotiation_id}")
        axis = TimeAxis(found.negotiation.starts_at, found.negotiation.half_hours, clock())
        shown = chosen_round(found, given_values().get("round"))
        numbers = [one.number for one in found.rounds]
        return pages.page(
            "negotiation.html",
            "plans",
            f"Negotiation {found.negotiation.name}",
            json=JsonLink(f"/api/v1/negotiations/{found.negotiation.negotiation_id}"),
            found=found,
            negotiation=found.negotiation,
            shown=shown,
            numbers=numbers,
            is_first=shown is None or shown.number == numbers[0],
            is_last=shown is None or shown.number == numbers[-1],
            rounds=bounds_of(found),
            prices=None if shown is None else draw_prices(shown, axis),
            price_key=PRICE_KEY,
            answered=[] if shown is None else answers_of(found, shown, axis),
            draws=draws_of(found, axis),
            draw_key=DRAW_KEY,
            faults={},
        )


def _identity(negotiation_id: str) -> UUID:
    try:
        return UUID(negotiation_id)
    except ValueError:
        raise Problem(404, f"{negotiation_id} is no negotiation's identity") from None


def chosen_round(found: NegotiationDetail, asked: str | None) -> HeardRound | None:
    """The round that is asked for; the last where none is, or where there is no such round."""
    by_number = {str(one.number): one for one in found.rounds}
    return by_number.get(asked or "", found.rounds[-1] if found.rounds else None)


def bounds_of(found: NegotiationDetail) -> list[RoundRow]:
    """What each round has brought the bounds to."""
    gaps = {
        one.number: one.upper_bound_gbp - one.lower_bound_gbp
        for one in found.rounds
        if one.upper_bound_gbp is not None and one.lower_bound_gbp is not None
    }
    widest = max(gaps.values(), default=0.0) or 1.0
    return [
        RoundRow(
            number=one.number,
            upper_gbp=one.upper_bound_gbp,
            lower_gbp=one.lower_bound_gbp,
            gap_gbp=gaps.get(one.number),
            per_cent=round(max(0.0, 100 * gaps.get(one.number, 0.0) / widest), 1),
        )
        for one in found.rounds
    ]


def draw_prices(one: HeardRound, axis: TimeAxis) -> Markup | None:
    """The prices that a round called, and those after it; None where it called none, and has not ended."""
    lines = []
    if one.called_gbp_per_mwh:
        called: list[float | None] = list(one.called_gbp_per_mwh[0])
        lines.append(Line(called, "line-2", "called first", [False] * len(called), is_stepped=True))
    if one.price_gbp_per_mwh is not None:
        lines.append(Line(list(one.price_gbp_per_mwh), "line-1", "after the round", is_stepped=True))
    if not lines:
        return None
    dearest = max(price for line in lines for price in line.values if price is not None)
    told = f"Prices of round {one.number}, at most {figure(dearest, '£/MWh', 2)}"
    return line_chart(Chart(axis, "£/MWh", told), lines)


def answers_of(found: NegotiationDetail, one: HeardRound, axis: TimeAxis) -> list[Answered]:
    """What agents answered in a round, by the time it was received."""
    own = {agent.agent: agent.endowment_mw for agent in found.agents}
    return [
        _answered(message.agent, str(message.performative), message.body, own.get(message.agent), axis)
        for message in one.messages
        if message.sender == "agent"
    ]


def _answered(
    agent: str, performative: str, body: dict[str, Any], own_mw: list[float] | None, axis: TimeAxis
) -> Answered:
    plans = body.get("plans") or ([body["plan"]] if "plan" in body else [])
    first = plans[0] if plans else None
    drawn = None if first is None else _draw(agent, first["draw_mw"], own_mw, axis)
    return Answered(agent, performative, len(plans), None if first is None else first["cost_gbp"], drawn)


def draws_of(found: NegotiationDetail, axis: TimeAxis) -> dict[str, Markup]:
    """What each agent draws by its award, beside its own share of the limit."""
    own = {agent.agent: agent.endowment_mw for agent in found.agents}
    return {
        award.agent: _draw(award.agent, award.draw_mw, own.get(award.agent), axis)
        for award in found.awards[:MOST_DRAWN]
    }


def _draw(agent: str, draw_mw: list[float], own_mw: list[float] | None, axis: TimeAxis) -> Markup:
    lines = []
    if own_mw is not None:
        lines.append(Line(list(own_mw), "line-3", "its own share", [False] * len(own_mw), is_stepped=True))
    lines.append(Line(list(draw_mw), "line-1", "drawn", is_stepped=True))
    told = f"{agent} draws {figure(max(draw_mw), 'MW', 2)} at most and {figure(min(draw_mw), 'MW', 2)} at least"
    return line_chart(Chart(axis, "MW", told, 70), lines)
