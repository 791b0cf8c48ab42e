"""The grid kept in a process: read anew whenever the database has others, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg

from booked_work import book
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from decisions.scoring.context import DecisionContext, Task
from decisions.work.present_grid import PresentGrid
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW, store_grid, store_world, workload

SLOT = half_hour_of(NOW)


class Watched:
    """A database that notes what each call for the present grid was answered with."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads: list[bool] = []
        """Of each call, whether anything was read."""

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        answer = self._database.call(function, arguments, repeatable=repeatable)
        self.reads.append(answer["present"] is not None)
        return answer


def context_of(grid: PresentGrid, now: Any = NOW) -> DecisionContext:
    return grid.context(Task.model_validate(workload("what-if")), "context", now)


def free_kw(grid: PresentGrid, now: Any = NOW) -> float:
    """What DC-001 has in the present half-hour."""
    capacity = context_of(grid, now).capacity
    assert capacity is not None
    return float(capacity.free_it_kw["DC-001"][0][1])


def test_what_has_not_changed_is_not_read_again(database: Database) -> None:
    store_world(database)
    watched = Watched(database)
    grid = PresentGrid(watched)
    later = NOW + timedelta(seconds=7)
    first, second = context_of(grid), context_of(grid, later)
    assert watched.reads == [True, False]
    assert (first.as_of, second.as_of) == (NOW, later)
    assert second == first.model_copy(update={"as_of": later})
    assert PresentGrid(database).document(later) == grid.document(later)


def test_what_is_written_about_other_things_leaves_the_free_power_the_very_same(database: Database) -> None:
    store_world(database)
    watched = Watched(database)
    grid = PresentGrid(watched)
    first = context_of(grid)
    database.upsert("write_probe", [{"only_row": True, "written_at": NOW}], conflict=["only_row"])
    second = context_of(grid)
    assert watched.reads == [True, True]
    assert second.capacity is first.capacity


def test_power_that_is_promised_meanwhile_is_gone_at_once(database: Database) -> None:
    store_world(database)
    grid = PresentGrid(database)
    assert free_kw(grid) == 10_000
    book(database, "job", it_power_kw=4000)
    assert free_kw(grid) == 6000
    database.update("capacity_bookings", {"state": "RELEASED"}, where=[Where("job_id", "job")])
    assert free_kw(grid) == 10_000


def test_a_new_figure_of_the_grid_is_seen_at_once(database: Database) -> None:
    store_world(database)
    grid = PresentGrid(database)
    context_of(grid)
    store_grid(database, price_gbp_mwh=33)
    assert context_of(grid) == context_of(PresentGrid(database))
    current = context_of(grid).national.current
    assert current is not None
    assert current.wholesale_price_gbp_mwh == 33


def test_what_is_written_by_a_transaction_that_is_open_is_seen_when_it_ends(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    grid = PresentGrid(postgres)
    with psycopg.connect(postgres.conninfo) as other:
        other.execute("update data_centres set base_load_percentage = 75, current_load_percentage = 75")
        assert free_kw(grid) == 10_000
        assert free_kw(grid) == 10_000
        other.commit()
        assert free_kw(grid) == 5000


def test_another_half_hour_is_read(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    watched = Watched(postgres)
    grid = PresentGrid(watched)
    after = SLOT + HALF_HOUR + timedelta(seconds=1)
    for now in (NOW, after, after, NOW):
        assert context_of(grid, now) == context_of(PresentGrid(postgres), now)
    assert watched.reads == [True, True, False, True]


def test_at_the_very_start_of_a_half_hour_it_is_read(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    watched = Watched(postgres)
    grid = PresentGrid(watched)
    for now in (SLOT, SLOT, NOW, NOW):
        context_of(grid, now)
    assert watched.reads == [True, True, True, False]
