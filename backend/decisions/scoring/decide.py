"""The decision for one workload: where it should run, when, and why. Pure: facts and times are arguments.

docs/scoring.md is the formula with units, sources and an example worked by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from decisions.scoring.assessment import Assessment
from decisions.scoring.context import DataCentre, DecisionContext
from decisions.scoring.energy import ComputeLoad
from decisions.scoring.explanation import BindingConstraint, CarbonPriceSwitches
from decisions.scoring.feasibility import latest_start
from decisions.scoring.freshness import SignalState, signal_states
from decisions.scoring.like_workloads import appraise
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T, Terms
from decisions.scoring.shared import Shared
from decisions.scoring.signals import read_signals
from vocabulary import Policy

# Stored with every decision. Raise it with any change that alters an output; see docs/scoring.md.
SCORER_VERSION = "1.4.0"


@dataclass(frozen=True)
class Decision:
    """Every data centre's option, best first, and the explanation of the first."""

    context: DecisionContext
    policy: Policy
    carbon_price_gbp_per_t: float
    load: ComputeLoad
    options: tuple[Assessment, ...]
    binding: BindingConstraint | None
    carbon_price_switches: CarbonPriceSwitches
    signal_states: tuple[SignalState, ...]
    latest_start: datetime | None
    """The last start the deferral window allows; None without a window."""

    @property
    def chosen(self) -> Assessment | None:
        """The answer: the best feasible option."""
        return self.options[0] if self.options and self.options[0].feasible else None

    @property
    def runner_up(self) -> Assessment | None:
        """The best feasible option at another data centre."""
        return self.options[1] if len(self.options) > 1 and self.options[1].feasible else None


def decide(
    context: DecisionContext,
    *,
    carbon_price_gbp_per_t: float = DEFAULT_CARBON_PRICE_GBP_PER_T,
    policy: Policy = Policy.BALANCED,
    observed_at: datetime | None = None,
) -> Decision:
    """Find the feasible place and start of least J, and assess every data centre.

    Args:
        context: everything the decision is made from.
        carbon_price_gbp_per_t: what a tonne of CO2 counts for, £/tCO2, 0 or more.
        policy: the weights of the parts of J.
        observed_at: when the age of the signals is judged; `as_of` unless the context is for another moment.

    Raises:
        ValueError: the carbon price is negative or not a number.
    """
    terms = Terms.of(policy, carbon_price_gbp_per_t)
    signals = read_signals(context)
    # In the order of dc_id, so that the order in which the data centres arrive changes nothing.
    centres = _IN_ORDER.of((context.data_centres,), None, lambda: _in_order(context.data_centres))
    latest = latest_start(context.task, context.as_of)
    found = appraise(context.task, context.as_of, signals, centres, terms, context.capacity, latest_start=latest)
    return Decision(
        context=context,
        policy=policy,
        carbon_price_gbp_per_t=carbon_price_gbp_per_t,
        load=found.whole.load,
        options=found.options,
        binding=found.binding,
        carbon_price_switches=found.carbon_price_switches,
        signal_states=signal_states(context, signals, observed_at or context.as_of),
        latest_start=latest,
    )


_IN_ORDER = Shared[tuple[DataCentre, ...]]()


def _in_order(centres: Sequence[DataCentre]) -> tuple[DataCentre, ...]:
    return tuple(sorted(centres, key=lambda centre: centre.dc_id))
