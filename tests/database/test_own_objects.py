"""What two tenants see of each other's work: nothing, through every function and table that is theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from database.errors import AccessRefused
from database.interface import Database, OrderBy, Where
from database.tenant_door import TenantDatabase
from decisions.work.notifications import OwnedJob, WorkQueue
from grid_world import NOW, data_centre, store_data_centres, store_grid
from tenants_work import decide_all, everything_seen, submission, submit
from two_operators import A, B, as_tenant, claims, claims_of, door_of, make_operators

SECRET_OF_A, SECRET_OF_B = "planted-string-of-a", "planted-string-of-b"


@pytest.fixture
def service(database: Database) -> Database:
    """A world with two operators, a data centre of each, and a battery and an agent of each."""
    make_operators(database)
    store_grid(database, NOW)
    store_data_centres(database, [data_centre(1, operator=A), data_centre(2, operator=B), data_centre(3)], NOW)
    for operator, secret in ((A, SECRET_OF_A), (B, SECRET_OF_B)):
        database.insert(
            "storage_assets",
            [
                {
                    "asset_id": f"asset-{secret}",
                    "name": secret,
                    "operator": operator,
                    "region_id": 1,
                    "capacity_mwh": 1,
                    "power_mw": 1,
                }
            ],
        )
        database.insert(
            "agents", [{"agent_id": f"agent-{secret}", "name": secret, "agent_type": "t", "operator": operator}]
        )
        database.insert("agent_states", [{"agent_id": f"agent-{secret}", "state": "STARTED", "detail": secret}])
    return database


@pytest.fixture
def door(service: Database, conninfo: str) -> Iterator[Database]:
    with door_of(service, conninfo) as door:
        yield door


@pytest.fixture
def of_a(door: Database) -> TenantDatabase:
    return as_tenant(door, claims(A))


@pytest.fixture
def of_b(door: Database) -> TenantDatabase:
    return as_tenant(door, claims(B))


def test_nothing_of_one_is_seen_by_the_other(service: Database, of_a: TenantDatabase, of_b: TenantDatabase) -> None:
    submit(of_a, submission("job-1"), submission("of-a"))
    submit(of_b, submission("job-1"), submission("of-b"))
    service.call("submit_workloads", {"p_rows": [submission("of-the-installation")]})
    assert decide_all(service) == 5
    seen_by_a, seen_by_b = everything_seen(of_a), everything_seen(of_b)
    assert SECRET_OF_A in seen_by_a
    assert SECRET_OF_B in seen_by_b
    assert f"decided for {A}" in seen_by_a
    for seen, strange in ((seen_by_a, [SECRET_OF_B, "of-b", f"decided for {B}"]), (seen_by_b, [SECRET_OF_A, "of-a"])):
        for words in [*strange, "of-the-installation", "decided for local", "decided for None"]:
            assert f'"{words}"' not in seen, words
            assert f'"agent-{words}"' not in seen, words


def test_what_is_not_theirs_is_answered_like_what_is_not_there(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    submit(of_a, submission("of-a"))
    decide_all(service)
    for function, argument in (
        ("workload_detail", "p_job_id"),
        ("task_output", "p_task_id"),
        ("current_context", "p_task_id"),
    ):
        assert of_b.call(function, {argument: "of-a"}) == of_b.call(function, {argument: "is-not-there"})
        assert of_a.call(function, {argument: "of-a"}) != of_a.call(function, {argument: "is-not-there"})
    theirs = {"p_consumer": "bpp", "p_task_id": "of-a"}
    assert of_b.call("acknowledge_output", theirs) == {"known": False, "cleared": False}
    assert of_b.call("mark_context_processed", theirs) == {"task_id": None}
    assert of_a.call("acknowledge_output", theirs) == {"known": True, "cleared": True}
    page = {"p_status": None, "p_limit": 10}
    assert of_b.call("workloads_page", {**page, "p_after": "of-a"})["known_after"] is False
    assert of_a.call("workloads_page", {**page, "p_after": "of-a"})["known_after"] is True


def test_two_tenants_may_give_their_jobs_the_same_name(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    for tenant in (of_a, of_b):
        answer = submit(tenant, submission("job-1", submission_digest=repr(tenant)))
        assert answer["created"] == ["job-1"]
    assert [row["operator"] for row in submit(of_a, submission("job-1", submission_digest=repr(of_a)))["rows"]] == [A]
    assert submit(of_a, submission("job-1", submission_digest="other")) == {"conflicts": ["job-1"]}
    assert decide_all(service) == 2
    for tenant, operator in ((of_a, A), (of_b, B)):
        found = tenant.call("task_output", {"p_task_id": "job-1"})
        assert (found["sequence"], found["output"]["decision"]["of"]) == (1, operator)
        assert service.call("task_output", {"p_task_id": "job-1", "p_operator": operator})["output"]["decision"] == {
            "of": operator
        }


def test_whoever_sees_all_is_told_of_a_name_that_anybody_has(service: Database, of_a: TenantDatabase) -> None:
    submit(of_a, submission("job-1"))
    rows = [submission("job-1"), submission("job-2")]
    assert service.call("submit_workloads", {"p_rows": rows}) == {"conflicts": ["job-1"]}
    assert service.call("workload_detail", {"p_job_id": "job-2"}) is None
    assert service.call("submit_workloads", {"p_rows": rows[1:]})["created"] == ["job-2"]
    submit(of_a, submission("job-2"))
    again = service.call("submit_workloads", {"p_rows": rows[1:]})
    assert (again["created"], len(again["rows"])) == ([], 1)  # a repetition of its own is no conflict


def test_a_submission_is_the_callers_whatever_it_says(of_a: TenantDatabase) -> None:
    assert submit(of_a, submission("x", operator=A))["rows"][0]["operator"] == A
    assert submit(of_a, submission("y"))["rows"][0]["operator"] == A
    for other in (B, "local", "platform", "no-such-operator"):
        assert submit(of_a, submission("z", operator=other)) == {
            "unknown_operators": [other],
            "known_operators": [A],
        }


def test_numbers_are_a_tenants_own_and_without_a_gap(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    for round_ in range(3):
        submit(of_a, *(submission(f"a-{round_}-{n}") for n in range(3)))
        submit(of_b, submission(f"b-{round_}"))
        decide_all(service)
    for tenant, expected in ((of_a, 9), (of_b, 3)):
        events = tenant.call("events_after", {"p_after": 0, "p_limit": 100})
        assert [event["sequence"] for event in events["events"]] == list(range(1, expected + 1))
        assert [event["event"]["_metadata"]["sequence"] for event in events["events"]] == list(range(1, expected + 1))
        assert (events["oldest"], events["newest"], events["next"]) == (1, expected, expected)
        assert [
            event["sequence"] for event in tenant.call("events_after", {"p_after": 1, "p_limit": 1})["events"]
        ] == [2]
        history = tenant.call("outputs_history", {"p_after": None, "p_limit": 2})
        assert history["next"] == expected - 1
        assert [output["_metadata"]["sequence"] for output in history["outputs"]] == [expected, expected - 1]
        decisions = tenant.call("live_state", {"p_now": NOW, "p_types": ["OrchestrationDecision"]})
        assert sorted(row["sequence"] for row in decisions["OrchestrationDecision"]) == list(range(1, expected + 1))
        assert {row["notification_id"] for row in decisions["OrchestrationDecision"]} == {None}
        page = tenant.call("workloads_page", {"p_status": None, "p_after": None, "p_limit": 100})
        assert sorted(row["decision"]["sequence"] for row in page["workloads"]) == list(range(1, expected + 1))
        rows = tenant.select("orchestration_decisions", order=OrderBy(("sequence",)))
        assert [row["sequence"] for row in rows] == list(range(1, expected + 1))
        assert [row["output"]["_metadata"]["sequence"] for row in rows] == list(range(1, expected + 1))
        assert [row["state_id"] for row in tenant.select("agent_states", order=OrderBy(("state_id",)))] == [1]
    everybodys = service.call("events_after", {"p_after": 0, "p_limit": 100})
    assert [event["sequence"] for event in everybodys["events"]] == list(range(1, 13))
    assert [event["event"]["_metadata"]["sequence"] for event in everybodys["events"]] == list(range(1, 13))
    for operator, expected in ((A, 9), (B, 3)):
        own = [event["tenant_sequence"] for event in everybodys["events"] if event["operator"] == operator]
        assert own == list(range(1, expected + 1))


def test_a_tenants_numbers_go_on_where_the_log_was_pruned(service: Database, of_a: TenantDatabase) -> None:
    submit(of_a, submission("one"), submission("two"))
    decide_all(service)
    service.delete("broadcast_log", where=[Where("sequence", 1, "gte")])
    service.delete("tenant_numbers", where=[Where("tenant", A)])
    submit(of_a, submission("three"))
    decide_all(service)
    events = of_a.call("events_after", {"p_after": 0, "p_limit": 10})
    assert [event["sequence"] for event in events["events"]] == [3]
    assert events["oldest"] == events["newest"] == 3


def test_an_event_of_nobodys_is_the_platforms(service: Database, of_a: TenantDatabase) -> None:
    service.insert("broadcast_log", [{"sequence": 7, "event_type": "note", "event": {"a": 1}}])
    assert of_a.call("events_after", {"p_after": 0, "p_limit": 10})["events"] == []
    assert len(service.call("events_after", {"p_after": 0, "p_limit": 10})["events"]) == 1


def test_consumers_are_a_tenants_own(service: Database, of_a: TenantDatabase, of_b: TenantDatabase) -> None:
    for tenant in (of_a, of_b):
        submit(tenant, submission("first"), submission("second"))
    decide_all(service)
    bpp = {"p_consumer": "bpp"}
    assert of_a.call("newest_unacknowledged_output", bpp)["sequence"] == 2
    newest = of_a.call("newest_unacknowledged_output", bpp)["output"]["task"]["job_id"]
    assert of_a.call("acknowledge_output", {**bpp, "p_task_id": newest}) == {"known": True, "cleared": True}
    assert of_a.call("newest_unacknowledged_output", bpp)["sequence"] == 1
    assert of_a.call("newest_unacknowledged_output", {**bpp, "p_known": 1})["output"] is None
    assert of_b.call("newest_unacknowledged_output", bpp)["sequence"] == 2
    assert service.call("newest_unacknowledged_output", bpp)["sequence"] == 4
    assert of_a.call("mark_context_processed", {**bpp, "p_task_id": "first"}) == {"task_id": "first"}
    assert of_a.call("current_context", {"p_task_id": "first"})["processed_by"] == ["bpp"]
    assert of_b.call("current_context", {"p_task_id": "first"})["processed_by"] == []


def test_a_reader_reads_and_changes_nothing(service: Database, door: Database, of_a: TenantDatabase) -> None:
    submit(of_a, submission("job-1"))
    decide_all(service)
    for document in (claims(A, "reader"), claims_of("user-a-admin", A, role="reader")):
        reader = as_tenant(door, document)
        assert reader.call("workload_detail", {"p_job_id": "job-1"})["workload"]["operator"] == A
        for function, arguments in (
            ("submit_workloads", {"p_rows": [submission("x")]}),
            ("acknowledge_output", {"p_consumer": "bpp", "p_task_id": "job-1"}),
            ("mark_context_processed", {"p_consumer": "bpp", "p_task_id": "job-1"}),
        ):
            with pytest.raises(AccessRefused):
                reader.call(function, arguments)


def test_an_operator_has_no_more_open_jobs_than_it_may(service: Database, of_a: TenantDatabase) -> None:
    service.call("tenancy_set_limit", {"p_operator": A, "p_name": "open_jobs", "p_capacity": 2})
    assert submit(of_a, submission("1"), submission("2"))["created"] == ["1", "2"]
    refused = submit(of_a, submission("3"))
    assert refused == {"over_limit": {"limit": "open_jobs", "allowed": 2, "open": 2}}
    assert submit(of_a, submission("2"))["created"] == []  # a repetition takes no place
    service.update("compute_workloads", {"status": "CANCELLED"}, where=[Where("job_id", "1")])
    assert submit(of_a, submission("3"))["created"] == ["3"]


def test_a_host_sees_what_is_placed_with_it_while_it_is(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    submit(of_a, submission("here"), submission("elsewhere"))
    for job_id, status in (("here", "QUEUED"), ("elsewhere", "COMPLETED")):
        service.update(
            "compute_workloads", {"status": status, "host_dc_id": "DC-002"}, where=[Where("job_id", job_id)]
        )
    (hosted,) = of_b.call("own_hosted_workloads")
    assert (hosted["job_id"], hosted["operator"], hosted["host_dc_id"]) == ("here", A, "DC-002")
    assert not {"max_price_gbp", "carbon_cap_gco2", "submission_digest", "urgency", "workload_type"} & set(hosted)
    assert of_a.call("own_hosted_workloads") == []
    assert of_b.call("workload_detail", {"p_job_id": "here"}) is None


def test_how_full_a_data_centre_is_all_see_and_not_by_whom_nor_what_was(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    """As docs/tenancy.md says under "How full a data centre is"."""

    def seen_by_b() -> str:
        return everything_seen(of_b) + json.dumps(of_b.call("capacity_at", {"p_now": NOW}))

    submit(of_a, submission(SECRET_OF_A))
    before = seen_by_b()
    booking = {
        "dc_id": "DC-001",
        "tenant": A,
        "job_id": SECRET_OF_A,
        "source": "decision",
        "it_power_kw": 3.713257,
        "starts_at": NOW,
        "ends_at": NOW + timedelta(hours=2),
        "scheduled_at": NOW,
        "carried_out_by": "simulation",
    }
    (held,) = service.insert("capacity_bookings", [booking])
    at_all_see = [of.call("capacity_at", {"p_now": NOW})["free_it_kw"]["DC-001"] for of in (of_a, of_b)]
    assert at_all_see[0] == at_all_see[1]
    assert len(at_all_see[0]) == 2  # less is free until it ends
    assert SECRET_OF_A not in seen_by_b()
    ended = [Where("booking_id", held["booking_id"])]
    service.update("capacity_bookings", {"state": "RELEASED"}, where=ended)
    assert seen_by_b() == before


def test_a_child_cannot_be_filed_under_another_tenant(service: Database, of_a: TenantDatabase) -> None:
    submit(of_a, submission("job-1"))
    for table, row in (
        ("processed_contexts", {"tenant": B, "consumer": "x", "job_id": "job-1"}),
        ("workload_notifications", {"tenant": B, "job_id": "job-1"}),
        ("agent_states", {"tenant": B, "agent_id": f"agent-{SECRET_OF_A}", "state": "STARTED"}),
    ):
        with pytest.raises(Exception, match="foreign key"):
            service.insert(table, [row])


def test_what_is_filed_without_a_tenant_is_its_workloads(service: Database, of_a: TenantDatabase) -> None:
    submit(of_a, submission("job-1"))
    (row,) = service.insert("processed_contexts", [{"consumer": "x", "job_id": "job-1"}])
    assert row["tenant"] == A
    service.call("submit_workloads", {"p_rows": [submission("job-2")]})
    submit(of_a, submission("job-2"))
    with pytest.raises(Exception, match="say whose is meant"):
        service.insert("processed_contexts", [{"consumer": "x", "job_id": "job-2"}])


def test_a_bare_name_that_two_tenants_have_gives_no_context(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    """A program of an earlier version asks so: it must not decide one tenant's job on the other's."""
    submit(of_a, submission("job-1", required_gpu_mins=1))
    submit(of_b, submission("job-1", required_gpu_mins=2))
    queue = WorkQueue(service, "pylon-test", lease_seconds=60)
    assert "job-1" not in queue.contexts(["job-1"], NOW)
    both = queue.contexts([OwnedJob(A, "job-1"), OwnedJob(B, "job-1")], NOW)
    assert both.task_row(OwnedJob(A, "job-1"))["task"]["required_gpu_mins"] == 1
    assert both.task_row(OwnedJob(B, "job-1"))["task"]["required_gpu_mins"] == 2


def test_what_was_given_up_is_shown_to_its_own_operator(
    service: Database, of_a: TenantDatabase, of_b: TenantDatabase
) -> None:
    submit(of_a, submission("job-1"))
    service.update("workload_notifications", {"work_state": "discarded"}, where=[Where("job_id", "job-1")])
    key = {"domain": "d", "url": "https://a.example", "valid_from": NOW, "valid_until": NOW.replace(year=2030)}
    for operator, name in ((A, "bap.a.example"), (B, "bap.b.example")):
        subscriber = {**key, "subscriber_id": name, "key_id": "1", "type": "BAP", "signing_public_key": name}
        service.call("beckn_register", {"p_subscriber": {**subscriber, "operator": operator}})
    message = {
        "recipient": "bap.a.example",
        "sender": "bpp.example",
        "action": "on_select",
        "transaction_id": "00000000-0000-4000-8000-000000000001",
        "message_id": "00000000-0000-4000-8000-000000000002",
        "body": "secret",
        "answer": {},
        "work_state": "discarded",
        "last_error": "it broke",
    }
    service.insert("beckn_inbox", [message])
    found = of_a.call("own_dead_letters")
    assert [row["job_id"] for row in found["notifications"]] == ["job-1"]
    assert [row["last_error"] for row in found["inbox"]] == ["it broke"]
    assert "secret" not in json.dumps(found)
    assert of_b.call("own_dead_letters") == {"notifications": [], "inbox": [], "outbox": []}
