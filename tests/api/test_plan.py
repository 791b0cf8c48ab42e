"""What-if decisions and joint plans over a real database and real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from api.plan import plan_endpoints
from api.what_if import ConcurrencyLimit
from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.interface import Database, OrderBy, Row
from database.postgres import PostgresDatabase
from decisions.publishing.output import build_output
from decisions.publishing.schema import DecisionOutput
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from grid.half_hours import rfc3339
from grid_world import (
    NOW,
    REGIONS,
    carbon_intensity_gco2_per_kwh,
    data_centre,
    store_data_centres,
    store_grid,
    submit,
    workload,
)
from new_database import new_database
from served import Client, served
from settings import load_settings
from web.application import make_application

HALF_HOUR = timedelta(minutes=30)
FIRST = NOW.replace(minute=0, second=0)
JOB: Row = {"workload_type": "RAG_QUERY", "required_gpu_mins": 60, "urgency": "LOW", "deferral_window_mins": 720}
"""One GPU for an hour: 0.96 kW."""


@pytest.fixture(scope="module")
def planner(postgres_server: EmbeddedPostgres) -> Iterator[Client]:
    """Over three data centres in regions 1 to 3, where region 1 is greenest and now is greener than later."""
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_grid(database, regions=REGIONS[:3])
        store_data_centres(database, [data_centre(number) for number in (1, 2, 3)])
        store_data_centres(database, [data_centre(4, status="OFFLINE")])
        with served(create_app(database, load_settings({}), clock=lambda: NOW)) as client:
            yield client
        database.close()


def is_problem(answer: requests.Response, status: int) -> Row:
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: Row = answer.json()
    return document


def fields(answer: requests.Response) -> list[str]:
    return [error["field"] for error in is_problem(answer, 422)["errors"]]


def planned(client: Client, document: Row = JOB, **parameters: Any) -> Row:
    answer = client.post("/api/v1/plan", document, params=parameters)
    assert answer.status_code == 200, answer.text[:500]
    DecisionOutput.model_validate_json(answer.text)
    found: Row = answer.json()
    return found


def batch(client: Client, *workloads: Row, **parts: Any) -> Row:
    answer = client.post("/api/v1/plan/batch", {"workloads": list(workloads), **parts})
    assert answer.status_code == 200, answer.text[:500]
    found: Row = answer.json()
    return found


def test_a_plan_is_the_full_output_of_a_decision_that_nobody_stores(api_through: Client, database: Database) -> None:
    store_grid(database)
    store_data_centres(database, [data_centre(number) for number in (1, 2)])
    output = planned(api_through, {**JOB, "job_id": "what-about-it"})
    assert output["decision"]["dc_id"] == "DC-001"
    assert output["decision"]["start"] == rfc3339(NOW)
    assert [option["dc_id"] for option in output["data_centre_options"]] == ["DC-001", "DC-002"]
    assert output["data_centre_options"][0]["energy_profile"]["current_carbon_intensity_gco2"] == 10
    assert output["_metadata"]["task_id"] == "what-about-it"
    assert output["_metadata"]["sequence"] is None
    assert database.select("compute_workloads", order=OrderBy(("job_id",))) == []
    assert database.select("orchestration_decisions", order=OrderBy(("decision_id",))) == []


def test_a_plan_says_what_a_stored_workload_is_told(api: Client, postgres: PostgresDatabase) -> None:
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(number) for number in (1, 2, 3)])
    submit(postgres, workload("stored", deadline=NOW + timedelta(hours=9)))
    context = postgres.call("decision_context", {"p_job_id": "stored", "p_now": NOW})
    told = build_output(decide(DecisionContext.model_validate(context)), generated_at=NOW).model_dump(mode="json")
    stated = {"deadline": rfc3339(NOW + timedelta(hours=9))}
    output = planned(api, stated | {key: value for key, value in workload("stored").items() if value is not None})
    for part in ("data_centre_options", "task", "decision"):
        assert output[part] == told[part]


def test_another_moment_is_decided_on_the_forecast_from_there_on(planner: Client) -> None:
    at = FIRST + 10 * HALF_HOUR + timedelta(minutes=10)
    output = planned(planner, at=rfc3339(at))
    assert output["decision"]["start"] == rfc3339(at)
    option = output["data_centre_options"][0]
    assert option["energy_profile"]["current_carbon_intensity_gco2"] == carbon_intensity_gco2_per_kwh(1, 10)
    assert option["energy_profile"]["regional_carbon_index"] == "very low"
    assert option["energy_profile"]["wholesale_price_gbp_mwh"] == 80
    assert option["energy_profile"]["generation_mix"]["wind_pct"] is None
    run = option["estimates"]["run_now"]
    first, second, third = (carbon_intensity_gco2_per_kwh(1, ahead) for ahead in (10, 11, 12))
    assert run["carbon_gco2"] == pytest.approx(0.96 * 1.2 * (first / 3 + second / 2 + third / 6))


def test_a_later_moment_in_the_running_half_hour_keeps_its_signals(planner: Client) -> None:
    output = planned(planner, at=rfc3339(NOW + timedelta(minutes=5)))
    assert output["data_centre_options"][0]["energy_profile"]["generation_mix"]["wind_pct"] == 40


@pytest.mark.parametrize("at", [FIRST - timedelta(seconds=1), FIRST + 96 * HALF_HOUR, FIRST + timedelta(days=400)])
def test_a_moment_outside_the_forecast_is_refused_by_name(planner: Client, at: Any) -> None:
    answer = planner.post("/api/v1/plan", JOB, params={"at": rfc3339(at)})
    assert fields(answer) == ["at"]
    assert "2026-11-24T08:00:00Z" in answer.json()["detail"]
    body = {"workloads": [JOB], "at": rfc3339(at)}
    assert fields(planner.post("/api/v1/plan/batch", body)) == ["at"]


def test_the_last_half_hour_of_the_forecast_can_still_be_asked_for(planner: Client) -> None:
    output = planned(planner, {"workload_type": "RAG_QUERY"}, at=rfc3339(FIRST + 95.5 * HALF_HOUR))
    assert output["decision"]["dc_id"] == "DC-001"


def test_without_any_forecast_nothing_is_placed_and_the_reasons_are_given(api: Client) -> None:
    output = planned(api)
    assert output["data_centre_options"] == []
    assert output["decision"]["waiting"]["status"] == "PENDING"
    assert fields(api.post("/api/v1/plan", JOB, params={"at": rfc3339(NOW + HALF_HOUR)})) == ["at"]


def test_the_policy_is_the_one_asked_for(planner: Client) -> None:
    by_carbon = planned(planner, policy="carbon")
    assert by_carbon["_metadata"]["policy"] == "carbon"
    breakdown = by_carbon["data_centre_options"][0]["score_breakdown"]
    assert breakdown["energy_gbp"] == breakdown["delay_gbp"] == 0


@pytest.mark.parametrize(
    ("document", "parameters", "named"),
    [
        ({**JOB, "deadline": rfc3339(NOW)}, {}, "deadline"),
        ({**JOB, "deadline": rfc3339(NOW + HALF_HOUR)}, {"at": rfc3339(NOW + HALF_HOUR)}, "deadline"),
        ({**JOB, "host_dc_id": "DC-9"}, {}, "host_dc_id"),
        ({**JOB, "host_dc_id": "DC-004"}, {}, "host_dc_id"),
        ({**JOB, "urgency": "SOON"}, {}, "urgency"),
        ({**JOB, "interruptible": True}, {}, "interruptible"),
        (JOB, {"policy": "fast"}, "policy"),
        (JOB, {"at": "tomorrow"}, "at"),
        (JOB, {"at": "2026-11-22T09:00:00"}, "at"),
        (JOB, {"when": "now"}, "when"),
    ],
)
def test_what_is_wrong_with_a_plan_is_named(planner: Client, document: Row, parameters: Row, named: str) -> None:
    assert fields(planner.post("/api/v1/plan", document, params=parameters)) == [named]


def test_a_joint_plan_answers_each_workload_in_turn_with_proof_and_baselines(planner: Client) -> None:
    jobs = [{**JOB, "job_id": f"job-{number}", "interruptible": number == 1} for number in range(3)]
    plan = batch(planner, *jobs, policy="balanced", time_limit_s=5)
    assert [job["job_id"] for job in plan["jobs"]] == ["job-0", "job-1", "job-2"]
    assert [job["interruptible"] for job in plan["jobs"]] == [False, True, False]
    assert {job["status"] for job in plan["jobs"]} == {"placed"}
    assert plan["method"] == "each_alone"
    assert (plan["gap"], plan["gap_gbp"], plan["left_out_weight"], plan["cut_short"]) == (0, 0, 0, False)
    for part in ("carbon_gco2", "cost_gbp", "energy_kwh", "objective_gbp"):
        assert plan["totals"][part] == pytest.approx(sum(job[part] for job in plan["jobs"]))
    for job in plan["jobs"]:
        assert sum(job["score_breakdown"].values()) == pytest.approx(job["objective_gbp"])
    assert plan["bound_gbp"] == plan["totals"]["objective_gbp"]
    home, greenest = plan["run_now_at_home"], plan["run_now_at_greenest"]
    assert home["without_plan"]["workloads"] == greenest["without_plan"]["workloads"] == 3
    assert greenest["without_plan"]["carbon_gco2"] <= home["without_plan"]["carbon_gco2"]
    assert [site["dc_id"] for site in plan["capacity"]] == ["DC-001", "DC-002", "DC-003"]
    assert plan["capacity"][0]["free_kw"] == 10_000
    assert len(plan["capacity"][0]["used_kw"]) == len(plan["capacity"][0]["price_gbp_per_kw"]) == 96
    assert plan["half_hours_from"] == rfc3339(FIRST)


def test_plans_see_the_power_that_is_promised_to_others(postgres_server: EmbeddedPostgres) -> None:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_grid(database, regions=REGIONS[:1])
        store_data_centres(database, [data_centre(1)])
        submit(database, workload("other"))
        promised = {
            "p_dc_id": "DC-001",
            "p_tenant": "local",
            "p_job_id": "other",
            "p_source": "decision",
            "p_starts_at": FIRST,
            "p_ends_at": FIRST + 2 * HALF_HOUR,
            "p_it_power_kw": 10_000,
            "p_carried_out_by": "simulation",
        }
        assert database.call("take_power", promised) is not None
        database.insert("pipeline_runs", [{"slot": FIRST, "state": "succeeded", "work_state": "completed"}])
        prices = {
            "slot": FIRST,
            "planned_at": NOW,
            "newest_event": 0,
            "starts_at": FIRST,
            "half_hours": 96,
            "workloads": 5,
            "left_out": 0,
            "method": "exact",
            "gbp_per_kw": {"DC-001": [[0, 0], [2, 0.25]]},
        }
        assert database.call("store_capacity_prices", {"p_prices": prices}) == {"state": "stored"}
        with served(create_app(database, load_settings({}), clock=lambda: NOW)) as client:
            alone = planned(client)
            (together,) = batch(client, JOB)["jobs"]
            critical = planned(client, {**JOB, "urgency": "CRITICAL"})
            (site,) = batch(client, JOB)["capacity"]
            # By the clock no time has passed.
            submit(database, workload("next"))
            next_hour = {"p_starts_at": FIRST + 2 * HALF_HOUR, "p_ends_at": FIRST + 4 * HALF_HOUR}
            assert database.call("take_power", {**promised, **next_hour, "p_job_id": "next"}) is not None
            after = planned(client)
        database.close()
    assert after["decision"]["start"] == rfc3339(FIRST + 4 * HALF_HOUR)
    room_from = rfc3339(FIRST + 2 * HALF_HOUR)
    assert alone["data_centre_options"][0]["displaced_gbp"] == together["displaced_gbp"] > 0
    assert alone["decision"]["capacity_prices"]["workloads"] == 5
    assert alone["decision"]["start"] == together["start"] == room_from
    assert alone["data_centre_options"][0]["compute_profile"]["free_it_power_kw"] == 10_000
    (violation,) = critical["data_centre_options"][0]["constraint_violations"]
    assert (violation["constraint"], violation["room_from"]) == ("free_capacity", room_from)
    assert critical["data_centre_options"][0]["compute_profile"]["free_it_power_kw"] == 0
    assert site["free_by_half_hour_kw"][:4] == [0, 0, 10_000, 10_000]
    assert site["free_kw"] == 0


def test_a_joint_plan_agrees_with_the_plan_for_one(planner: Client) -> None:
    (job,) = batch(planner, JOB)["jobs"]
    decision = planned(planner)["decision"]
    assert (job["dc_id"], job["start"], job["end"]) == (decision["dc_id"], decision["start"], decision["end"])
    assert job["objective_gbp"] == pytest.approx(decision["objective_gbp"])


def test_workloads_that_do_not_fit_together_are_spread_or_left_out_with_the_reason(planner: Client) -> None:
    # Each takes more than half of a data centre's ten free megawatts from now on.
    large = {"workload_type": "RAG_QUERY", "required_gpu_mins": 60, "estimated_energy_kwh": 6000}
    plan = batch(planner, *[large] * 4, {**JOB, "carbon_cap_gco2": 1})
    placed = [job for job in plan["jobs"] if job["status"] == "placed"]
    assert sorted(job["dc_id"] for job in placed) == ["DC-001", "DC-002", "DC-003"]
    assert plan["method"] == "exact"
    assert plan["left_out_weight"] == plan["least_left_out_weight"] == 2
    crowded_out, capped = (job for job in plan["jobs"] if job["status"] == "left_out")
    assert crowded_out["for_capacity"]
    assert [violation["constraint"] for violation in crowded_out["violations"]] == ["free_capacity"]
    assert not capped["for_capacity"]
    assert [violation["constraint"] for violation in capped["violations"]] == ["carbon_cap"]


def test_workloads_without_a_job_id_get_one_that_nobody_else_has(planner: Client) -> None:
    plan = batch(planner, JOB, {**JOB, "job_id": "job-1"}, JOB)
    assert [job["job_id"] for job in plan["jobs"]] == ["job-1-", "job-1", "job-3"]


def test_a_joint_plan_can_be_made_for_another_moment(planner: Client) -> None:
    at = rfc3339(FIRST + 20 * HALF_HOUR)
    plan = batch(planner, JOB, at=at)
    assert plan["as_of"] == plan["half_hours_from"] == plan["jobs"][0]["start"] == at


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"workloads": []}, "workloads"),
        ({"workloads": [JOB] * 501}, "workloads"),
        ({"workloads": [JOB], "time_limit_s": 0}, "time_limit_s"),
        ({"workloads": [JOB], "time_limit_s": 31}, "time_limit_s"),
        ({"workloads": [JOB], "time_limit_s": "5"}, "time_limit_s"),
        ({"workloads": [JOB], "policy": "fast"}, "policy"),
        ({"workloads": [JOB, {**JOB, "interruptible": "yes"}]}, "workloads.1.interruptible"),
        ({"workloads": [JOB, {**JOB, "deadline": rfc3339(NOW)}]}, "workloads.1.deadline"),
        ({"workloads": [JOB, {**JOB, "host_dc_id": "DC-9"}]}, "workloads.1.host_dc_id"),
        ({"workloads": [{**JOB, "job_id": "a"}, JOB, {**JOB, "job_id": "a"}]}, "workloads.2.job_id"),
        ({"workloads": [JOB], "until": 1}, "until"),
    ],
)
def test_what_is_wrong_with_a_joint_plan_is_named(planner: Client, body: Row, named: str) -> None:
    assert fields(planner.post("/api/v1/plan/batch", body)) == [named]


def test_no_more_joint_plans_are_worked_out_at_once_than_there_are_turns(postgres: PostgresDatabase) -> None:
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(1)])
    turns = ConcurrencyLimit(at_once=1, patience_s=0.01)
    app = make_application("Plans", "", "0")
    app.register_api(plan_endpoints(postgres, lambda: NOW, lambda: 0.0, turns, 100.0))
    with served(app) as client:
        with turns.take():
            busy = client.post("/api/v1/plan/batch", {"workloads": [JOB]})
            assert is_problem(busy, 503)["detail"].startswith("joint plans")
            assert int(busy.headers["Retry-After"]) > 0
            # Single plans need no turn.
            assert client.post("/api/v1/plan", JOB).status_code == 200
        assert client.post("/api/v1/plan/batch", {"workloads": [JOB]}).status_code == 200
