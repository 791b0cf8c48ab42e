"""Names whose servers are silent: whoever asks goes on in time, and other names are resolved meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from beckn_network import eventually
from outgoing.name_lookups import NameLookups


class Servers:
    """Name servers that are silent about some names until they are told to answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answering = threading.Event()

    def look_up(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.answering.wait(30)
        if host.startswith("unknown"):
            raise OSError(f"{host} is not known")
        return [f"192.0.2.{port}"]


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.answering.set()


def test_a_name_that_nobody_answers_for_is_given_up_in_time(servers: Servers) -> None:
    lookups = NameLookups(look_up=servers.look_up)
    with pytest.raises(OSError, match=r"the name silent\.example could not be looked up in time"):
        lookups.addresses("silent.example", 1, within_s=0.1)
    assert lookups.addresses("quick.example", 2, within_s=20) == ["192.0.2.2"]


def test_one_name_is_looked_up_once_however_many_ask(servers: Servers) -> None:
    lookups = NameLookups(look_up=servers.look_up)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lookups.addresses, "silent.example", 7, within_s=30)
        eventually(lambda: servers.asked)
        for _ in range(3):
            with pytest.raises(OSError, match="not be looked up in time"):
                lookups.addresses("silent.example", 7, within_s=0.05)
        servers.answering.set()
        assert first.result() == ["192.0.2.7"]
    assert servers.asked == ["silent.example"]


def test_so_many_names_are_looked_up_at_once_and_the_next_when_one_is_done(servers: Servers) -> None:
    lookups = NameLookups(look_up=servers.look_up, most_at_once=2)
    for number in range(2):
        with pytest.raises(OSError, match="not be looked up in time"):
            lookups.addresses(f"silent-{number}.example", 1, within_s=0.05)
    with pytest.raises(OSError, match=r"2 names are already being looked up, and quick\.example is not one"):
        lookups.addresses("quick.example", 1, within_s=20)
    servers.answering.set()
    eventually(lambda: not lookups._under_way)
    assert lookups.addresses("quick.example", 1, within_s=20) == ["192.0.2.1"]


def test_a_name_that_is_not_known_is_told_as_it_is(servers: Servers) -> None:
    with pytest.raises(OSError, match=r"unknown\.example is not known"):
        NameLookups(look_up=servers.look_up).addresses("unknown.example", 1, within_s=20)


def test_this_machine_is_found_by_its_name() -> None:
    assert set(NameLookups().addresses("localhost", 80, within_s=20)) & {"127.0.0.1", "::1"}
