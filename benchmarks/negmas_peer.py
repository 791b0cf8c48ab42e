"""Our negotiation beside the strategies of NegMAS on one exchange: what is traded and gained, in how many rounds?

    make bench-negmas

A buys up to 0.5 MW of B's first half-hour; a MWh is worth £40 to A and costs B £20, so the best is 0.5 MW for a gain
of £5. NegMAS is AGPL and runs in an environment of its own (.venv-negmas), which nothing else uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from machine import machine

from negotiation.agents import HOURS, ComputeAgent, InterruptibleJob
from negotiation.rounds import negotiate

VALUE, COST, MOST_MW, STEPS = 40.0, 20.0, 0.5, 100
PAIRS = (
    ("BoulwareTBNegotiator", "BoulwareTBNegotiator"),
    ("ConcederTBNegotiator", "BoulwareTBNegotiator"),
    ("LinearTBNegotiator", "LinearTBNegotiator"),
    ("MiCRONegotiator", "MiCRONegotiator"),
    ("HybridNegotiator", "HybridNegotiator"),
)


def ours() -> str:
    """A has no share of the first half-hour and B 0.5 MW of it; each would move 0.5 MW of work to the second."""
    work = [InterruptibleJob("job", HOURS * MOST_MW, MOST_MW, 0, 2)]
    a = ComputeAgent("A", np.array([0.0, MOST_MW]), np.array([50.0, 50 + VALUE]), work)
    b = ComputeAgent("B", np.array([MOST_MW, MOST_MW]), np.array([50.0, 50 + COST]), work)
    found = negotiate([a, b])
    bought = found.awards[0].draw_mw[0]
    gain = sum(award.fallback_gbp - award.net_gbp for award in found.awards)
    price = found.price_gbp_per_mwh[0]
    return f"| Pylon DEG | {bought:.1f} | {price:.0f} | {gain:.2f} | {len(found.rounds)} |"


def theirs(buyer: str, seller: str) -> str:
    negmas: Any = import_module("negmas")
    strategies: Any = import_module("negmas.sao.negotiators")
    issues = [
        negmas.make_issue([round(0.1 * step, 1) for step in range(6)], "mw"),
        negmas.make_issue(list(range(0, 61, 2)), "price"),
    ]
    space = negmas.make_os(issues)

    def worth(gain: Any) -> Any:
        values = {outcome: gain(*outcome) for outcome in space.enumerate_or_sample()}
        return negmas.MappingUtilityFunction(values, outcome_space=space, reserved_value=0.0)

    mechanism = negmas.SAOMechanism(outcome_space=space, n_steps=STEPS)
    mechanism.add(getattr(strategies, buyer)(name="A"), ufun=worth(lambda mw, price: HOURS * mw * (VALUE - price)))
    mechanism.add(getattr(strategies, seller)(name="B"), ufun=worth(lambda mw, price: HOURS * mw * (price - COST)))
    state = mechanism.run()
    name = f"{buyer.removesuffix('Negotiator')} / {seller.removesuffix('Negotiator')}"
    if state.agreement is None:
        return f"| {name} | 0 | – | 0 | {state.step} |"
    mw, price = state.agreement
    return f"| {name} | {mw} | {price} | {HOURS * mw * (VALUE - COST):.2f} | {state.step} |"


def main() -> None:
    print(machine())
    print("| who | MW | £/MWh | gain, £ | rounds |\n|---|---|---|---|---|")
    print(ours())
    for pair in PAIRS:
        print(theirs(*pair))


if __name__ == "__main__":
    main()
