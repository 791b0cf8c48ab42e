"""The plan command, asking a real API server."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from pydantic import SecretStr

import plan
from api_application import create_app
from database.postgres import PostgresDatabase
from grid_world import NOW, data_centre, store_data_centres, store_grid
from served import Client, served
from server_process import free_port
from settings import Settings, load_settings

JOB = {
    "job_id": "train-1",
    "workload_type": "TRAINING_RUN",
    "required_gpu_mins": 1200,
    "carbon_cap_gco2": 25,
    "deferral_window_mins": 720,
}
KEY = "key-of-this-test"


@pytest.fixture
def server(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """An API server over two data centres, one of them above the workload's carbon cap, that the settings name."""
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(1), data_centre(2, status="MAINTENANCE"), data_centre(3)])
    settings = Settings(pylon_api_key=SecretStr(KEY))
    with served(create_app(postgres, settings, clock=lambda: NOW)) as client:
        port = urlsplit(client.url).port
        named = {"API_PORT": str(port), "PYLON_API_KEY": KEY}
        monkeypatch.setattr(plan, "load_settings", lambda: load_settings(named))
        yield client


@pytest.fixture
def workload_file(tmp_path: Path) -> Path:
    file = tmp_path / "workload.json"
    file.write_text(json.dumps(JOB), encoding="utf-8")
    return file


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert plan.main(arguments) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert plan.main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("plan: ")
    assert output.err.count("\n") == 1
    return output.err


def test_it_prints_the_places_considered_and_the_chosen_one(
    server: Client, workload_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, str(workload_file))
    lines = text.splitlines()
    assert lines[0] == "train-1: TRAINING_RUN, MEDIUM, 7.68 kW for 2 h 30 min (19.2 kWh of IT energy, modelled)"
    table = lines[lines.index("Considered:") + 1 :]
    assert table[0].split()[:2] == ["DATA", "CENTRE"]
    assert [row.split()[0] for row in table[1:4]] == ["DC-001", "DC-002", "DC-003"]
    assert table[1].endswith("chosen")
    assert "Sun 22 Nov 08:04" in table[1]
    assert table[2].endswith("not possible")
    assert table[3].endswith("not possible")
    assert "DC-003: carbon intensity reaches" in text
    assert "DC-002: the data centre is MAINTENANCE" in text
    assert "\nChosen: Data centre 1 (Place 1), starting now: no other data centre can take it.\n" in text


def test_the_columns_stand_under_their_titles(
    server: Client, workload_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, str(workload_file)).splitlines()
    heading, chosen, *_ = lines[lines.index("Considered:") + 1 :]
    for title, cell in (("START (UTC)", "Sun 22 Nov 08:04"), ("PLACE", "Place 1")):
        assert heading.index(title) == chosen.index(cell)
    ends = [heading.index(title) + len(title) for title in ("  COST", "NOW: COST", "SCORE")]
    assert all(chosen[end - 1] != " " and chosen[end : end + 1] in (" ", "") for end in ends)


def test_it_asks_for_the_policy_and_the_moment_given(
    server: Client, workload_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, str(workload_file), "--policy", "carbon", "--at", "2026-11-22T10:30:00Z")
    assert "Policy carbon, £100 per tonne of CO2" in text
    assert "Sun 22 Nov 10:30" in text


def test_it_reads_standard_input(
    server: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(JOB)))
    assert "Chosen: " in printed(capsys, "-")


def test_a_workload_that_nothing_can_take_is_not_placed_and_the_reason_is_given(
    server: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "capped.json"
    file.write_text(json.dumps({**JOB, "carbon_cap_gco2": 1}), encoding="utf-8")
    text = printed(capsys, str(file))
    assert "\nNot placed: At DC-001, which comes closest to taking it: carbon intensity reaches" in text
    assert "chosen" not in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps({**JOB, "urgency": "SOON"}), "invalid: urgency"),
        (json.dumps([JOB]), "invalid: body"),
        ("{", "is not JSON"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    server: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(content, encoding="utf-8")
    assert said in refused(capsys, str(file))
    assert "cannot be read: No such file" in refused(capsys, str(tmp_path / "none.json"))


def test_a_moment_outside_the_forecast_is_refused(
    server: Client, workload_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "invalid: at is not within the forecast" in refused(
        capsys, str(workload_file), "--at", "2030-01-01T00:00:00Z"
    )


def command(file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(plan.__file__)
    return subprocess.run(
        [sys.executable, str(script), str(file)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_server_it_says_so_in_a_line(workload_file: Path) -> None:
    port = free_port()
    done = command(workload_file, API_PORT=str(port))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"plan: no API server answers at http://127.0.0.1:{port}: start it with python backend/api_server.py, "
        "or set API_HOST and API_PORT\n"
    )


def test_a_wrong_setting_is_said_in_a_line(workload_file: Path) -> None:
    done = command(workload_file, API_PORT="none")
    assert done.returncode == 1
    assert done.stderr.startswith("plan: API_PORT='none' is refused")
    assert done.stderr.count("\n") == 1


def test_another_server_is_recognised(
    workload_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    other = Flask("other")
    other.add_url_rule("/api/v1/plan", view_func=lambda: {"hello": "there"}, methods=["POST"])
    with served(other) as client:
        monkeypatch.setattr(plan, "load_settings", lambda: Settings(api_port=urlsplit(client.url).port or 0))
        assert "is not this version's API server" in refused(capsys, str(workload_file))
