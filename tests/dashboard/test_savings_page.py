"""The page of savings over real HTTP: the figures of its JSON, the unknown, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from api_application import create_app
from dashboard.words import grams, number, pounds
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of
from grid_world import NOW, store_world
from matrix_answers import without_moment
from metered_runs import HOUR, metered_run, run_now
from served import Client, served
from settings import load_settings

SLOT = half_hour_of(NOW)


@pytest.fixture
def later(postgres: PostgresDatabase) -> Iterator[Client]:
    """A day after the runs."""
    store_world(postgres)
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW + timedelta(days=1))) as client:
        yield client


def test_without_a_run_it_says_what_to_do(api: Client) -> None:
    page = api.get("/dashboard/savings")
    assert "No run began in this period" in page.text
    assert 'href="/dashboard/workloads/new"' in page.text
    assert "docs/accounting.md" in page.text
    assert "<tbody>" not in page.text


@pytest.mark.parametrize("by", ["day", "data_centre", "operator", "workload_type"])
def test_the_figures_are_those_of_its_json(later: Client, postgres: PostgresDatabase, by: str) -> None:
    metered_run(postgres, "better", start=SLOT, dc_id="DC-001", run_now=run_now(SLOT, dc_id="DC-002"))
    metered_run(postgres, "worse", start=SLOT + 3 * HOUR, dc_id="DC-001", run_now=run_now(SLOT, dc_id="DC-001"))
    page = later.get(f"/dashboard/savings?by={by}")
    json = f"/api/v1/savings?by={by}"
    assert f'href="/dashboard{json}"' in page.text
    compared = later.get(json).json()["total"]["compared"]
    for shown in (
        grams(compared["realised_saving_gco2"]),
        grams(compared["run_now_carbon_gco2"]),
        pounds(compared["realised_saving_gbp"]),
        f"{number(100 * compared['share_worse_than_run_now'], 1)} <small>% of 2 runs",
    ):
        assert shown in page.text
    assert "Intensities are averages of a region, not marginal" in page.text


def test_what_cannot_be_compared_is_unknown_and_no_zero(later: Client, postgres: PostgresDatabase) -> None:
    metered_run(postgres, "order", start=SLOT, dc_id="DC-003")
    page = later.get("/dashboard/savings?by=data_centre")
    assert "savings are unknown" in page.text
    assert page.text.count('<td class="number unknown">unknown</td>') == 2 * 9
    assert "£0" not in page.text


@pytest.mark.parametrize(
    "asked", ["by=moon", "from=yesterday", "from=2020-01-01T00:00Z", "from=2026-11-22T08:00&to=2026-11-22T07:00"]
)
def test_a_period_that_cannot_be_is_told_and_the_last_week_shown(api: Client, asked: str) -> None:
    page = api.get(f"/dashboard/savings?{asked}")
    assert page.status_code == 200
    assert "This cannot be asked for" in page.text


def test_a_period_as_a_browser_sends_it_is_utc(api: Client) -> None:
    page = api.get("/dashboard/savings?by=day&from=2026-11-20T00:00&to=2026-11-22T00:00")
    assert "This cannot be asked for" not in page.text
    assert 'value="2026-11-20T00:00"' in page.text


def test_a_period_that_was_not_asked_for_is_not_held_fast_by_the_form(postgres: PostgresDatabase) -> None:
    def page_at(moment: datetime) -> str:
        with served(create_app(postgres, load_settings({}), clock=lambda: moment)) as client:
            return without_moment(client.get("/dashboard/savings").text)

    assert page_at(NOW) == page_at(NOW + timedelta(minutes=7))
