"""A platform stands in the registry for as long as one of its processes runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from beckn.network.inbox import Inbox
from beckn.network.participant import Participant
from beckn.network.presence import Presence
from beckn.network.reception import IncomingMessage
from beckn.network.subscribers import Registry, Role, SubscriptionQuery, SubscriptionStatus
from beckn.protocol.acknowledgement import Refused
from beckn.protocol.context import read_context
from beckn.protocol.objects import Action, Subscriber
from beckn.registry import answer, parser
from beckn_network import a_message, buyer, eventually, in_bytes
from clock import utc_now
from database.embedded import EmbeddedPostgres
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from new_database import as_url, new_database
from server_process import ServerProcess, free_port

PLATFORM = Subscriber("provider.example", "http://127.0.0.1:5053/beckn")
BUYER = buyer()


@pytest.fixture
def joined(database: Database, tmp_path: Path) -> Participant:
    return Participant.join(database, PLATFORM, Role.BPP, data_dir=tmp_path, authenticates=True)


@contextmanager
def running(database: Database, worker: str, **times: float) -> Iterator[Presence]:
    presence = Presence(database, PLATFORM.subscriber_id, Role.BPP, worker, **times)
    presence.start()
    try:
        yield presence
    finally:
        presence.stop()


def is_searched(database: Database) -> bool:
    """Whether a gateway passes a search on to it."""
    body = in_bytes(a_message(Action.SEARCH, BUYER))
    context = read_context(body, Action.SEARCH, now=utc_now())
    message = IncomingMessage(Action.SEARCH, context, body, BUYER.subscriber_id, None, None)
    try:
        return Inbox(database, "gateway.example").relay(message).is_ack
    except Refused as refused:
        return refused.error.code != "30001"


def listed(database: Database) -> str:
    return answer(parser().parse_args(["list"]), Registry(database), utc_now())


def killed(database: Database, worker: str) -> None:
    """Let the time pass for which a process that was killed is believed to run."""
    past = utc_now() - timedelta(seconds=1)
    database.update("beckn_presences", {"present_until": past}, where=[Where("worker", worker)])
    database.update("beckn_subscribers", {"present_until": past}, where=[Where("type", "BPP")])


@pytest.mark.usefixtures("joined")
def test_a_platform_that_ended_is_neither_searched_nor_listed(database: Database) -> None:
    with running(database, "one"):
        assert is_searched(database)
        assert "provider.example" in listed(database)
    assert not is_searched(database)
    assert "provider.example" not in listed(database)
    registry = Registry(database)
    assert registry.lookup(SubscriptionQuery(subscriber_id="provider.example"), utc_now()) == []
    query = SubscriptionQuery(subscriber_id="provider.example", status=SubscriptionStatus.EXPIRED)
    assert len(registry.lookup(query, utc_now())) == 1


@pytest.mark.usefixtures("joined")
def test_a_platform_is_there_until_its_last_process_ends(database: Database) -> None:
    with running(database, "one"):
        with running(database, "two"):
            pass
        assert is_searched(database)
    assert not is_searched(database)


@pytest.mark.usefixtures("joined")
def test_one_whose_processes_were_killed_is_gone_when_what_they_told_is_over(database: Database) -> None:
    Presence(database, PLATFORM.subscriber_id, Role.BPP, "killed").start()
    assert is_searched(database)
    killed(database, "killed")
    assert not is_searched(database)
    with running(database, "the next"):
        assert is_searched(database)
    assert not is_searched(database)


@pytest.mark.usefixtures("joined")
def test_a_running_platform_tells_so_again_and_again(database: Database) -> None:
    with running(database, "one", every_s=0.05):
        killed(database, "one")
        eventually(lambda: is_searched(database))


def test_one_that_joins_again_is_there_again(database: Database, tmp_path: Path, joined: Participant) -> None:
    joined.presence.start()
    joined.presence.stop()
    assert not is_searched(database)
    again = Participant.join(database, PLATFORM, Role.BPP, data_dir=tmp_path, authenticates=True)
    again.presence.start()
    assert is_searched(database)
    again.presence.stop()


def test_what_an_operator_registered_stays_whoever_runs(database: Database) -> None:
    party = buyer(subscriber_id="provider.example")
    party.role = Role.BPP
    party.register(database)
    assert is_searched(database)
    assert "provider.example" in listed(database)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_provider_that_runs_and_ends_is_in_the_registry_and_out_of_it(
    postgres_server: EmbeddedPostgres, tmp_path: Path, how: signal.Signals
) -> None:
    with new_database(postgres_server) as conninfo:
        environment = {
            "DATABASE_URL": as_url(conninfo),
            "PYLON_DATA_DIR": str(tmp_path),
            "BPP_PORT": str(free_port()),
        }
        server = ServerProcess("BPP.py", tmp_path / "log", environment, port=int(environment["BPP_PORT"]))
        database = PostgresDatabase(conninfo)
        try:
            server.wait_until_serving()
            assert is_searched(database)
            (row,) = database.select("beckn_presences", order=OrderBy(("worker",)))
            if how is signal.SIGKILL:
                os.killpg(server.process.pid, how)
                server.process.wait()
                killed(database, row["worker"])
            else:
                server.end(how)
            assert not is_searched(database)
        finally:
            server.end()
            database.close()
