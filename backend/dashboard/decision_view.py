"""A published decision as a table: every data centre that was considered, the one that was chosen, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup
from pydantic import ValidationError

from dashboard.words import from_now, pounds, short_name, told, utc_words
from decisions.publishing.schema import DataCentreOption, DecisionOutput, RunFigures, ScoreBreakdown

PARTS = (
    ("energy", "energy_gbp", "part-energy"),
    ("carbon", "carbon_gbp", "part-carbon"),
    ("grid stress", "grid_stress_gbp", "part-stress"),
    ("delay", "delay_gbp", "part-delay"),
)
"""The parts of J: words, field, CSS class."""


@dataclass(frozen=True)
class OptionRow:
    """One data centre of the table.

    Attributes:
        why_not: what stands in its way, or by how much it is worse; empty for the one that was chosen.
        bar: J's parts, as long as they are beside the other options'.
    """

    option: DataCentreOption
    is_chosen: bool
    start: datetime | None
    run_now: RunFigures | None
    recommended: RunFigures | None
    why_not: tuple[str, ...]
    bar: Markup


@dataclass(frozen=True)
class DecisionView:
    """A decision as pages show it."""

    output: DecisionOutput
    rows: tuple[OptionRow, ...]
    would_change: tuple[str, ...]

    @property
    def chosen(self) -> OptionRow | None:
        return next((row for row in self.rows if row.is_chosen), None)


def readable_output(output: object) -> DecisionOutput | None:
    """A published output; None where there is none, or of one that an earlier scorer wrote in another shape."""
    try:
        return None if output is None else DecisionOutput.model_validate(output)
    except ValidationError:
        return None


def decision_view(output: DecisionOutput, now: datetime) -> DecisionView:
    """The table of a published output, and what would change its answer."""
    chosen = output.decision.dc_id
    options = sorted(output.data_centre_options, key=lambda option: option.dc_id != chosen)
    objective = next((option.objective_gbp for option in options if option.dc_id == chosen), None)
    longest = max((_length(option.score_breakdown) for option in options), default=0.0)
    rows = tuple(
        OptionRow(
            option=option,
            is_chosen=option.dc_id == chosen,
            start=option.estimates.recommended_start,
            run_now=option.estimates.run_now,
            recommended=option.estimates.recommended,
            why_not=() if option.dc_id == chosen else _why_not(option, objective),
            bar=parts_bar(option.score_breakdown, longest),
        )
        for option in options
    )
    return DecisionView(output, rows, tuple(_would_change(output, now)))


def parts_bar(parts: ScoreBreakdown | None, longest_gbp: float) -> Markup:
    """J as a bar of its four parts; one below zero takes from the sum, and is told in words alone."""
    if parts is None or longest_gbp <= 0:
        return Markup('<span class="unknown">unknown</span>')
    drawn, at = [], 0.0
    for _, field, css_class in PARTS:
        value = max(0.0, getattr(parts, field))
        width = 100 * value / longest_gbp
        if width > 0:
            drawn.append(
                Markup('<rect class="{}" x="{}%" width="{}%" height="12"/>').format(
                    css_class, round(at, 2), round(width, 2)
                )
            )
        at += width
    sentence = ", ".join(f"{words} {pounds(getattr(parts, field), 4)}" for words, field, _ in PARTS)
    return Markup('<svg class="parts" role="img" aria-label="{}">{}</svg>').format(sentence, Markup("").join(drawn))


def _length(parts: ScoreBreakdown | None) -> float:
    return 0.0 if parts is None else sum(max(0.0, getattr(parts, field)) for _, field, _ in PARTS)


def _why_not(option: DataCentreOption, chosen_objective_gbp: float | None) -> tuple[str, ...]:
    broken = [told(violation.message) for violation in option.constraint_violations]
    if broken:
        return tuple(broken)
    if option.objective_gbp is None:
        return ("no run of it is within the forecast",)
    if chosen_objective_gbp is None:
        return (option.rationale,)
    margin = option.objective_gbp - chosen_objective_gbp
    return (f"{pounds(margin)} more, all told",) if margin > 0 else ("is as good, and comes second",)


def _would_change(output: DecisionOutput, now: datetime) -> list[str]:
    """What would make another place or start the answer, in sentences."""
    decision = output.decision
    names = {option.dc_id: f"{short_name(option.name)} ({option.dc_id})" for option in output.data_centre_options}
    found = []
    if decision.runner_up is not None:
        runner_up = decision.runner_up
        found.append(
            f"Next best is {names.get(runner_up.dc_id, runner_up.dc_id)} at {utc_words(runner_up.start)}, "
            f"{pounds(runner_up.margin_gbp)} more all told."
        )
    if decision.binding_constraint is not None:
        binding = decision.binding_constraint
        broken = "; ".join(told(violation.message) for violation in binding.violations) or "a constraint"
        found.append(
            f"But for one constraint it would run at {names.get(binding.dc_id, binding.dc_id)} from "
            f"{utc_words(binding.start)} and save {pounds(binding.saving_gbp)}: {broken}."
        )
    if decision.carbon_price_switches is not None:
        for words, switch in (
            ("above", decision.carbon_price_switches.above),
            ("below", decision.carbon_price_switches.below),
        ):
            if switch is not None:
                found.append(
                    f"At a carbon price {words} {pounds(switch.carbon_price_gbp_per_t, 0)} a tonne it would be "
                    f"{names.get(switch.dc_id, switch.dc_id)} at {utc_words(switch.start)}."
                )
    if decision.latest_start is not None:
        found.append(
            f"It may start as late as {utc_words(decision.latest_start)} ({from_now(decision.latest_start, now)})."
        )
    return found
