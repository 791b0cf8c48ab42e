"""Three gateways, a model that is slow and fails, kills, pauses and a database that dies: every effect exactly once.

The work is two operators', who name their jobs alike. Each listens with a key of its own and hears its own decisions,
in its own numbers, and the platform hears all of them.

It sends signals to processes that it started, and ends by itself.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from clock import utc_now
from database.embedded_database import EmbeddedDatabase
from database.interface import OrderBy, Row
from database.schema import install_schema
from database.versions import newest
from earlier_program import earlier_backend, earlier_versions
from grid_world import store_world, workload
from killed_gateways import GATEWAYS, Fleet, wait_until
from model_server import HTML, ModelRequest, ModelServer, Reply, answer, error, judgements
from server_process import postgres_of
from sse_reader import SseReader
from tenant_settings import PLATFORM_KEY, bearer, made_key, with_tenants

OPERATORS = ("op-a", "op-b")
FIRST_WITH_TENANTS = 3
"""The first version of the schema whose programs tell callers apart."""
WORKLOADS = 300
TROUBLE_S = 35.0
FEWEST_KILLS = 5
SETTLED_WITHIN_S = 60.0


def slow_and_failing(chance: random.Random) -> Callable[[ModelRequest], Reply]:
    """A good answer after a while, or one of the bad ones."""

    def reply(request: ModelRequest) -> Reply:
        wait_s = chance.uniform(0.02, 0.8)
        good = answer(judgements(dict.fromkeys(request.dc_ids, 60)), wait_s=wait_s)
        bad = [
            error(500),
            error(429, "RESOURCE_EXHAUSTED", retry_delay="0.2s"),
            answer("not JSON", wait_s=wait_s),
            answer(judgements({}), wait_s=wait_s),
            HTML,
            Reply(hang_up=True),
        ]
        return chance.choice(bad) if chance.random() < 0.5 else good

    return reply


def in_order(database: EmbeddedDatabase, table: str, column: str) -> list[Row]:
    return database.select(table, order=OrderBy((column,)))


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("earlier", [None, *earlier_versions()])
def test_every_workload_becomes_one_decision_that_every_reader_sees_once(
    data_dir: Path, tmp_path: Path, earlier: int | None
) -> None:
    """Also while gateways are replaced one after the other: half of them, as good as, run an earlier program."""
    chance = random.Random(1)
    database = EmbeddedDatabase(data_dir)
    install_schema(database)
    store_world(database, utc_now(), data_centres=4)
    database.insert("operators", [{"operator_id": operator, "name": operator} for operator in OPERATORS])
    # An earlier program knows jobs by their ids alone.
    jobs = jobs_of_two(named_alike=earlier is None)
    has_tenants = earlier is None or earlier >= FIRST_WITH_TENANTS
    with ExitStack() as stack:
        model = stack.enter_context(ModelServer(then=slow_and_failing(chance)))
        fleet = Fleet(
            tmp_path,
            {
                "PYLON_DATA_DIR": str(data_dir),
                "GEMINI_API_KEY": "a-key",
                "GEMINI_BASE_URL": model.url,
                "BG_POLL_SECONDS": "0.5",
                **(with_tenants() if has_tenants else {}),
            },
        )
        if earlier is not None:
            backend = earlier_backend(earlier, tmp_path)
            fleet.earlier = dict.fromkeys(fleet.ports[::2], backend)
        for port in fleet.ports:
            fleet.start(port)
        stack.callback(fleet.end)
        wait_until(lambda: len(fleet.at_work()) == GATEWAYS)
        readers = [
            (operator, stack.enter_context(listening(fleet, chance, headers)))
            for operator, headers in (listeners(database) if has_tenants else [(None, {})] * GATEWAYS)
        ]
        _make_trouble(fleet, database, data_dir, chance, jobs)
        until = time.monotonic() + SETTLED_WITHIN_S
        for operator, reader in readers:
            due = WORKLOADS if operator is None else WORKLOADS // 2
            reader.wait_for(due, timeout_s=max(1, until - time.monotonic()))
        time.sleep(1)  # for what should not come

    # One log without a gap: the decisions, and that agents decided otherwise for a while, without the model.
    log = in_order(database, "broadcast_log", "sequence")
    assert [event["sequence"] for event in log] == list(range(1, len(log) + 1))
    told = [event for event in log if event["topic"] == "decisions"]
    assert {event["event_type"] for event in log if event["topic"] != "decisions"} <= {"agent.changed"}
    decisions = in_order(database, "orchestration_decisions", "sequence")
    assert [decision["sequence"] for decision in decisions] == [event["sequence"] for event in told]
    assert sorted((each["tenant"], each["job_id"]) for each in decisions) == sorted(jobs)
    for operator in OPERATORS:
        own = [decision for decision in decisions if decision["tenant"] == operator]
        numbers = list(range(1, WORKLOADS // 2 + 1))
        assert [decision["tenant_sequence"] for decision in own] == numbers
        events = [event for event in log if event["tenant"] == operator]
        assert [event["tenant_sequence"] for event in events] == numbers
        assert [event["job_id"] for event in events] == [decision["job_id"] for decision in own]
    for operator, reader in readers:
        heard = [each for each in decisions if operator in {None, each["tenant"]}]
        assert reader.ids == [each["sequence" if operator is None else "tenant_sequence"] for each in heard]
        assert [event.data["_metadata"]["sequence"] for event in reader.events] == reader.ids
        assert [event.data["task"]["job_id"] for event in reader.events] == [each["job_id"] for each in heard]
    notifications = in_order(database, "workload_notifications", "notification_id")
    assert {notification["work_state"] for notification in notifications} == {"completed"}
    # And there was trouble: leases were lost, the model was asked and failed.
    assert fleet.kills >= FEWEST_KILLS
    assert max(notification["attempt"] for notification in notifications) > 1
    assert {decision["scorer"] for decision in decisions} == {"gemini", "deterministic"}
    assert database.select("schema_version", order=OrderBy(("version",)))[-1]["version"] == newest().version
    database.close()


def listeners(database: EmbeddedDatabase) -> list[tuple[str | None, dict[str, str]]]:
    """The platform and each operator: whose decisions they hear (None: everybody's), and what they say they are."""
    keys = [(operator, bearer(made_key(database, operator)[0].text)) for operator in OPERATORS]
    return [(None, bearer(PLATFORM_KEY)), *keys]


def listening(fleet: Fleet, chance: random.Random, headers: dict[str, str]) -> SseReader:
    """As EventSource would: back to whichever gateway answers; one that is silent for long is given up."""
    return SseReader(
        lambda: chance.choice(fleet.ports),
        path="/beckn/broadcast?after=0",
        retries=True,
        silence_s=12,
        headers=headers,
    )


def jobs_of_two(*, named_alike: bool) -> list[tuple[str, str]]:
    """As many as WORKLOADS, in turn of each operator: (operator, job_id)."""
    return [(OPERATORS[n % 2], f"job-{n // 2 if named_alike else n}") for n in range(WORKLOADS)]


def _make_trouble(
    fleet: Fleet, database: EmbeddedDatabase, data_dir: Path, chance: random.Random, jobs: list[tuple[str, str]]
) -> None:
    began = time.monotonic()
    submitted = 0
    timer: threading.Timer | None = None
    database_killed = False
    while (elapsed := time.monotonic() - began) < TROUBLE_S or (
        fleet.kills < FEWEST_KILLS and elapsed < 2 * TROUBLE_S
    ):
        while submitted < min(WORKLOADS, WORKLOADS * elapsed / (0.8 * TROUBLE_S)):
            # Repeated by itself should the database die meanwhile, and then nothing is stored twice.
            rows = [workload(job_id, operator=operator) for operator, job_id in jobs[submitted : submitted + 10]]
            database.upsert("compute_workloads", rows, conflict=["tenant", "job_id"])
            submitted += 10
        at_work = fleet.at_work()
        if timer is None and elapsed > 8 and at_work:
            timer = fleet.pause(at_work.pop())
        if not database_killed and elapsed > 18 and (server := postgres_of(data_dir)) is not None:
            server.kill()
            database_killed = True
        if len(at_work) > 1:  # one goes on, so that there is something to disturb
            fleet.kill(chance.choice(at_work), chance.choice(["serving", "deciding", "both"]))
        time.sleep(1)
    if timer is not None:
        timer.join()
    assert database_killed
    assert submitted == WORKLOADS
