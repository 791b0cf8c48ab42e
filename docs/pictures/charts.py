"""Charts by the code itself: the example of scoring.md by the scorer, and the points of a day with our curves."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from pathlib import Path

from decisions.scoring.context import DecisionContext
from decisions.scoring.evaluation import Evaluation, evaluate
from decisions.scoring.feasibility import Constraint
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.signals import read_signals
from grid.half_hours import settlement_period_start
from grid.model import modelled_demand_mw
from svg import Drawing
from upstreams.cardinal_points import CardinalKind, CardinalPoint, half_hourly, periods_between
from vocabulary import Policy

HERE = Path(__file__).resolve().parent
PARTS = {
    "energy_gbp": ("energy", "blue"),
    "carbon_gbp": ("carbon", "green"),
    "grid_stress_gbp": ("grid stress", "amber"),
    "delay_gbp": ("delay", "grey"),
}
WHY = {Constraint.CARBON_CAP: "over cap", Constraint.DEFERRAL_WINDOW: "too late"}


def worked_example(page: str) -> Evaluation:
    """Every start of the example in section 8 of scoring.md, as the scorer prices it."""
    example = page[page.index("## 8.") :]
    given = json.loads(re.findall(r"```json\n(.*?)```", example, re.DOTALL)[0])
    rows = re.findall(r"^\| (\d\d:\d\d) \| (\d+) \| ([\d.]+) \| (\d+) \|$", example, re.MULTILINE)
    start = f"{given['as_of'][:10]}T{rows[0][0]}:00Z"
    price, stress, carbon = ([float(row[column]) for row in rows] for column in (1, 2, 3))
    context = DecisionContext.model_validate(
        {
            "context_id": "example",
            "as_of": given["as_of"],
            "task": given["task"],
            "national": {"forecast": {"start": start, "wholesale_price_gbp_mwh": price, "grid_stress_score": stress}},
            "regional": [{"region_id": 13, "forecast": {"start": start, "carbon_intensity_gco2_per_kwh": carbon}}],
            "data_centres": [given["data_centre"]],
        }
    )
    signals = read_signals(context)
    terms = Terms.of(Policy(given["policy"]), given["carbon_price_gbp_per_t"])
    return evaluate(context.task, context.as_of, signals, Sites.of(context.data_centres, signals), terms)


def objective_by_start(page: str) -> str:
    """The parts of J for every start within the forecast; what breaks a constraint is pale and says why."""
    evaluation = worked_example(page)
    candidates = evaluation.candidates
    runs = [run for run in range(len(candidates.runs)) if candidates.known[0, run]]
    drawing = Drawing(760, 400, "The parts of J for each start of the worked example")
    left, bottom, pixels_per_gbp, column = 60, 300, 70.0, 64
    drawing.text(left - 44, 24, "J in pounds, by start. Pale: the start breaks a hard constraint.", "strong")
    for gbp in range(4):
        y = bottom - gbp * pixels_per_gbp
        drawing.line([(left, y), (740, y)], "thin")
        drawing.text(left - 8, y + 4, f"£{gbp}", "small end")
    best = evaluation.best_runs(evaluation.feasible)[0]
    for place, run in enumerate(runs):
        x, y = left + 14 + column * place, float(bottom)
        violations = evaluation.feasibility.violations(0, run)
        parts = candidates.parts(0, run)
        for name, (_, colour) in PARTS.items():
            height = getattr(parts, name) * pixels_per_gbp
            y -= height
            drawing.box(x, y, 40, height, f"{colour} pale" if violations else colour)
        weight = "middle strong" if run == best else "middle"
        drawing.text(x + 20, y - 7, f"{parts.total_gbp:.2f}", f"small {weight}")
        drawing.text(x + 20, bottom + 18, f"{candidates.runs.start(run):%H:%M}", weight)
        for line, violation in enumerate(violations):
            drawing.text(x + 20, bottom + 36 + 15 * line, WHY[violation.constraint], "small middle")
        if run == best:
            drawing.text(x + 20, bottom + 36, "answer", "small middle strong")
    for place, (words, colour) in enumerate(PARTS.values()):
        drawing.box(left + 130 * place, 374, 12, 12, colour)
        drawing.text(left + 18 + 130 * place, 384, words, "small")
    return drawing.svg()


def demand_of_a_day() -> str:
    """Twelve points of a day as NESO gives them, our curve through them, and the curve that knows none of them."""
    known = json.loads((HERE / "known_points.json").read_text(encoding="utf-8"))
    day = date.fromisoformat(known["day"])
    points = [_point(day, *row) for row in known["points"]]
    curve = half_hourly(day, points)
    midnight = settlement_period_start(day, 1)

    def at(moment: datetime, demand_mw: float) -> tuple[float, float]:
        hours = (moment - midnight).total_seconds() / 3600
        return 60 + hours * 28, 340 - (demand_mw - 14_000) / 1000 * 15

    drawing = Drawing(760, 420, "Demand of a day: twelve points, the curve through them, and the model")
    drawing.text(16, 24, f"National demand on {day:%A} {day.day} {day:%B %Y}, GW, by the London clock", "strong")
    for gw in range(14, 35, 4):
        _, y = at(midnight, gw * 1000)
        drawing.line([(60, y), (732, y)], "thin")
        drawing.text(52, y + 4, f"{gw}", "small end")
    for hour in range(0, 25, 3):
        drawing.text(60 + 28 * hour, 360, f"{hour:02d}:00", "small middle")
    drawing.line([at(half_hour.start, modelled_demand_mw(half_hour.start)) for half_hour in curve], "grey-line")
    drawing.line([at(half_hour.start, half_hour.demand_mw) for half_hour in curve], "blue-line")
    for half_hour in curve:
        if not half_hour.is_interpolated:
            drawing.dot(*at(half_hour.start, half_hour.demand_mw), "amber")
    drawing.dot(70, 390, "amber")
    drawing.text(82, 394, "twelve points, as NESO publishes", "small")
    drawing.line([(250, 390), (280, 390)], "blue-line")
    drawing.text(288, 394, "the curve through them", "small")
    drawing.line([(470, 390), (500, 390)], "grey-line")
    drawing.text(508, 394, "the demand model, without them", "small")
    return drawing.svg()


def _point(day: date, kind: str, start_label: int, end_label: int, demand_mw: float) -> CardinalPoint:
    periods = periods_between(day, start_label, end_label)
    if periods is None:
        raise ValueError(f"{day} has no half-hour from {start_label} to {end_label}")
    return CardinalPoint(CardinalKind(kind), *periods, demand_mw)
