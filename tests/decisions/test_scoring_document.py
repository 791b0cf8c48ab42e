"""The worked example of docs/scoring.md, read from the page: the scorer agrees with it, and so does arithmetic."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

import hardware
from decisions.publishing.output import build_output
from decisions.publishing.schema import DecisionOutput
from decisions.scoring import energy, feasibility, objective, suitability
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from vocabulary import Policy, Urgency, WorkloadType

PAGE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")
EXAMPLE = PAGE[PAGE.index("## 8.") :]
GENERATED_AT = datetime(2026, 11, 22, 8, 10, tzinfo=timezone.utc)


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is `heading`."""
    lines = text[text.index(f"| {heading} |") :].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    body = []
    for line, row in zip(lines[2:], rows[2:], strict=True):
        if not line.startswith("|"):
            break
        body.append(row)
    return body


def number(text: str) -> float:
    """The first number in a text, thousands separators allowed."""
    found = re.search(r"-?\d[\d,]*(\.\d+)?", text)
    assert found, text
    return float(found.group().replace(",", ""))


INPUT: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", EXAMPLE, re.DOTALL)[0])
HALF_HOURS = table(EXAMPLE, "half-hour from")
PRICE, STRESS, CARBON = ([float(row[column]) for row in HALF_HOURS] for column in (1, 2, 3))
SHORT_OF_POWER: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", EXAMPLE, re.DOTALL)[1])
PUBLISHED_SHORT = {row[0].strip("`"): row[1] for row in table(EXAMPLE, "figure of the output where power is short")}
PRICES: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", EXAMPLE, re.DOTALL)[2])
PUBLISHED_WITH_PRICE = {row[0].strip("`"): row[1] for row in table(EXAMPLE, "figure of the output with a price")}
PUBLISHED = {row[0].strip("`"): row[1] for row in table(EXAMPLE, "figure of the published option")}


@pytest.fixture(scope="module")
def output() -> DecisionOutput:
    return output_on(None)


@pytest.fixture(scope="module")
def output_short_of_power() -> DecisionOutput:
    return output_on(SHORT_OF_POWER)


def output_on(capacity: dict[str, Any] | None) -> DecisionOutput:
    start = f"2026-11-22T{HALF_HOURS[0][0]}:00Z"
    context = DecisionContext.model_validate(
        {
            "context_id": "example",
            "as_of": INPUT["as_of"],
            "task": INPUT["task"],
            "national": {"forecast": {"start": start, "wholesale_price_gbp_mwh": PRICE, "grid_stress_score": STRESS}},
            "regional": [{"region_id": 13, "forecast": {"start": start, "carbon_intensity_gco2_per_kwh": CARBON}}],
            "data_centres": [INPUT["data_centre"]],
            "capacity": capacity,
        }
    )
    decision = decide(context, carbon_price_gbp_per_t=INPUT["carbon_price_gbp_per_t"], policy=Policy(INPUT["policy"]))
    return build_output(decision, generated_at=GENERATED_AT)


def figure(output: DecisionOutput, path: str) -> Any:
    document = json.loads(output.model_dump_json())
    found: Any = document if path.startswith("decision.") else document["data_centre_options"][0]
    for name in path.split("."):
        found = found[int(name) if name.isdigit() else name]
    return found


def decimals(text: str) -> int:
    return len(text.partition(".")[2])


@pytest.mark.parametrize("path", PUBLISHED)
def test_the_scorer_publishes_the_documents_figures(output: DecisionOutput, path: str) -> None:
    agree(PUBLISHED[path], figure(output, path))


@pytest.mark.parametrize("path", PUBLISHED_SHORT)
def test_the_scorer_publishes_the_documents_figures_where_power_is_short(
    output_short_of_power: DecisionOutput, path: str
) -> None:
    agree(PUBLISHED_SHORT[path], figure(output_short_of_power, path))


@pytest.mark.parametrize("path", PUBLISHED_WITH_PRICE)
def test_the_scorer_publishes_the_documents_figures_with_a_price_of_the_place(path: str) -> None:
    whole = {"start": PRICES["start"], "half_hours": 14, "free_it_kw": {"DC-001": [[0, 7500]]}, "prices": PRICES}
    agree(PUBLISHED_WITH_PRICE[path], figure(output_on(whole), path))


def test_arithmetic_gives_the_documents_prices_of_places() -> None:
    steps = PRICES["gbp_per_kw"]["DC-001"]
    gbp_per_kw = [next(gbp for begins, gbp in reversed(steps) if begins <= slot) for slot in range(len(HALF_HOURS))]
    for start_min in (180, 210):
        energy_kwh, _ = by_hand(start_min)
        displaced = 7.68 * sum(gbp for gbp, kwh in zip(gbp_per_kw, energy_kwh, strict=True) if kwh)
        assert f"= £{displaced:.6f}" in EXAMPLE


def test_arithmetic_gives_the_start_that_is_left_where_power_is_short() -> None:
    """Of the document's starts that break nothing else, the one that does not touch the half-hour promised away."""
    steps = SHORT_OF_POWER["free_it_kw"]["DC-001"]
    free_kw = [next(kw for begins, kw in reversed(steps) if begins <= slot) for slot in range(len(HALF_HOURS))]
    left = []
    for clock, *_, objective_gbp in table(EXAMPLE, "start"):
        energy_kwh, _ = by_hand(minutes_after_eight(clock))
        if all(free >= 7.68 for kwh, free in zip(energy_kwh, free_kw, strict=True) if kwh):
            left.append((clock, objective_gbp))
    assert left == [("11:30", PUBLISHED_SHORT["decision.objective_gbp"])]
    dearer = sum(parts_by_hand(210)) - sum(parts_by_hand(180))
    assert f"{dearer:.6f}" == PUBLISHED_SHORT["decision.binding_constraint.saving_gbp"]
    assert f"2.191403 − 2.181475 = £{dearer:.6f}" in EXAMPLE


def agree(stated: str, found: Any) -> None:
    if isinstance(found, str):
        assert found == stated
    else:
        assert round(found, decimals(stated)) == float(stated)


def by_hand(start_min: int, minutes: int = 150) -> tuple[list[float], float]:
    """Energy by half-hour and hours of delay of a run, from minutes after 08:00 and nothing else."""
    site_kw = (8 * 0.7 * 0.8 + 8 * 0.4) * INPUT["data_centre"]["pue"]
    energy_kwh = []
    for half_hour in range(len(HALF_HOURS)):
        opens = 30 * half_hour
        inside = max(0, min(start_min + minutes, opens + 30) - max(start_min, opens))
        energy_kwh.append(site_kw * inside / 60)
    return energy_kwh, (start_min - 10) / 60


def parts_by_hand(start_min: int) -> list[float]:
    energy_kwh, delay_h = by_hand(start_min)
    return [
        sum(kwh * price / 1000 for kwh, price in zip(energy_kwh, PRICE, strict=True)),
        sum(kwh * grams / 1e6 * 100 for kwh, grams in zip(energy_kwh, CARBON, strict=True)),
        sum(kwh * 50 * stress**2 / 1000 for kwh, stress in zip(energy_kwh, STRESS, strict=True)),
        delay_h * 0.05,
    ]


def minutes_after_eight(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes) - 8 * 60


def test_arithmetic_gives_the_documents_table_of_starts() -> None:
    rows = table(EXAMPLE, "start")
    for start, *stated in rows:
        parts = parts_by_hand(minutes_after_eight(start))
        assert [f"{part:.6f}" for part in (*parts, sum(parts))] == stated
    assert min(rows, key=lambda row: float(row[5]))[0] == "11:00"


def test_arithmetic_gives_the_starts_that_break_nothing() -> None:
    """Of all starts that the window and the deadline allow, the table holds those under the cap and the price."""
    feasible = []
    for start_min in (10, *range(30, 251, 30)):
        energy_kwh, _ = by_hand(start_min)
        if 30 * len(HALF_HOURS) < start_min + 150:
            continue
        peak = max(grams for kwh, grams in zip(energy_kwh, CARBON, strict=True) if kwh)
        if peak <= INPUT["task"]["carbon_cap_gco2"] and parts_by_hand(start_min)[0] <= INPUT["task"]["max_price_gbp"]:
            feasible.append(start_min)
    assert feasible == [minutes_after_eight(row[0]) for row in table(EXAMPLE, "start")]


def test_arithmetic_gives_the_documents_run_now() -> None:
    energy_kwh, _ = by_hand(10)
    cost = sum(kwh * price / 1000 for kwh, price in zip(energy_kwh, PRICE, strict=True))
    carbon = sum(kwh * grams for kwh, grams in zip(energy_kwh, CARBON, strict=True))
    assert cost == pytest.approx(float(PUBLISHED["estimates.run_now.cost_gbp"]))
    assert carbon == pytest.approx(float(PUBLISHED["estimates.run_now.carbon_gco2"]))
    assert sum(energy_kwh) == pytest.approx(float(PUBLISHED["estimates.energy_kwh"]))


def test_arithmetic_gives_the_documents_score() -> None:
    good, bad = 19.2 * 1.1 * 0.02, 19.2 * 1.6 * (0.15 + 0.04 + 0.05)
    x = (sum(parts_by_hand(180)) - good) / (bad - good)
    u = 4 / 3 * (2 * x - 1)
    score = 50 * (1 - u / sqrt(1 + u * u))
    assert f"x = (2.181475 − 0.4224) / 6.9504 = {x:.6f}; u = −{-u:.6f}; score = {score:.3f}." in EXAMPLE
    assert f"{score:.3f}" == PUBLISHED["suitability_score"]


def test_arithmetic_gives_the_documents_switching_carbon_price() -> None:
    eleven, half_past = parts_by_hand(180), parts_by_hand(210)
    grams_less = (eleven[1] - half_past[1]) / 100 * 1e6
    dearer = sum(half_past) - half_past[1] - sum(eleven) + eleven[1]
    price = dearer / (grams_less / 1e6)
    sentence = f"emits {grams_less:.1f} g less and its J without carbon is £{dearer:.6f} more:\n£{price:,.2f}/t."
    assert sentence in EXAMPLE
    assert f"{price:.2f}" == PUBLISHED["decision.carbon_price_switches.above.carbon_price_gbp_per_t"]


def test_the_documents_constants_are_the_codes() -> None:
    assert [number(row[1]) for row in table(PAGE, "constant")] == [
        hardware.GPU_TDP_KW,
        hardware.GPU_UTILISATION,
        hardware.GPU_HOST_KW,
        hardware.CPU_CORE_KW,
        hardware.MEMORY_GB_KW,
    ]
    for name, gpus, duration in table(PAGE, "type"):
        unit = timedelta(hours=1) if duration.endswith("h") else timedelta(minutes=1)
        assert energy.PARALLEL_GPUS[WorkloadType(name)] == int(gpus)
        assert energy.USUAL_DURATION[WorkloadType(name)] == number(duration) * unit
    for name, *values in table(PAGE, "reference"):
        site = {"good": suitability.GOOD_SITE, "bad": suitability.BAD_SITE}[name]
        stated = suitability.ReferenceSite(*(float(value) for value in values))
        assert stated == site


def test_the_documents_money_terms_are_the_codes() -> None:
    carbon, stress, delay = (row[1] for row in table(PAGE, "term"))
    assert number(carbon) == objective.DEFAULT_CARBON_PRICE_GBP_PER_T
    assert number(stress) == objective.STRESS_GBP_PER_MWH
    stated = {name: float(price) for name, price in re.findall(r"([A-Z]+) £([\d.]+)/h", delay)}
    assert stated == {urgency: objective.DELAY_GBP_PER_H[urgency] for urgency in Urgency if urgency != "CRITICAL"}
    for name, *weights in table(PAGE, "policy"):
        policy = Policy(re.findall(r"`(\w+)`", name)[0])
        assert objective.POLICY_WEIGHTS[policy] == objective.Weights(*(float(weight) for weight in weights))


def test_the_document_names_every_constraint() -> None:
    names = [row[0].strip("`") for row in table(PAGE, "constraint")]
    assert names == [str(constraint) for constraint in feasibility.Constraint]
    assert f"above stress {feasibility.NO_RUN_STRESS}" in PAGE
