"""From end to end: a real API server, real runners, real commands. What was booked ends, and is accounted.

"Ten minutes" are `LOST_AFTER_S` here, by the setting RUNNER_LOST_AFTER_SECONDS: heartbeats, the server's patience
after it was away and the attendants' own limit follow it in proportion, so nothing else is different.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from clock import utc_now
from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from database.schema import install_schema
from new_database import as_url, new_database
from runner_process import attendants, commands, eventually, shell
from runner_world import book, booking, events, held_kw, readings
from runners_at_work import RunnersAtWork, runners_at_work
from server_process import BACKEND, ServerProcess, free_port, postgres_of

LOST_AFTER_S = 15.0
ANYTHING = {"pattern": "(?s).*"}


@pytest.fixture(scope="module")
def house(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnersAtWork]:
    """One server for all tests here, each of which has runners and jobs of its own."""
    lost_after = {"RUNNER_LOST_AFTER_SECONDS": str(LOST_AFTER_S)}
    with new_database(postgres_server) as conninfo, closing(PostgresDatabase(conninfo)) as database:
        reached_by, folder = {"DATABASE_URL": as_url(conninfo)}, tmp_path_factory.mktemp("server")
        with runners_at_work(conninfo, database, reached_by, folder, **lost_after) as world:
            yield world


@pytest.fixture
def at_work(house: RunnersAtWork, tmp_path: Path) -> Iterator[RunnersAtWork]:
    with house.shift(tmp_path):
        yield house


def kill(server: ServerProcess | None) -> None:
    """SIGKILL to the serving process and to the one that watches over it."""
    assert server is not None
    watching = psutil.Process(server.process.pid)
    for process in (watching, *watching.children(recursive=True)):
        process.kill()
    server.process.wait(timeout=30)


def let_lost_time_pass() -> None:
    """What is simulated is time itself: nothing tells when it is over."""
    time.sleep(LOST_AFTER_S)


def due(at_work: RunnersAtWork, job_id: str, template: str, **parameters: str) -> int:
    return book(at_work.conninfo, job_id, utc_now(), run={"template": template, "parameters": parameters})


def test_a_command_waits_for_its_window_runs_in_it_and_is_accounted(at_work: RunnersAtWork, tmp_path: Path) -> None:
    count = shell(
        'i=1; while [ "$i" -le "$PYLON_PARAM_UP_TO" ]; do echo "$i"; i=$((i + 1)); done',
        parameters={"up_to": {"pattern": "[1-9][0-9]?", "default": "10"}},
    )
    runner = at_work.runner({"count": count})
    gateway_port = free_port()
    settings = {**at_work.reached_by, "BG_PORT": str(gateway_port)}
    gateway = ServerProcess("BG.py", tmp_path / "gateway.log", settings, port=gateway_port)
    at_work.at_the_end.callback(gateway.end)
    submission = {
        "job_id": "window",
        "workload_type": "DATA_PROCESSING",
        "urgency": "LOW",
        "required_gpu_mins": 5,
        "deferral_window_mins": 600,
        "run": {"template": "count", "parameters": {"up_to": "20"}},
    }
    assert at_work.client.post("/api/v1/workloads", submission).status_code == 201
    eventually(lambda: at_work.workload("window")["scheduled_start"] is not None)
    # Its owner would rather have it in a moment; and the runner has been waiting for work since before that.
    start = utc_now() + timedelta(seconds=6)
    moved = at_work.client.post("/api/v1/workloads/window/move", {"start": start.isoformat()})
    assert moved.status_code == 200, moved.text
    done = at_work.wait_for("window", "COMPLETED")
    assert datetime.fromisoformat(done["actual_start"].replace("Z", "+00:00")) >= start
    assert "is taken" in runner.log
    report = at_work.report("window")
    assert report["output_tail"] == "".join(f"{number}\n" for number in range(1, 21))
    assert (report["exit_status"], report["runner_id"]) == (0, "runner-1")
    assert done["actual_energy_kwh"] > 0
    workloads, meters, centres = at_work.metered_wh()
    assert workloads == meters == centres > 0
    assert at_work.client.get("/api/v1/savings").json()["total"]["runs"] >= 1


def test_every_way_in_which_a_command_may_end_is_told_and_accounted(at_work: RunnersAtWork, tmp_path: Path) -> None:
    templates = {
        "succeed": shell("echo well"),
        "fail": shell("echo badly >&2; exit 3"),
        "die": shell("kill -KILL $$"),
        "hang": shell("trap '' TERM; while :; do sleep 1; done", limits={"longest_s": 1, "grace_s": 0.5}),
        "flood": shell("head -c 50000000 /dev/zero; printf 'the end'", limits={"output_tail_bytes": 1000}),
        "wait": shell(f"touch {tmp_path}/waiting; sleep 600"),
    }
    at_work.runner(templates)
    run_ids = {name: due(at_work, f"job-{name}", name) for name in templates}
    eventually((tmp_path / "waiting").exists)
    cancelled = at_work.client.post("/api/v1/workloads/job-wait/cancel", {"reason": "no longer wanted"})
    assert cancelled.json()["state"] == "requested", cancelled.text
    at_work.all_end([f"job-{name}" for name in templates])

    ended_jobs = {f"job-{name}" for name in templates}
    ended = {name: at_work.workload(f"job-{name}") for name in templates}
    assert {name: workload["status"] for name, workload in ended.items()} == {
        "succeed": "COMPLETED",
        "fail": "FAILED",
        "die": "FAILED",
        "hang": "FAILED",
        "flood": "COMPLETED",
        "wait": "CANCELLED",
    }
    reasons = {name: workload["status_reason"] for name, workload in ended.items()}
    assert "ended with status 3" in reasons["fail"]
    assert "was ended by signal 9." in reasons["die"]
    assert "was ended by signal 9, as it took longer than its template allows." in reasons["hang"]
    assert reasons["wait"] == "Cancelled: no longer wanted"
    reports = {name: at_work.report(f"job-{name}") for name in templates}
    assert reports["flood"]["output_bytes"] == 50_000_007
    assert reports["flood"]["output_tail"] == "\ufffd" * 993 + "the end"
    assert reports["fail"]["output_tail"] == "badly\n"
    assert (reports["wait"]["signal"], reports["wait"]["cause"]) == (signal.SIGTERM, "cancelled")
    for name, run_id in run_ids.items():
        assert ended[name]["actual_energy_kwh"] is not None, name
        assert booking(at_work.conninfo, run_id)["state"] == "ENDED"
    workloads, meters, centres = at_work.metered_wh()
    assert workloads == meters == centres > 0
    assert not commands(tmp_path)
    told = [event["event_type"] for event in events(at_work.conninfo) if event["job_id"] in ended_jobs]
    assert sorted(told) == sorted(
        ["workload.started"] * 6 + ["workload.completed"] * 2 + ["workload.failed"] * 3 + ["workload.cancelled"]
    )


HOSTILE = [
    "$(touch {folder}/broken)",
    "`touch {folder}/broken`",
    "x; touch {folder}/broken #",
    "line\nPATH=/evil\ntouch {folder}/broken",
    "${{HOME}}",
    "--help",
    "é ٣ \U0001f600 \u202e",
    "y" * 1000,
    "",
]


def test_what_is_submitted_reaches_a_command_as_a_value_or_not_at_all(at_work: RunnersAtWork, tmp_path: Path) -> None:
    templates = {
        "print": shell('printf %s "$PYLON_PARAM_VALUE"', parameters={"value": ANYTHING}),
        "number": shell(f"touch {tmp_path}/broken", parameters={"value": {"pattern": "[0-9]+"}}),
    }
    at_work.runner(templates)
    values = {f"print-{number}": value.format(folder=tmp_path) for number, value in enumerate(HOSTILE)}
    refused = {f"number-{number}": value for number, value in enumerate(["1\n", "-1", "٣", "$(id)"])}
    for job_id, value in values.items():
        due(at_work, job_id, "print", value=value)
    for job_id, value in refused.items():
        due(at_work, job_id, "number", value=value)
    due(at_work, "too-long", "print", value="y" * 1001)
    due(at_work, "another-name", "print", value="x", LD_PRELOAD="/evil.so")
    due(at_work, "a-name-with-a-line", "print", **{"value": "x", "a\nPATH": "/evil"})
    at_work.all_end([*values, *refused, "too-long", "another-name", "a-name-with-a-line"])
    for job_id, value in values.items():
        assert at_work.report(job_id)["output_tail"] == value
        assert at_work.workload(job_id)["status"] == "COMPLETED"
    for job_id in [*refused, "too-long", "another-name", "a-name-with-a-line"]:
        failed = at_work.workload(job_id)
        assert (failed["status"], failed["actual_energy_kwh"]) == ("FAILED", None), job_id
        assert failed["status_reason"].startswith("The runner runner-1 refused it: the "), job_id
    assert not (tmp_path / "broken").exists()
    # And over HTTP a name, or a NUL, does not even get as far as that.
    for parameters in ({"value": "a\x00b"}, {"VALUE": "x"}, {"a\nb": "x"}, {"value": ["x"]}, {"-value": "x"}):
        document = {
            "workload_type": "OTHER",
            "required_gpu_mins": 1,
            "run": {"template": "print", "parameters": parameters},
        }
        assert at_work.client.post("/api/v1/workloads", document).status_code == 422, parameters


def test_of_two_runners_every_job_is_run_by_one(at_work: RunnersAtWork, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    templates = {"once": shell(f"echo $PYLON_RUN_ID >> {ran}; sleep 0.2")}
    for name in ("runner-1", "runner-2"):
        at_work.runner(templates, name)
    run_ids = [due(at_work, f"one-of-two-{number}", "once") for number in range(8)]
    at_work.all_end([f"one-of-two-{number}" for number in range(8)])
    assert sorted(map(int, ran.read_text().split())) == run_ids
    assert {at_work.workload(f"one-of-two-{number}")["status"] for number in range(8)} == {"COMPLETED"}


def waiting(folder: Path) -> Any:
    return shell(f"touch {folder}/began; while [ ! -e {folder}/go ]; do sleep 0.1; done; echo done", power_kw=5.0)


@pytest.mark.thorough
def test_a_runner_that_is_gone_for_ten_minutes_has_lost_its_run(at_work: RunnersAtWork, tmp_path: Path) -> None:
    file = at_work.configuration({"wait": waiting(tmp_path)})
    gone = at_work.run(file)
    run_id = due(at_work, "runner-gone", "wait")
    eventually((tmp_path / "began").exists)
    eventually(lambda: booking(at_work.conninfo, run_id)["state"] == "RUNNING" and heard_energy(at_work, run_id))
    gone.end(signal.SIGKILL)
    let_lost_time_pass()
    lost = at_work.wait_for("runner-gone", "FAILED")
    assert lost["status_reason"].startswith(
        "It was lost: nothing was heard of runner runner-1 of local for too long."
    )
    assert lost["actual_energy_kwh"] is not None  # as far as it was heard of
    eventually(lambda: not attendants(file.parent))
    assert not commands(file.parent)
    assert held_kw(at_work.conninfo) == 0
    (tmp_path / "began").unlink()
    back = at_work.run(file)
    eventually(lambda: not list((file.parent / "state" / "runs").iterdir()))
    assert "this runner's no longer" in back.log
    assert at_work.workload("runner-gone") == lost
    assert not (tmp_path / "began").exists()  # it is never run again


def heard_energy(at_work: RunnersAtWork, run_id: int) -> bool:
    with psycopg.connect(at_work.conninfo, autocommit=True) as session:
        found = session.execute("select energy from runs where run_id = %s", (run_id,)).fetchone()
    return bool(found and found[0])


@pytest.mark.thorough
def test_a_run_outlives_a_server_that_is_gone_for_ten_minutes(at_work: RunnersAtWork, tmp_path: Path) -> None:
    runner = at_work.runner({"wait": waiting(tmp_path)})
    run_id = due(at_work, "server-gone", "wait")
    eventually((tmp_path / "began").exists)
    eventually(lambda: heard_energy(at_work, run_id))
    kill(at_work.server)
    let_lost_time_pass()
    assert commands(runner.folder)
    at_work.serve()
    eventually(lambda: "the server answers again" in runner.log)
    (tmp_path / "go").touch()
    done = at_work.wait_for("server-gone", "COMPLETED", "FAILED")
    assert done["status"] == "COMPLETED", done["status_reason"]
    assert at_work.report("server-gone")["output_tail"] == "done\n"
    # All of its time is in the meters, the server's absence too.
    metered_wh = sum(float(reading["it_energy_wh"]) for reading in readings(at_work.conninfo, run_id))
    assert metered_wh >= 5000 * LOST_AFTER_S / 3600


@pytest.mark.thorough
def test_a_run_outlives_a_database_that_is_killed(data_dir: Path, tmp_path: Path) -> None:
    own = EmbeddedPostgres(data_dir)
    own.start()
    try:
        service = PostgresDatabase(own.conninfo)
        install_schema(service)
        with runners_at_work(own.conninfo, service, {"PYLON_DATA_DIR": str(data_dir)}, tmp_path) as at_work:
            runner = at_work.runner({"wait": waiting(tmp_path)})
            service.close()
            due(at_work, "job-1", "wait")
            eventually((tmp_path / "began").exists)
            at_work.wait_for("job-1", "RUNNING")
            server = postgres_of(data_dir)
            assert server is not None
            server.kill()
            (tmp_path / "go").touch()
            eventually(lambda: not attendants(runner.folder))
            eventually(lambda: at_work.client.get("/api/v1/workloads/job-1").status_code == 200)
            done = at_work.wait_for("job-1", "COMPLETED", "FAILED")
            assert done["status"] == "COMPLETED", done["status_reason"]
            assert (tmp_path / "runner-1" / "runner.log").read_text().count("is taken") == 1
    finally:
        own.stop()


@pytest.mark.thorough
def test_a_clock_that_is_set_changes_no_run(at_work: RunnersAtWork, tmp_path: Path) -> None:
    """The runner's wall clock is a day ahead when it starts, and set a day back while its command runs."""
    file = at_work.configuration({"wait": waiting(tmp_path)})
    ahead = tmp_path / "ahead"
    ahead.write_text("86400")
    with_a_wrong_clock = (
        "import pathlib, sys, datetime\n"
        f"sys.path.insert(0, {str(BACKEND)!r})\n"
        "import clock\n"
        f"ahead = pathlib.Path({str(ahead)!r})\n"
        "right = clock.utc_now\n"
        "clock.utc_now = lambda: right() + datetime.timedelta(seconds=float(ahead.read_text()))\n"
        "import runner\n"
        "sys.exit(runner.main(sys.argv[1:]))\n"
    )
    at_work.run(file, ["-c", with_a_wrong_clock])
    run_id = due(at_work, "clock", "wait")
    eventually((tmp_path / "began").exists)
    eventually(lambda: heard_energy(at_work, run_id))
    ahead.write_text("-86400")
    before = at_work.report("clock")["heard_at"]
    eventually(lambda: at_work.report("clock")["heard_at"] > before)
    (tmp_path / "go").touch()
    done = at_work.wait_for("clock", "COMPLETED")
    of_now = {(utc_now() - timedelta(minutes=30 * n)).strftime("%Y-%m-%d") for n in range(2)}
    metered = readings(at_work.conninfo, run_id)
    assert metered
    assert {reading["half_hour"][:10] for reading in metered} <= of_now
    assert 0 < sum(float(reading["it_energy_wh"]) for reading in metered) < 5000 * 120 / 3600
    assert done["actual_energy_kwh"] is not None
