"""How long is a revoked key still good? In the process where it is revoked, in two others, and on an open stream.

    make bench NAME=tenant_revocation [ARGS="--rounds 5"]

Two API servers and a gateway on one embedded database. Clients ask each of them twenty times a second with the key,
so that all of them remember it; then it is revoked at the first API server, or, where no notice is to be heard (as
over Supabase), in its row. Counted from before the revocation to the last answer that was not 401, and to the
stream's end.
"""

from __future__ import annotations

import argparse
import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median

import psycopg
from flask import Flask
from gateways import Gateway, gateway, world
from machine import machine

from api_application import api_access, create_app
from database.interface import Database
from database.opening import open_database, open_gate
from settings import load_settings
from tenancy.administration import Keys, NewKey, PlatformFunctions
from tenancy.keys import Key
from tenancy.scopes import Scope
from web.serving_process import serve

OPERATOR, PLATFORM_KEY = "bench", "of-this-benchmark"
ASKED_EVERY_S = 0.05
HEARD_FOR_S = 2.0
MORE_S = 5.0
"""As long as anything is remembered: the rounds revoke at moments spread over it."""
GIVE_UP_AFTER_S = 30.0
WORKLOADS, HISTORY, STREAM = "/api/v1/workloads?limit=1", "/beckn/llm-output/history?limit=1", "/beckn/broadcast"


@contextmanager
def application() -> Iterator[Flask]:
    """The API over the benchmark's database, its threads running, without the pipeline's schedule."""
    settings = load_settings()
    with closing(open_database(settings)) as database, closing(open_gate(settings, database)) as door:
        access = api_access(database, settings, door)
        app = create_app(database, settings, access=access)
        access.start()
        try:
            yield app
        finally:
            access.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        # `gateway` chooses the port of what it starts, and gives it as the gateway's.
        serve("tenant_revocation:application", "127.0.0.1", load_settings().bg_port)
        return
    print(f"{machine()}; {options.rounds} keys each\n")
    print("| revoked | seen from | median, s | longest, s |")
    print("|---|---|---|---|")
    with ExitStack() as stack:
        service = stack.enter_context(world())
        os.environ.update(TENANCY="multi", PYLON_API_KEY=PLATFORM_KEY)
        _make_operator(service)
        first, second = (stack.enter_context(gateway(__file__, "--serve")) for _ in range(2))
        deciding = stack.enter_context(gateway())
        places = {
            "the API server that was asked": (first, WORKLOADS),
            "another API server": (second, WORKLOADS),
            "the gateway": (deciding, HISTORY),
        }
        ways: dict[str, Callable[[Key], None]] = {
            "at an API server": lambda key: _revoke_at(first, key),
            "where no notice is heard": _revoke_unheard,
        }
        for way, revoke in ways.items():
            rounds = [
                _seconds(_key(service), places, deciding, revoke, HEARD_FOR_S + MORE_S * number / options.rounds)
                for number in range(options.rounds)
            ]
            for place in rounds[0]:
                taken = [each[place] for each in rounds]
                print(f"| {way} | {place} | {median(taken):.2f} | {max(taken):.2f} |", flush=True)


def _make_operator(service: Database) -> None:
    service.call("tenancy_set_operator", {"p_operator": {"operator_id": OPERATOR}})
    for limit in ("requests_per_minute", "keys"):
        service.call("tenancy_set_limit", {"p_operator": OPERATOR, "p_name": limit, "p_capacity": 10**9})


def _key(service: Database) -> Key:
    keys = Keys(PlatformFunctions(service, OPERATOR, "benchmark"), OPERATOR, frozenset(Scope))
    expires_at = datetime.now(timezone.utc) + timedelta(days=1)
    return keys.make(NewKey(name="benchmark", expires_at=expires_at))[0]


def _revoke_at(server: Gateway, key: Key) -> None:
    headers = {"Authorization": f"Bearer {PLATFORM_KEY}", "Pylon-Operator": OPERATOR}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request(
            "POST",
            f"/api/v1/tenancy/keys/{key.key_id}/revoke",
            "{}",
            headers | {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"the revocation was answered {answer.status}: {answer.read()[:300]!r}")


def _revoke_unheard(key: Key) -> None:
    socket_dir = Path(os.environ["PYLON_DATA_DIR"]) / "postgres"
    with psycopg.connect(host=str(socket_dir), user="postgres", dbname="postgres") as owner:
        owner.execute("update tenancy.api_keys set revoked_at = now() where key_id = %s", (key.key_id,))


def _seconds(
    key: Key,
    places: dict[str, tuple[Gateway, str]],
    streaming: Gateway,
    revoke: Callable[[Key], None],
    heard_for_s: float,
) -> dict[str, float]:
    """How long the key was still good in each place, and on a stream."""
    ends: dict[str, float] = {}

    def watched(place: str, watch: Callable[[], float]) -> None:
        ends[place] = watch()

    watches: dict[str, Callable[[], float]] = {
        place: lambda server=server, path=path: _last_good(server, path, key)  # type: ignore[misc]
        for place, (server, path) in places.items()
    }
    with closing(http.client.HTTPConnection("127.0.0.1", streaming.port, timeout=GIVE_UP_AFTER_S)) as connection:
        connection.request("GET", STREAM, headers=_bearer(key))
        stream = connection.getresponse()
        if stream.status != 200:
            raise RuntimeError(f"the stream was answered {stream.status}")
        watches["an open stream of the gateway"] = lambda: _end_of(stream)
        threads = [threading.Thread(target=watched, args=each) for each in watches.items()]
        for thread in threads:
            thread.start()
        time.sleep(heard_for_s)
        began = time.monotonic()
        revoke(key)
        for thread in threads:
            thread.join(GIVE_UP_AFTER_S)
    if missing := set(watches) - set(ends):
        raise RuntimeError(f"the key was still good after {GIVE_UP_AFTER_S} s: {missing}")
    return {place: max(0.0, ends[place] - began) for place in watches}


def _last_good(server: Gateway, path: str, key: Key) -> float:
    """The moment of the last answer that was not 401."""
    last = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        while True:
            connection.request("GET", path, headers=_bearer(key))
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 401:
                return last
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}: {text[:300]!r}")
            last = time.monotonic()
            time.sleep(ASKED_EVERY_S)


def _end_of(stream: http.client.HTTPResponse) -> float:
    while stream.read1(65536):
        pass
    return time.monotonic()


def _bearer(key: Key) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text}"}


if __name__ == "__main__":
    main()
