"""A runner against real processes: `python backend/runner.py`, real commands, and a server over HTTP."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from grid.half_hours import half_hour_of, rfc3339
from runner_process import (
    OWN_SECRET,
    RunnerProcess,
    attendants,
    commands,
    eventually,
    running,
    shell,
    write_configuration,
)
from runner_server import RunnerServer, runner_server

TEXT = {"pattern": ".{0,2000}"}


@pytest.fixture
def server() -> Iterator[RunnerServer]:
    with runner_server() as running_server:
        yield running_server


@dataclass(frozen=True)
class OneRunner:
    """A server whose one runner has several templates, and its folder."""

    server: RunnerServer
    folder: Path


@pytest.fixture(scope="module")
def one_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneRunner]:
    """For all tests of one command each, of which nothing is left: `print` takes any value, `touch` a word."""
    folder = tmp_path_factory.mktemp("one")
    program = folder / "program"
    program.write_text("#!/nowhere/at/all\n")
    program.chmod(0o700)
    templates = {
        "fail": shell("echo no such file; exit 3"),
        "die": shell("kill -KILL $$"),
        "broken": {"command": [str(program)], "power_kw": 1.0, "limits": {"longest_s": 10}},
        "print": shell('printf %s "$PYLON_PARAM_NAME"', parameters={"name": {"pattern": "(?s).*"}}),
        "touch": shell(f"touch {folder / 'ran'}", parameters={"name": {"pattern": r"[\w\d]+"}}),
    }
    with runner_server() as server, running(write_configuration(folder, server.url, templates)):
        yield OneRunner(server, folder)


def line_count(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_run_succeeds_and_is_reported_with_its_output_and_energy(server: RunnerServer, tmp_path: Path) -> None:
    file = write_configuration(tmp_path, server.url, {"greet": shell("echo hello; echo world >&2; sleep 0.3")})
    run_id = server.offer("greet")
    with running(file):
        outcome = server.outcome(run_id)
    assert (outcome["ended"], outcome["exit_status"], outcome["signal"]) == ("exited", 0, None)
    assert outcome["output_tail"] == "hello\nworld\n"
    assert outcome["output_bytes"] == 12
    # 1 kW for as long as the monotonic clock says; a little before the command begins counts too.
    energy_kwh = sum(each["energy_kwh"] for each in outcome["energy"])
    assert outcome["run_s"] >= 0.3
    assert outcome["run_s"] / 3600 <= energy_kwh <= (outcome["run_s"] + 60) / 3600
    assert {each["source"] for each in outcome["energy"]} == {"power_x_time"}
    assert server.runs[run_id].begun == 1
    assert server.registrations[0]["templates"]["greet"]["power_kw"] == 1.0


def test_what_is_reported_is_forgotten(server: RunnerServer, tmp_path: Path) -> None:
    file = write_configuration(tmp_path, server.url, {"greet": shell("echo hello > left_behind")})
    run_id = server.offer("greet")
    with running(file):
        server.outcome(run_id)
        eventually(lambda: not list((tmp_path / "state" / "runs").iterdir()))


def test_an_exit_status_is_reported(one_runner: OneRunner) -> None:
    outcome = one_runner.server.outcome(one_runner.server.offer("fail"))
    assert (outcome["ended"], outcome["exit_status"]) == ("exited", 3)
    assert outcome["output_tail"] == "no such file\n"


def test_a_command_that_is_killed_is_reported_with_its_signal(one_runner: OneRunner) -> None:
    outcome = one_runner.server.outcome(one_runner.server.offer("die"))
    assert (outcome["ended"], outcome["signal"], outcome["exit_status"]) == ("signalled", signal.SIGKILL, None)


def test_a_program_that_cannot_be_started_is_reported(one_runner: OneRunner) -> None:
    outcome = one_runner.server.outcome(one_runner.server.offer("broken"))
    assert outcome["ended"] == "not_started"
    assert "could not be started: No such file or directory" in outcome["reason"]


def test_a_hung_command_is_ended_at_its_limit_with_everything_it_started(
    server: RunnerServer, tmp_path: Path
) -> None:
    # It listens to no SIGTERM, and a child of it has left its process group.
    script = "trap '' TERM; setsid sleep 4321 & while :; do sleep 1; done"
    template = shell(script, limits={"longest_s": 0.5, "grace_s": 0.5})
    file = write_configuration(tmp_path, server.url, {"hang": template})
    run_id = server.offer("hang")
    with running(file):
        outcome = server.outcome(run_id)
        assert (outcome["ended"], outcome["signal"], outcome["cause"]) == ("signalled", signal.SIGKILL, "too_long")
        eventually(lambda: not commands(tmp_path, "4321"))


def test_a_flood_of_output_is_drained_and_its_end_is_kept(server: RunnerServer, tmp_path: Path) -> None:
    script = "head -c 200000000 /dev/zero; printf 'the end'"
    file = write_configuration(tmp_path, server.url, {"flood": shell(script, limits={"output_tail_bytes": 1000})})
    run_id = server.offer("flood")
    with running(file):
        outcome = server.outcome(run_id)
    assert outcome["exit_status"] == 0
    assert outcome["output_bytes"] == 200_000_007
    assert outcome["output_tail"] == "\ufffd" * 993 + "the end"


def test_a_cancelled_run_is_asked_to_end_and_reported(server: RunnerServer, tmp_path: Path) -> None:
    script = "trap 'echo saved; exit 0' TERM; echo began > ../../../../began; while :; do sleep 0.1; done"
    file = write_configuration(tmp_path, server.url, {"wait": shell(script)})
    run_id = server.offer("wait")
    with running(file):
        eventually((tmp_path / "began").exists)
        server.cancel(run_id)
        outcome = server.outcome(run_id)
    assert (outcome["ended"], outcome["exit_status"], outcome["cause"]) == ("exited", 0, "cancelled")
    assert outcome["output_tail"].endswith("saved\n")


def test_a_run_that_is_no_longer_its_runners_is_ended(server: RunnerServer, tmp_path: Path) -> None:
    file = write_configuration(tmp_path, server.url, {"wait": shell("sleep 5432")})
    run_id = server.offer("wait")
    with running(file):
        eventually(lambda: commands(tmp_path, "5432"))
        server.fence(run_id)
        eventually(lambda: not commands(tmp_path, "5432"))
        eventually(lambda: not list((tmp_path / "state" / "runs").iterdir()))
    assert server.runs[run_id].finished is None


def test_a_clock_that_is_set_changes_neither_duration_nor_energy(server: RunnerServer, tmp_path: Path) -> None:
    """The server's clock is set a year ahead while a command runs: later energy is in its new half-hours."""
    file = write_configuration(
        tmp_path, server.url, {"wait": shell("while [ ! -e ../../../../go ]; do sleep 0.1; done")}
    )
    run_id = server.offer("wait")
    with running(file):
        server.wait_for(lambda: server.runs[run_id].beats)
        before = half_hour_of(server.now())
        server.ahead = timedelta(days=365)
        heard = len(server.runs[run_id].beats)
        server.wait_for(lambda: len(server.runs[run_id].beats) > heard + 2)
        (tmp_path / "go").touch()
        outcome = server.outcome(run_id)
    assert outcome["run_s"] < 60
    assert sum(each["energy_kwh"] for each in outcome["energy"]) < 120 / 3600
    named = [each["half_hour"] for each in outcome["energy"]]
    assert named == sorted(named)
    assert len(named) >= 2
    assert rfc3339(before) in named or rfc3339(before - timedelta(minutes=30)) in named


def test_of_two_runners_for_one_job_one_runs_it(server: RunnerServer, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    template = shell(f"echo once >> {ran}; sleep 0.3")
    folders = [tmp_path / "one", tmp_path / "two"]
    files = []
    for number, folder in enumerate(folders):
        folder.mkdir()
        files.append(write_configuration(folder, server.url, {"one": template}, runner_id=f"runner-{number}"))
    with running(files[0]), running(files[1]):
        server.wait_for(lambda: len(server.registrations) == 2)
        ids = [server.offer("one") for _ in range(5)]
        for run_id in ids:
            server.outcome(run_id)
    assert line_count(ran) == 5
    assert all(server.runs[run_id].begun == 1 for run_id in ids)


def test_of_two_runners_of_one_name_the_later_takes_over(server: RunnerServer, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    files = []
    for folder in folders:
        folder.mkdir()
        files.append(write_configuration(folder, server.url, {"greet": shell("echo hello")}))
    with running(files[0]) as first:
        server.wait_for(lambda: server.registrations)
        with running(files[1]):
            assert first.process.wait(60) == 1
            assert "another runner has registered" in first.log
            assert server.outcome(server.offer("greet"))["exit_status"] == 0


def test_a_state_directory_is_one_runners(server: RunnerServer, tmp_path: Path) -> None:
    file = write_configuration(tmp_path, server.url, {"greet": shell("echo hello")})
    with running(file):
        server.wait_for(lambda: server.registrations)
        with running(file) as second:
            assert second.process.wait(60) == 2
            assert "another runner uses" in second.log


def test_a_killed_runner_finds_its_run_again(server: RunnerServer, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = f"echo began >> {ran}; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo ended; exit 7"
    file = write_configuration(tmp_path, server.url, {"wait": shell(script)})
    run_id = server.offer("wait")
    with running(file) as first:
        eventually(ran.exists)
        first.end(signal.SIGKILL)
        with running(file):
            heard = len(server.runs[run_id].beats)
            server.wait_for(lambda: len(server.runs[run_id].beats) > heard)
            (tmp_path / "go").touch()
            outcome = server.outcome(run_id)
    assert outcome["exit_status"] == 7
    assert outcome["output_tail"] == "ended\n"
    assert line_count(ran) == 1
    energy_kwh = sum(each["energy_kwh"] for each in outcome["energy"])
    assert energy_kwh >= outcome["run_s"] / 3600 * 0.999


def test_a_run_that_ends_while_its_runner_is_killed_is_reported_by_the_next(
    server: RunnerServer, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    script = f"echo began >> {ran}; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; exit 7"
    file = write_configuration(tmp_path, server.url, {"wait": shell(script)})
    run_id = server.offer("wait")
    with running(file) as first:
        eventually(ran.exists)
        first.end(signal.SIGKILL)
        (tmp_path / "go").touch()
        eventually(lambda: not attendants(tmp_path))
        with running(file):
            assert server.outcome(run_id)["exit_status"] == 7
    assert line_count(ran) == 1


def test_a_runner_that_is_killed_again_and_again_starts_nothing_twice(server: RunnerServer, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    template = shell(f"echo $PYLON_RUN_ID >> {ran}; sleep 0.2")
    file = write_configuration(tmp_path, server.url, {"short": template}, capacity_kw=4.0)
    ids = [server.offer("short") for _ in range(12)]
    for _ in range(6):
        runner = RunnerProcess(file)
        wait_for_another_to_begin(server)
        runner.end(signal.SIGKILL)
    with running(file):
        for run_id in ids:
            server.outcome(run_id)
    assert sorted(map(int, ran.read_text().split())) == ids
    assert all((server.runs[run_id].finished or {})["exit_status"] == 0 for run_id in ids)


def wait_for_another_to_begin(server: RunnerServer) -> None:
    begun = begun_runs(server)
    server.wait_for(lambda: begun_runs(server) > begun)


def begun_runs(server: RunnerServer) -> int:
    return sum(run.begun > 0 for run in server.runs.values())


def test_where_the_attendant_is_killed_too_the_run_is_lost_and_its_command_ended(
    server: RunnerServer, tmp_path: Path
) -> None:
    file = write_configuration(tmp_path, server.url, {"wait": shell("setsid sleep 6543 & sleep 6543")})
    run_id = server.offer("wait")
    with running(file) as first:
        eventually(lambda: len(commands(tmp_path, "sleep 6543")) >= 2)
        first.end(signal.SIGKILL)
        for process in attendants(tmp_path):
            process.kill()
        with running(file):
            outcome = server.outcome(run_id)
            assert outcome["ended"] == "lost"
            assert "how it ended is not known" in outcome["reason"]
            eventually(lambda: not commands(tmp_path, "6543"))


def test_a_command_ends_when_no_runner_comes_back(server: RunnerServer, tmp_path: Path) -> None:
    server.lost_after_s = 0.5
    file = write_configuration(tmp_path, server.url, {"wait": shell("exec sleep 7654")})
    run_id = server.offer("wait")
    with running(file) as first:
        eventually(lambda: commands(tmp_path, "7654"))
        first.end(signal.SIGKILL)
        eventually(lambda: not attendants(tmp_path))
        assert not commands(tmp_path, "7654")
        with running(file):
            assert server.outcome(run_id)["cause"] == "runner_gone"


def test_a_runner_that_is_stopped_leaves_its_run_to_the_next(server: RunnerServer, tmp_path: Path) -> None:
    file = write_configuration(
        tmp_path, server.url, {"wait": shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done")}
    )
    run_id = server.offer("wait")
    with running(file) as first:
        server.begun(run_id)
        eventually(lambda: attendants(tmp_path))
        assert first.end() == 0
        assert "1 run goes on without this runner" in first.log
        with running(file):
            (tmp_path / "go").touch()
            assert server.outcome(run_id)["exit_status"] == 0


def test_a_run_goes_on_while_the_server_is_gone_and_is_reported_afterwards(
    server: RunnerServer, tmp_path: Path
) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; touch {tmp_path}/done; echo worked"
    file = write_configuration(tmp_path, server.url, {"wait": shell(script)})
    run_id = server.offer("wait")
    with running(file) as runner:
        server.wait_for(lambda: server.runs[run_id].beats)
        server.is_gone = True
        eventually(lambda: "the server cannot be told, and the runs go on" in runner.log)
        (tmp_path / "go").touch()
        eventually((tmp_path / "done").exists)
        server.is_gone = False
        outcome = server.outcome(run_id)
    assert (outcome["exit_status"], outcome["output_tail"]) == (0, "worked\n")


@pytest.mark.parametrize(
    "value",
    [
        "x; touch {folder}/broken",
        "$(touch {folder}/broken)",
        "`touch {folder}/broken`",
        "x' ; touch {folder}/broken ; '",
        "\n touch {folder}/broken\n",
        "--help",
        "../../../../etc/passwd",
        "LD_PRELOAD=/evil.so",
    ],
)
def test_a_value_reaches_the_command_as_it_is_and_as_nothing_else(one_runner: OneRunner, value: str) -> None:
    given = value.format(folder=one_runner.folder)
    run_id = one_runner.server.offer("print", {"name": given})
    assert one_runner.server.outcome(run_id)["output_tail"] == given
    assert not (one_runner.folder / "broken").exists()


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"name": "x\n"}, "does not match"),
        ({"name": "x y"}, "does not match"),
        ({"name": "٣"}, "does not match"),
        ({"name": "x\x00y"}, "holds a NUL"),
        ({"name": "x" * 1001}, "longer than 1000"),
        ({}, "the parameter name is missing"),
        ({"name": "x", "path": "/evil"}, "takes no parameter path"),
        ({"name": "x", "NAME": "y"}, "takes no parameter NAME"),
        ({"name": "x", "LD_PRELOAD": "/evil.so"}, "takes no parameter LD_PRELOAD"),
        ({"name": "x", "name=y\nPATH": "/evil"}, "takes no parameter"),
    ],
)
def test_what_a_template_does_not_take_is_given_back(
    one_runner: OneRunner, parameters: dict[str, str], why: str
) -> None:
    run_id = one_runner.server.offer("touch", parameters)
    one_runner.server.wait_for(lambda: one_runner.server.runs[run_id].given_back)
    given = one_runner.server.runs[run_id].given_back
    assert given is not None
    assert why in given["reason"]
    assert given["final"] is True
    assert not (one_runner.folder / "ran").exists()


def test_a_command_sees_a_clean_environment(server: RunnerServer, tmp_path: Path) -> None:
    template = shell(
        "env; echo fds: /proc/self/fd/*; pwd", environment={"STATED": "here"}, parameters={"n": {"pattern": "[0-9]"}}
    )
    file = write_configuration(tmp_path, server.url, {"show": template})
    run_id = server.offer("show", {"n": "5"})
    with running(file):
        shown = server.outcome(run_id)["output_tail"]
    names = {line.partition("=")[0] for line in shown.splitlines() if "=" in line}
    shells_own = {"PWD", "OLDPWD", "SHLVL", "_"}
    own = {"PATH", "HOME", "LANG", "STATED", "PYLON_PARAM_N", "PYLON_RUN", "PYLON_RUN_ID"}
    assert names - shells_own <= own
    assert OWN_SECRET not in shown
    assert f"{tmp_path}/state/runs/{run_id}-fence-{run_id}-1/work" in shown


def test_limits_of_memory_and_processor_time_end_a_run(server: RunnerServer, tmp_path: Path) -> None:
    hungry = ["/usr/bin/env", "python3", "-c", "x = bytearray(900_000_000)"]
    busy = shell("while :; do :; done", limits={"cpu_s": 1})
    templates = {
        "hungry": {"command": hungry, "power_kw": 1.0, "limits": {"longest_s": 30, "memory_mb": 500}},
        "busy": busy,
    }
    file = write_configuration(tmp_path, server.url, templates)
    hungry_id, busy_id = server.offer("hungry"), server.offer("busy")
    with running(file):
        assert "MemoryError" in server.outcome(hungry_id)["output_tail"]
        assert server.outcome(busy_id)["signal"] == signal.SIGXCPU


def test_no_more_is_taken_than_the_machine_has_power_for(server: RunnerServer, tmp_path: Path) -> None:
    template = shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done", power_kw=4.0)
    file = write_configuration(tmp_path, server.url, {"big": template, "small": shell("true", power_kw=1.0)})
    big = [server.offer("big") for _ in range(3)]
    with running(file):
        server.wait_for(lambda: sum(server.runs[run_id].begun for run_id in big) == 2)
        small = server.offer("small")  # which has room when the third has none
        server.outcome(small)
        assert sum(server.runs[run_id].holder is not None for run_id in big) == 2
        (tmp_path / "go").touch()
        for run_id in big:
            server.outcome(run_id)


def test_the_key_is_sent(server: RunnerServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("pyl_secret\n")
    (tmp_path / "key").chmod(0o600)
    file = write_configuration(tmp_path, server.url, {"greet": shell("echo hello")}, key_file="key")
    with running(file):
        server.wait_for(lambda: server.registrations)
    assert server.keys == {"Bearer pyl_secret"}
