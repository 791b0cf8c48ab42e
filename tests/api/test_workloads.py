from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests

from api_application import create_app
from database.interface import Database, OrderBy, Row
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from grid_world import NOW, data_centre, store_data_centres, submit, workload
from served import Client, served
from settings import load_settings

TOMORROW = rfc3339(NOW + timedelta(days=1))
SMALLEST: Row = {"workload_type": "OTHER"}
FULL: Row = {
    "job_id": "train-llm-7",
    "workload_type": "TRAINING_RUN",
    "urgency": "LOW",
    "required_gpu_mins": 4800,
    "required_cpu_cores": 64,
    "required_memory_gb": 512.5,
    "estimated_energy_kwh": 0,
    "carbon_cap_gco2": 0,
    "max_price_gbp": 60,
    "deadline": "2026-11-23T18:00:00+01:00",
    "deferral_window_mins": 720,
}


def stored(database: Database) -> list[str]:
    return [row["job_id"] for row in database.select("compute_workloads", order=OrderBy(("job_id",)))]


def is_problem(answer: requests.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, after a look at its form."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["type"]) == (status, "about:blank")
    assert document["title"]
    assert document["detail"]
    assert "Traceback" not in answer.text
    return document


def fields(answer: requests.Response) -> list[str]:
    return [error["field"] for error in is_problem(answer, 422)["errors"]]


def test_a_workload_is_stored_as_sent_and_asks_for_a_decision(api_through: Client, database: Database) -> None:
    answer = api_through.post("/api/v1/workloads", FULL)
    assert answer.status_code == 201
    document = answer.json()
    assert document["created"] == ["train-llm-7"]
    (row,) = document["workloads"]
    assert {name: row[name] for name in FULL} == FULL | {"deadline": "2026-11-23T17:00:00Z"}
    assert (row["status"], row["is_synthetic"], row["operator"]) == ("PENDING", False, None)
    asked = database.select("workload_notifications", order=OrderBy(("notification_id",)))
    assert [(one["job_id"], one["work_state"]) for one in asked] == [("train-llm-7", "available")]
    seen = api_through.get("/api/v1/workloads/train-llm-7").json()
    assert seen == row | {"decision": None}


def test_what_is_left_out_is_null_and_a_job_id_is_made_up(api: Client) -> None:
    (row,) = api.post("/api/v1/workloads", SMALLEST).json()["workloads"]
    assert row["job_id"].startswith("JOB-")
    assert (row["urgency"], row["deadline"], row["required_gpu_mins"], row["host_dc_id"]) == (
        "MEDIUM",
        None,
        None,
        None,
    )


def test_the_same_submission_again_is_200_and_stores_nothing(api_through: Client, database: Database) -> None:
    first = api_through.post("/api/v1/workloads", FULL)
    again = api_through.post("/api/v1/workloads", FULL | {"deadline": "2026-11-23T17:00:00Z"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"created": [], "workloads": first.json()["workloads"]}
    assert stored(database) == ["train-llm-7"]


def test_a_submission_that_differs_under_a_stored_job_id_is_409(api_through: Client, database: Database) -> None:
    api_through.post("/api/v1/workloads", FULL)
    answer = api_through.post("/api/v1/workloads", [SMALLEST | {"job_id": "new"}, FULL | {"max_price_gbp": 61}])
    document = is_problem(answer, 409)
    assert document["conflicts"] == ["train-llm-7"]
    assert "job_id train-llm-7 is already stored" in document["detail"]
    assert stored(database) == ["train-llm-7"]


def test_a_list_is_stored_whole_in_its_order(api: Client) -> None:
    jobs = [SMALLEST | {"job_id": f"job-{number:04d}"} for number in reversed(range(1000))]
    answer = api.post("/api/v1/workloads", jobs)
    assert answer.status_code == 201
    assert [row["job_id"] for row in answer.json()["workloads"]] == [job["job_id"] for job in jobs]
    assert len(answer.json()["created"]) == 1000


def test_one_workload_too_many_stores_none(api: Client, postgres: PostgresDatabase) -> None:
    assert fields(api.post("/api/v1/workloads", [SMALLEST] * 1001)) == ["body"]
    assert fields(api.post("/api/v1/workloads", [])) == ["body"]
    assert stored(postgres) == []


def test_two_of_one_job_id_in_a_request_are_refused(api: Client, postgres: PostgresDatabase) -> None:
    job = SMALLEST | {"job_id": "twin"}
    answer = api.post("/api/v1/workloads", [job, SMALLEST, job])
    assert fields(answer) == ["2.job_id"]
    assert "is the same as 0.job_id" in answer.json()["detail"]
    assert stored(postgres) == []


def test_many_clients_that_send_the_same_at_once_create_it_once(api: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post("/api/v1/workloads", FULL), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1


NOT_FINITE = [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e999", "1e999")]
BAD_VALUES: list[tuple[str, str]] = [
    ("workload_type", '"MINING"'),
    ("workload_type", "null"),
    ("workload_type", "1"),
    ("urgency", '"low"'),
    ("urgency", "null"),
    ("job_id", '""'),
    ("job_id", '"job 1"'),
    ("job_id", '"job/1"'),
    ("job_id", '"job\\u00001"'),
    ("job_id", '"\\ud800"'),
    ("job_id", '"\\ud83d\\ude00"'),
    ("job_id", '"job\\n"'),
    ("job_id", json.dumps("a" * 65)),
    ("job_id", json.dumps("a" * 10_000)),
    ("job_id", "7"),
    ("job_id", "null"),
    ("operator", '"\\ud800"'),
    ("host_dc_id", json.dumps("x" * 10_000)),
    *(("required_gpu_mins", text) for text, _ in NOT_FINITE),
    ("required_gpu_mins", "-0.5"),
    ("required_gpu_mins", "null"),
    ("required_gpu_mins", "true"),
    ("required_gpu_mins", '"60"'),
    ("required_gpu_mins", "1" + "0" * 400),
    ("required_gpu_mins", "[60]"),
    ("required_cpu_cores", "8.5"),
    ("required_cpu_cores", "8.0"),
    ("required_cpu_cores", "true"),
    ("required_cpu_cores", "2147483648"),
    ("required_cpu_cores", str(2**64)),
    ("required_cpu_cores", "NaN"),
    ("deferral_window_mins", "-1"),
    ("deferral_window_mins", "525601"),
    ("max_price_gbp", "-1"),
    ("carbon_cap_gco2", '{"value": 5}'),
    ("deadline", '"2026-11-22T08:04:11Z"'),
    ("deadline", '"2026-11-21T00:00:00Z"'),
    ("deadline", '"2026-11-23T08:00:00"'),
    ("deadline", '"2026-11-23"'),
    ("deadline", '"tomorrow"'),
    ("deadline", '"1900000000"'),
    ("deadline", "1900000000"),
    ("deadline", '"0001-01-01T00:00:00+14:00"'),
    ("deadline", '"9999-12-31T23:59:59-14:00"'),
    ("deadline", "null"),
    ("status", '"COMPLETED"'),
    ("is_synthetic", "true"),
    ("one", "1"),
    ("<one>", "1"),
    ("\N{FACTORY}", "1"),
]


@pytest.fixture(scope="module")
def bad_input(world: Client) -> Client:
    """The server that everything bad is sent to; nothing of it may be stored."""
    return world


def send(client: Client, text: str) -> requests.Response:
    return client.post("/api/v1/workloads", data=text.encode(), headers={"Content-Type": "application/json"})


def document_with(field: str, value: str) -> str:
    others = {} if field == "workload_type" else SMALLEST
    return "{" + ", ".join([*(f'"{name}": "{text}"' for name, text in others.items()), f'"{field}": {value}']) + "}"


@pytest.mark.parametrize(("field", "value"), BAD_VALUES, ids=lambda text: text[:40])
def test_a_bad_value_is_422_and_names_its_field(bad_input: Client, field: str, value: str) -> None:
    before = bad_input.get("/api/v1/workloads").json()
    single = send(bad_input, document_with(field, value))
    assert fields(single) == [field]
    assert field in single.json()["detail"]
    good = json.dumps(SMALLEST | {"job_id": "good"})
    among_others = send(bad_input, f"[{good}, {document_with(field, value)}]")
    assert fields(among_others) == [f"1.{field}"]
    assert bad_input.get("/api/v1/workloads").json() == before


@pytest.mark.parametrize(
    "body",
    ["null", "1", "true", '"text"', json.dumps(json.dumps(SMALLEST)), "[1]", "[null]", "[[]]", "{}"],
)
def test_json_that_is_no_workload_is_422(bad_input: Client, body: str) -> None:
    assert fields(send(bad_input, body)) == [{"[": "0", "{": "workload_type"}.get(body[0], "body")]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'workload_type': 'OTHER'}", b"\xff\xfe\x00", b"[" * 100_000, b"nul"],
)
def test_a_body_that_is_no_json_is_400(bad_input: Client, body: bytes) -> None:
    answer = bad_input.post("/api/v1/workloads", data=body, headers={"Content-Type": "application/json"})
    assert "the body is not JSON" in is_problem(answer, 400)["detail"]


@pytest.mark.parametrize("name", ["", "\\ud800", "\\u0000", "a" * 10_000])
def test_a_field_without_a_proper_name_is_422(bad_input: Client, name: str) -> None:
    assert len(fields(send(bad_input, document_with(name, "1")))) == 1


def test_a_document_within_documents_without_end_is_refused(bad_input: Client) -> None:
    deep = "[" * 900 + "]" * 900
    assert is_problem(send(bad_input, deep), 422)["errors"]
    assert fields(send(bad_input, document_with("job_id", deep))) == ["job_id"]


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data; boundary=x"],
)
def test_a_body_of_another_type_is_415(bad_input: Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = bad_input.post("/api/v1/workloads", data=json.dumps(SMALLEST).encode(), headers=headers)
    assert "application/json" in is_problem(answer, 415)["detail"]


def test_a_charset_beside_the_type_is_fine(api: Client) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert api.post("/api/v1/workloads", data=json.dumps(SMALLEST).encode(), headers=headers).status_code == 201


def test_a_body_over_1_mib_is_413_and_one_just_below_is_read(bad_input: Client) -> None:
    def padded(length: int) -> bytes:
        text = json.dumps({"workload_type": "MINING"}).encode()
        return text + b" " * (length - len(text))

    headers = {"Content-Type": "application/json"}
    too_long = bad_input.post("/api/v1/workloads", data=padded(1024 * 1024 + 1), headers=headers)
    assert "1 MiB" in is_problem(too_long, 413)["detail"]
    assert fields(bad_input.post("/api/v1/workloads", data=padded(1024 * 1024), headers=headers)) == ["workload_type"]


def test_many_faults_are_named_at_once(bad_input: Client) -> None:
    answer = send(bad_input, '{"workload_type": "MINING", "urgency": null, "required_gpu_mins": -1, "colour": "red"}')
    assert sorted(fields(answer)) == ["colour", "required_gpu_mins", "urgency", "workload_type"]
    lots = send(bad_input, json.dumps([{"workload_type": "MINING"}] * 1000))
    assert len(fields(lots)) == 100


def test_an_unknown_operator_or_data_centre_is_422_and_lists_the_known(bad_input: Client) -> None:
    answer = bad_input.post("/api/v1/workloads", SMALLEST | {"operator": "OP-404"})
    assert fields(answer) == ["operator"]
    assert answer.json()["known_operators"] == ["OP-GRID"]
    answer = bad_input.post("/api/v1/workloads", SMALLEST | {"host_dc_id": "DC-404"})
    assert fields(answer) == ["host_dc_id"]
    assert answer.json()["known_data_centres"] == ["DC-001", "DC-002"]


def test_workloads_are_listed_newest_first_in_pages(api_through: Client, database: Database) -> None:
    for number in range(5):
        submit(database, workload(f"job-{number}"))
    found, after = [], ""
    for _ in range(3):
        page = api_through.get(f"/api/v1/workloads?limit=2{after}").json()
        found.append([row["job_id"] for row in page["workloads"]])
        after = f"&after={page['next']}"
    assert found == [["job-4", "job-3"], ["job-2", "job-1"], ["job-0"]]
    assert page["next"] is None


def test_workloads_are_listed_by_status(api: Client, postgres: PostgresDatabase) -> None:
    submit(postgres, workload("waits"), workload("runs"))
    postgres.insert("compute_workloads", [workload("done") | {"status": "COMPLETED"}])
    page = api.get("/api/v1/workloads?status=COMPLETED").json()
    assert [row["job_id"] for row in page["workloads"]] == ["done"]
    assert len(api.get("/api/v1/workloads?status=PENDING").json()["workloads"]) == 2


def test_a_workload_shows_its_decision_whole_alone_and_in_brief_in_lists(world: Client) -> None:
    alone = world.get("/api/v1/workloads/job-1").json()
    assert alone["decision"]["chosen_dc_id"] == "DC-001"
    assert alone["decision"]["output"] == {"task": {"job_id": "job-1"}}
    listed = {row["job_id"]: row for row in world.get("/api/v1/workloads").json()["workloads"]}
    assert listed["job-1"]["decision"] == alone["decision"] | {"output": None}
    assert listed["job-2"]["decision"] is None


@pytest.mark.parametrize("job_id", ["nobody", "%00", "%F0%9F%98%80", "%ED%A0%80", "a%20b", "'; drop table x"])
def test_an_unknown_job_is_404(world: Client, job_id: str) -> None:
    assert "there is no workload" in is_problem(world.get(f"/api/v1/workloads/{job_id}"), 404)["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("status=DONE", "status"),
        ("after=%00", "after"),
        ("colour=red", "colour"),
    ],
)
def test_a_bad_parameter_is_422_and_named(world: Client, query: str, field: str) -> None:
    assert fields(world.get(f"/api/v1/workloads?{query}")) == [field]


def test_a_cursor_that_is_no_job_is_422(world: Client) -> None:
    assert "after='nobody'" in is_problem(world.get("/api/v1/workloads?after=nobody"), 422)["detail"]


def test_with_an_api_key_only_who_sends_it_may_write(postgres: PostgresDatabase) -> None:
    key = "a-key-for-this-test"
    store_data_centres(postgres, [data_centre(1)])
    settings = load_settings({"PYLON_API_KEY": key})
    with served(create_app(postgres, settings, clock=lambda: NOW)) as api:

        def post(authorization: str | None) -> requests.Response:
            headers = {} if authorization is None else {"Authorization": authorization}
            return api.post("/api/v1/workloads", SMALLEST, headers=headers)

        for wrong in (None, "", "Bearer", "Bearer ", f"Bearer {key}x", f"Basic {key}", key, "Bearer \xff"):
            answer = post(wrong)
            assert "PYLON_API_KEY" in is_problem(answer, 401)["detail"]
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert stored(postgres) == []
        assert api.get("/api/v1/workloads").status_code == 200
        assert post(f"Bearer {key}").status_code == 201
        assert post(f"bearer {key}").status_code == 201
