"""What runs of a replay hold is never more than there is, whatever they ask for and whenever."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decision_contexts import centre
from decisions.backtest.held_power import HeldPower
from decisions.scoring.context import DataCentre

HALF_HOURS = 6
SITES = [
    DataCentre.model_validate(centre(dc_id, total_capacity_mw=mw, current_load_percentage=0))
    for dc_id, mw in (("DC-1", 0.003), ("DC-2", 0.0005))
]
runs = st.tuples(
    st.integers(0, 2),
    st.integers(0, 1),
    st.integers(0, HALF_HOURS - 1),
    st.integers(1, HALF_HOURS),
    st.sampled_from([0.0, 0.1, 0.3, 1, 2.999999, 4]),
)


@given(asked=st.lists(runs, max_size=12))
def test_no_half_hour_ever_holds_more_than_there_is(asked: list[tuple[int, int, int, int, float]]) -> None:
    held = HeldPower(SITES, HALF_HOURS)
    taken = np.zeros((2, 100))
    first = 0
    for passed, site, begin, length, kw in asked:
        first += passed
        held.move_to(first)
        covered = slice(begin, min(begin + length, HALF_HOURS))
        free_kw = held.free_kw
        if held.take(site, covered, kw):
            taken[site, first + begin : first + covered.stop] += kw
        else:
            assert (free_kw[site, covered] < kw).any()
            assert (held.free_kw == free_kw).all()
        left_kw = np.array([[3.0], [0.5]]) - taken[:, first : first + HALF_HOURS]
        assert (held.free_kw >= 0).all()
        np.testing.assert_allclose(held.free_kw, left_kw, atol=1e-9)
