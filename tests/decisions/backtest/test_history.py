"""Stored half-hours are read back through each door."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from database.interface import Database, Where
from decisions.backtest.history import cut, history_of, read_history
from grid_world import NOW, carbon_intensity_gco2_per_kwh, data_centre, store_data_centres, store_grid

HALF_HOUR = timedelta(minutes=30)
FIRST = NOW.replace(minute=0, second=0)


def test_what_was_stored_is_read_by_half_hour_with_unknowns_in_their_place(database: Database) -> None:
    store_grid(database)
    store_data_centres(database, [data_centre(2), data_centre(5), data_centre(7, status="OFFLINE")])
    first = Where("timestamp", FIRST)
    database.update("grid_signals", {"carbon_intensity_actual": 140}, where=[first])
    stored = read_history(database, NOW - HALF_HOUR, FIRST + 3 * HALF_HOUR)
    assert stored.start == FIRST - HALF_HOUR
    assert stored.national.wholesale_price_gbp_mwh == (None, 80, 80, 80)
    assert stored.national.grid_stress_score == (None, 0.3, 0.3, 0.3)
    assert stored.national.carbon_intensity_gco2_per_kwh == (None, 150, 150, 150)
    assert stored.national.actual_carbon_intensity_gco2_per_kwh == (None, 140, None, None)
    assert stored.national.price_sources == {"elexon": 3}
    assert [region.region_id for region in stored.regional] == [2, 5]
    history = history_of(stored)
    assert history.position(FIRST + HALF_HOUR) == 2
    row = history.carbon_intensity_gco2_per_kwh[history.rows[5]]
    assert np.isnan(row[0])
    assert row[1:].tolist() == [carbon_intensity_gco2_per_kwh(5, ahead) for ahead in range(3)]


def test_a_history_ends_before_its_end(database: Database) -> None:
    store_grid(database)
    assert len(read_history(database, FIRST, FIRST + HALF_HOUR).national.wholesale_price_gbp_mwh) == 1
    nothing = read_history(database, FIRST, FIRST)
    assert nothing.national.wholesale_price_gbp_mwh == ()
    assert nothing.regional == ()
    assert history_of(nothing).half_hours == 0


def test_a_piece_of_a_series_is_unknown_beyond_its_ends() -> None:
    series = np.array([[1.0, 2.0, 3.0]])
    assert cut(series, 1, 2).tolist() == [[2.0, 3.0]]
    before = cut(series, -2, 3)[0]
    assert np.isnan(before[:2]).all()
    assert before[2] == 1
    after = cut(series, 2, 3)[0]
    assert after[0] == 3
    assert np.isnan(after[1:]).all()
    assert np.isnan(cut(series, 7, 2)).all()
    assert np.isnan(cut(series, -7, 2)).all()
