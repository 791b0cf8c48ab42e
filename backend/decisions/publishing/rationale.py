"""Plain sentences about a decision, made from its figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from decisions.scoring.assessment import Assessment, RunEstimate
from decisions.scoring.freshness import SignalState
from grid.provenance import in_a_row
from vocabulary import SignalSource


def option_rationale(option: Assessment) -> str:
    """One sentence: what the option costs and emits and against what, or why it is impossible."""
    run, now = option.recommended, option.run_now
    if run is None:
        reasons = "; ".join(violation.message for violation in option.violations)
        return f"Not possible: {reasons}."
    if now and run.start == now.start:
        return f"Start now for {figures(run)}{_average(run)}."
    later = f"Start at {clock(run.start)} for {figures(run)}{_average(run)}"
    return (
        f"{later}, against {figures(now)} if started here now."
        if now
        else f"{later}; what it would cost now is unknown."
    )


def decision_rationale(placed: Sequence[tuple[Assessment, RunEstimate]]) -> str:
    """One sentence: the first of the feasible options, and how far ahead of the second it is."""
    (chosen, run), *others = placed
    when = "now" if chosen.run_now and run.start == chosen.run_now.start else f"at {clock(run.start)}"
    answer = f"{_place(chosen)}, starting {when}"
    if not others:
        return f"{answer}: no other data centre can take it."
    runner_up, other_run = others[0]
    margin_gbp = other_run.objective_gbp - run.objective_gbp
    if margin_gbp < 0:
        return f"{answer}, preferred to {_place(runner_up)} although that is {pounds(-margin_gbp)} better."
    return f"{answer}: {_place(runner_up)}, the next best, is {pounds(margin_gbp)} worse."


def origin_sentence(states: Iterable[SignalState], region_ids: Collection[int]) -> str:
    """What no source gave of the national signals and those of some regions, as a sentence to add; else nothing."""
    invented, modelled = str(SignalSource.SYNTHETIC), str(SignalSource.MODELLED)
    named: dict[str, list[str]] = {invented: [], modelled: []}
    for state in states:
        if state.region_id is None or state.region_id in region_ids:
            if state.sources.get(invented):
                named[invented].append(state.origin.title)
            elif state.origin.remarks:
                named[modelled].append(state.origin.title)
    parts = [
        f"{adjective} figures for the {in_a_row(titles)}"
        for adjective, titles in (("invented (synthetic)", named[invented]), ("modelled", named[modelled]))
        if titles
    ]
    return f" This rests on {in_a_row(parts)}." if parts else ""


def figures(run: RunEstimate) -> str:
    return f"{pounds(run.cost_gbp)} and {mass(run.carbon_gco2)} of CO2"


def pounds(amount_gbp: float) -> str:
    """£12.34, or more decimals below a penny."""
    sign, size = ("-" if amount_gbp < 0 else ""), abs(amount_gbp)
    if size == 0 or size >= 0.01:
        return f"{sign}£{size:,.2f}"
    # At most six decimals: a millionth of a pound is as good as nothing.
    return f"{sign}£{size:.6f}".rstrip("0").rstrip(".")


def mass(grams: float) -> str:
    if grams < 1_000:
        return f"{grams:.3g} g"
    return f"{grams / 1_000:.3g} kg" if grams < 1_000_000 else f"{grams / 1_000_000:,.3f} t"


def clock(moment: datetime) -> str:
    return f"{moment.hour:02}:{moment.minute:02} UTC on {moment.date()}"


def _average(run: RunEstimate) -> str:
    if not run.energy_kwh:
        return ""
    return f" ({run.energy_kwh:.3g} kWh at {run.carbon_gco2 / run.energy_kwh:.0f} gCO2/kWh)"


def _place(option: Assessment) -> str:
    return f"{option.centre.name} ({option.centre.location_region})"
