"""The server's side of runners: taking, beginning, going on and ending, under one fence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from api_application import create_app
from database.interface import Where
from database.postgres import PostgresDatabase
from execution.silence import Silence
from execution.silent_runs import SilentRuns
from grid.half_hours import half_hour_of, rfc3339
from grid_world import NOW, store_world
from runner_world import DC, book, booking, events, held_kw, readings, register
from served import Client, served
from settings import load_settings

MINUTE = timedelta(minutes=1)
SILENCE = Silence()


@dataclass
class Time:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Runners:
    """An API server, at a time of the test's, and runners that speak to it."""

    client: Client
    conninfo: str
    time: Time
    sessions: dict[str, str] = field(default_factory=dict)

    def register(self, runner_id: str = "runner-1", **more: Any) -> None:
        self.sessions[runner_id] = register(self.client, runner_id, **more)["session"]

    def take(
        self, runner_id: str = "runner-1", holding: list[int] | None = None, **more: Any
    ) -> list[dict[str, Any]]:
        asked = {"session": self.sessions[runner_id], "templates": ["count"], "holding": holding or [], "wait_s": 0}
        answered = self.client.post(f"/api/v1/runners/{runner_id}/take", {**asked, **more})
        assert answered.status_code == 200, answered.text
        runs: list[dict[str, Any]] = answered.json()["runs"]
        return runs

    def say(self, deed: str, run: dict[str, Any], runner_id: str = "runner-1", **more: Any) -> str:
        answered = self.client.post(
            f"/api/v1/runners/{runner_id}/runs/{run['run_id']}/{deed}", {"fence": run["fence"], **more}
        )
        assert answered.status_code == 200, answered.text
        return str(answered.json()["standing"])

    def finish(self, run: dict[str, Any], runner_id: str = "runner-1", **more: Any) -> str:
        return self.say(
            "finish", run, runner_id, **{"ended": "exited", "exit_status": 0, "energy": [self.energy()], **more}
        )

    def energy(self, kwh: float = 0.5, source: str = "power_x_time") -> dict[str, Any]:
        return {"half_hour": rfc3339(half_hour_of(NOW)), "energy_kwh": kwh, "source": source}

    def workload(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/v1/workloads/{job_id}").json()
        return found


@pytest.fixture
def runners(postgres: PostgresDatabase, conninfo: str) -> Iterator[Runners]:
    store_world(postgres)
    time = Time()
    with served(create_app(postgres, load_settings({}), clock=time)) as client:
        yield Runners(client, conninfo, time)


def test_a_due_run_is_taken_begun_and_accounted(runners: Runners) -> None:
    runners.register()
    run_id = book(runners.conninfo, "job-1", NOW, run={"template": "count", "parameters": {"up_to": "5"}})
    (run,) = runners.take()
    assert (run["run_id"], run["job_id"], run["template"]) == (run_id, "job-1", "count")
    assert run["parameters"] == {"up_to": "5"}
    assert runners.take(holding=[run_id]) == []
    assert runners.say("begin", run) == "held"
    assert runners.workload("job-1")["status"] == "RUNNING"
    runners.time.now += 3 * MINUTE
    assert runners.say("heartbeat", run, energy=[runners.energy(0.1)]) == "held"
    assert runners.finish(run, run_s=180.0, output_tail="done\n", output_bytes=5) == "held"
    workload = runners.workload("job-1")
    assert workload["status"] == "COMPLETED"
    assert workload["actual_energy_kwh"] > 0.5  # of the site
    assert workload["actual_carbon_gco2"] is not None
    assert workload["actual_cost_gbp"] is not None
    assert "ended with status 0" in workload["status_reason"]
    assert "power x time" in workload["status_reason"]
    assert [event["event_type"] for event in events(runners.conninfo)] == ["workload.started", "workload.completed"]
    (reading,) = readings(runners.conninfo, run_id)
    assert (reading["it_energy_wh"], reading["source"]) == (500, "power_x_time")
    ended = booking(runners.conninfo, run_id)
    assert (ended["state"], ended["work_state"]) == ("ENDED", "completed")
    report = runners.client.get("/api/v1/workloads/job-1/run").json()
    assert (report["output_tail"], report["exit_status"], report["runner_id"]) == ("done\n", 0, "runner-1")


def test_what_is_not_due_or_not_offered_is_not_taken(runners: Runners) -> None:
    runners.register()
    book(runners.conninfo, "later", NOW + 30 * MINUTE)
    book(runners.conninfo, "other", NOW, run={"template": "other", "parameters": {}})
    assert runners.take() == []
    runners.time.now += 31 * MINUTE
    assert [run["job_id"] for run in runners.take()] == ["later"]


def test_a_failed_command_is_a_failed_workload(runners: Runners) -> None:
    runners.register()
    book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take()
    runners.say("begin", run)
    runners.finish(run, ended="signalled", exit_status=None, signal=9, cause="too_long", run_s=60.0)
    workload = runners.workload("job-1")
    assert workload["status"] == "FAILED"
    assert "signal 9, as it took longer than its template allows" in workload["status_reason"]


def test_every_message_may_be_repeated(runners: Runners) -> None:
    runners.register()
    run_id = book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take()
    assert runners.say("begin", run) == runners.say("begin", run) == "held"
    assert runners.finish(run) == "held"
    before = booking(runners.conninfo, run_id)
    assert runners.finish(run, exit_status=3) == "held"
    assert booking(runners.conninfo, run_id) == before
    assert runners.workload("job-1")["status"] == "COMPLETED"


def test_a_run_whose_answer_was_lost_is_offered_again_under_a_new_fence(runners: Runners) -> None:
    runners.register()
    book(runners.conninfo, "job-1", NOW)
    (lost,) = runners.take()
    (run,) = runners.take()
    assert run["run_id"] == lost["run_id"]
    assert runners.say("begin", lost) == "fenced"
    assert runners.say("begin", run) == "held"
    assert runners.take() == []


def test_of_two_runners_one_has_the_run(runners: Runners) -> None:
    runners.register("runner-1")
    runners.register("runner-2")
    book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take("runner-1")
    assert runners.take("runner-2") == []
    assert runners.say("begin", run, "runner-2") == "fenced"
    assert runners.say("begin", run, "runner-1") == "held"


def test_the_earlier_of_two_processes_of_one_name_takes_nothing_more(runners: Runners) -> None:
    runners.register()
    earlier = runners.sessions["runner-1"]
    runners.register()
    asked = {"session": earlier, "templates": ["count"], "holding": [], "wait_s": 0}
    refused = runners.client.post("/api/v1/runners/runner-1/take", asked)
    assert refused.status_code == 409
    assert "another process has registered" in refused.json()["detail"]
    assert runners.client.post("/api/v1/runners/nobody/take", asked).status_code == 404


def test_what_is_given_back_is_anothers_or_fails_for_good(runners: Runners) -> None:
    runners.register("runner-1")
    runners.register("runner-2")
    first = book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take("runner-1")
    assert runners.say("give-back", run, reason="no room", final=False) == "held"
    runners.time.now = datetime.now(NOW.tzinfo) + timedelta(seconds=10)  # the pause is by the database's clock
    book(runners.conninfo, "job-2", NOW)
    taken = runners.take("runner-2")
    assert [each["run_id"] for each in taken] in ([first], [first + 1])
    assert runners.say("give-back", taken[0], "runner-2", reason="x does not match", final=True) == "held"
    failed = runners.workload(taken[0]["job_id"])
    assert failed["status"] == "FAILED"
    assert failed["status_reason"] == "The runner runner-2 refused it: x does not match."


def test_a_cancelled_run_is_told_to_end_and_becomes_cancelled(runners: Runners, postgres: PostgresDatabase) -> None:
    runners.register()
    run_id = book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take()
    runners.say("begin", run)
    postgres.update("capacity_bookings", {"cancel_requested_at": rfc3339(NOW)}, where=[Where("booking_id", run_id)])
    assert runners.say("heartbeat", run, energy=[]) == "cancelled"
    assert runners.finish(run, ended="signalled", exit_status=None, signal=15, cause="cancelled") == "held"
    assert runners.workload("job-1")["status"] == "CANCELLED"


def test_a_silent_run_is_lost_and_never_run_again(runners: Runners, postgres: PostgresDatabase) -> None:
    runners.register("runner-1")
    runners.register("runner-2")
    run_id = book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take("runner-1")
    runners.say("begin", run)
    runners.say("heartbeat", run, energy=[runners.energy(0.1)])
    runners.time.now += timedelta(seconds=SILENCE.lost_after_s + 1)
    assert runners.take("runner-2") == []  # its lease has run out, and it has begun
    monotonic = [0.0]
    watch = SilentRuns(postgres, runners.time, SILENCE, lambda: monotonic[0])
    assert watch.settle() == []  # this process has only just begun to listen
    monotonic[0] = SILENCE.patience_s
    assert watch.settle() == ["job-1"]
    workload = runners.workload("job-1")
    assert workload["status"] == "FAILED"
    assert "nothing was heard of runner runner-1 of local for too long" in workload["status_reason"]
    assert booking(runners.conninfo, run_id)["state"] == "ENDED"
    assert [reading["it_energy_wh"] for reading in readings(runners.conninfo, run_id)] == [100]
    assert runners.finish(run) == "fenced"
    assert runners.take("runner-2") == []


def test_what_nobody_takes_in_its_window_fails_with_the_reason(runners: Runners, postgres: PostgresDatabase) -> None:
    runners.register()
    book(runners.conninfo, "nobody", NOW, run={"template": "other", "parameters": {}})
    book(runners.conninfo, "nothing", NOW, run={})
    watch = SilentRuns(postgres, runners.time, SILENCE, lambda: 0.0)
    assert watch.settle() == ["nothing"]
    runners.time.now += 11 * MINUTE
    assert watch.settle() == ["nobody"]
    assert runners.workload("nothing")["status_reason"].startswith(f"{DC} is run by runners, and it names nothing")
    assert runners.workload("nobody")["status_reason"] == f"No runner of {DC} took it in its window."
    assert held_kw(runners.conninfo) == 0


def test_a_late_start_moves_its_window_and_one_past_its_deadline_is_given_up(runners: Runners) -> None:
    runners.register()
    run_id = book(runners.conninfo, "late", NOW)
    book(runners.conninfo, "too-late", NOW, deadline=NOW + 15 * MINUTE)
    runners.time.now += 9 * MINUTE
    taken = {run["job_id"]: run for run in (runners.take()[0], runners.take(holding=[run_id])[0])}
    assert runners.say("begin", taken["late"]) == "held"
    assert booking(runners.conninfo, run_id)["ends_at"] == (NOW + 19 * MINUTE).isoformat()
    assert runners.say("begin", taken["too-late"]) == "deferred"
    assert runners.workload("too-late")["status"] == "FAILED"


def test_a_run_that_outlasts_its_window_goes_on_while_there_is_power(
    runners: Runners, postgres: PostgresDatabase
) -> None:
    runners.register()
    run_id = book(runners.conninfo, "job-1", NOW)
    (run,) = runners.take()
    runners.say("begin", run)
    runners.time.now += 25 * MINUTE
    assert runners.say("heartbeat", run, energy=[]) == "held"
    assert datetime.fromisoformat(booking(runners.conninfo, run_id)["ends_at"]) > runners.time.now
    take_all_power(runners, NOW + 60 * MINUTE)
    runners.time.now = NOW + 61 * MINUTE
    assert runners.say("heartbeat", run, energy=[]) == "cancelled"


def take_all_power(runners: Runners, start: datetime) -> None:
    """Two hours of all the power that the data centre has."""
    (centre,) = [c for c in runners.client.get("/api/v1/objects/DataCentre").json()["objects"] if c["dc_id"] == DC]
    book(runners.conninfo, "big", start, lasts=timedelta(hours=2), power_kw=centre["total_capacity_mw"] * 1000)


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ({"ended": "signalled", "exit_status": None, "signal": 15, "cause": "cancelled", "run_s": 3600.0}, "FAILED"),
        ({"ended": "exited", "exit_status": 0, "cause": "cancelled", "run_s": 3600.0}, "FAILED"),
        ({"ended": "exited", "exit_status": 0, "run_s": 3599.0}, "COMPLETED"),  # it was done before it was asked
    ],
)
def test_a_run_that_has_to_end_unfinished_has_failed_says_why_and_has_its_actuals(
    runners: Runners, ending: dict[str, Any], status: str
) -> None:
    runners.register()
    run_id = book(runners.conninfo, "job-1", NOW, lasts=60 * MINUTE)
    (run,) = runners.take()
    runners.say("begin", run)
    take_all_power(runners, NOW + 60 * MINUTE)
    runners.time.now += 61 * MINUTE
    assert runners.say("heartbeat", run, energy=[runners.energy(0.4)]) == "cancelled"
    assert runners.finish(run, **ending) == "held"
    workload = runners.workload("job-1")
    assert workload["status"] == status
    unfinished = workload["status_reason"].startswith(
        "It was ended unfinished: its window was over, and there was no more power for it. It ran for 3600.0 s and "
    )
    assert unfinished is (status == "FAILED")
    assert workload["actual_energy_kwh"] > 0.5
    assert workload["actual_carbon_gco2"] is not None
    assert booking(runners.conninfo, run_id)["state"] == "ENDED"
    assert events(runners.conninfo)[-1]["event_type"] == f"workload.{status.lower()}"
    cause = runners.client.get("/api/v1/workloads/job-1/run").json()["cause"]
    assert cause == ("window_over" if status == "FAILED" else None)


def stress(postgres: PostgresDatabase, *half_hours: datetime) -> None:
    for slot in half_hours:
        postgres.update("grid_signals", {"grid_stress_score": 0.97}, where=[Where("timestamp", slot)])


def test_a_run_that_would_begin_in_a_spike_is_put_off_within_its_window(
    runners: Runners, postgres: PostgresDatabase
) -> None:
    runners.register("runner-1")
    runners.register("runner-2")
    run_id = book(runners.conninfo, "job-1", NOW, deferral_window_mins=360)
    first = half_hour_of(NOW)
    stress(postgres, first, first + 30 * MINUTE, first + 60 * MINUTE)
    (run,) = runners.take("runner-1")
    assert runners.say("begin", run) == "deferred"
    assert runners.say("begin", run) == "fenced"  # it is nobody's now
    start = datetime.fromisoformat(booking(runners.conninfo, run_id)["starts_at"])
    assert first + 90 * MINUTE <= start <= NOW + 360 * MINUTE
    workload = runners.workload("job-1")
    assert workload["status"] == "DEFERRED_GRID_STRESS"
    assert workload["status_reason"] == (
        f"The grid would be under stress while it runs. It starts at {rfc3339(start)}."
    )
    assert [event["event_type"] for event in events(runners.conninfo)] == ["workload.deferred"]
    assert runners.take("runner-2") == []
    runners.time.now = start
    (again,) = runners.take("runner-2")
    assert again["run_id"] == run_id
    assert runners.say("begin", again, "runner-2") == "held"
    assert runners.workload("job-1")["status"] == "RUNNING"


@pytest.mark.parametrize("window_mins", [None, 0, 45])
def test_a_run_that_cannot_wait_for_a_spike_to_pass_begins_all_the_same(
    runners: Runners, postgres: PostgresDatabase, window_mins: int | None
) -> None:
    runners.register()
    book(runners.conninfo, "job-1", NOW, deferral_window_mins=window_mins)
    stress(postgres, *(half_hour_of(NOW) + n * 30 * MINUTE for n in range(4)))
    (run,) = runners.take()
    assert runners.say("begin", run) == "held"


def test_a_spike_is_looked_for_only_for_whoever_holds_the_run(runners: Runners, postgres: PostgresDatabase) -> None:
    runners.register("runner-1")
    runners.register("runner-2")
    run_id = book(runners.conninfo, "job-1", NOW, deferral_window_mins=360)
    stress(postgres, half_hour_of(NOW))
    (run,) = runners.take("runner-1")
    assert runners.say("begin", run, "runner-2") == "fenced"
    assert runners.say("begin", {**run, "fence": "999"}) == "fenced"
    assert booking(runners.conninfo, run_id)["starts_at"] == NOW.isoformat()


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({"template": "other"}, "names the template other, which no runner offers; there are: count"),
        ({"template": "count", "parameters": {"path": "x"}}, "has the parameter path, which the template count"),
        ({"template": "count", "parameters": {"up_to": 5}}, "valid string"),
        ({"template": "count", "parameters": {"up_to": "a\x00b"}}, "holds a character that no command can be given"),
        ({"template": "count", "parameters": {"UP_TO": "5"}}, "String should match pattern"),
        ({"template": "../count"}, "String should match pattern"),
        ({"template": "count", "command": "rm"}, "Extra inputs are not permitted"),
        ({}, "Field required"),
        (None, "should be"),
    ],
)
def test_a_submission_names_what_a_runner_offers_and_nothing_else(runners: Runners, run: Any, why: str) -> None:
    runners.register()
    document = {"job_id": "job-1", "workload_type": "OTHER", "required_gpu_mins": 1, "run": run}
    refused = runners.client.post("/api/v1/workloads", document)
    assert refused.status_code == 422
    assert why in refused.text


def test_a_submission_with_a_run_is_stored_with_it(runners: Runners) -> None:
    runners.register()
    run = {"template": "count", "parameters": {"up_to": "5"}}
    document = {"job_id": "job-1", "workload_type": "OTHER", "required_gpu_mins": 1, "run": run}
    assert runners.client.post("/api/v1/workloads", document).status_code == 201
    assert runners.client.post("/api/v1/workloads", document).status_code == 200
    assert runners.workload("job-1")["run"] == run
    changed = document | {"run": {"template": "count", "parameters": {"up_to": "6"}}}
    assert runners.client.post("/api/v1/workloads", changed).status_code == 409
    assert runners.client.get("/api/v1/workloads/job-1/run").status_code == 404


def test_a_simulated_data_centre_is_taken_over_only_if_that_is_said(runners: Runners) -> None:
    message = {
        "runner_id": "r",
        "dc_id": DC,
        "capacity_kw": 1,
        "templates": {"t": {"power_kw": 1, "longest_s": 1, "parameters": {}}},
    }
    refused = runners.client.post("/api/v1/runners", message)
    assert refused.status_code == 409
    assert "register with take_over" in refused.json()["detail"]
    unknown = runners.client.post("/api/v1/runners", message | {"dc_id": "DC-999"})
    assert unknown.status_code == 422
    runners.register()
    assert runners.client.post("/api/v1/runners", message).status_code == 200
    listed = runners.client.get("/api/v1/runners").json()["runners"]
    assert [runner["runner_id"] for runner in listed] == ["r", "runner-1"]
