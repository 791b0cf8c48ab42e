"""The law of visits: whoever was let in gives its place back, whether or not it has heard anything."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import gevent
import pytest

from gateway.serving.visits import CallersVisits, Listener, Visit
from tenancy.principals import Principal
from tenancy.scopes import ROLE_SCOPES, Role


class Places:
    """Those that an operator's streams have at the moment."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def hold_place(self, operator: str, limit: object, holder: str, seconds: float) -> None:  # noqa: ARG002
        self.taken.add(holder)

    def let_go(self, operator: str, limit: object, holder: str) -> None:  # noqa: ARG002
        self.taken.remove(holder)


def three() -> Generator[int, None, str]:
    yield from (1, 2, 3)
    return "all"


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture
def attended(places: Places) -> Generator[int, None, str]:
    nothing: Any = None
    visits = CallersVisits(nothing, nothing, nothing, nothing, cast(Any, places))
    listener = Listener(Principal("a", "anybody", Role.MEMBER, ROLE_SCOPES[Role.MEMBER]), 0.0, 0.0)
    return visits.attended(Visit(nothing, listener), three())


def left() -> None:
    """Let whoever leaves do so."""
    gevent.sleep(0)


@pytest.mark.parametrize("heard", [0, 1, 3])
def test_who_goes_gives_its_place_back_once(places: Places, attended: Generator[int, None, str], heard: int) -> None:
    assert len(places.taken) == 1
    assert [next(attended) for _ in range(heard)] == [1, 2, 3][:heard]
    attended.close()
    left()
    assert places.taken == set()
    attended.close()
    left()


def test_who_has_heard_all_has_gone_too(places: Places, attended: Generator[int, None, str]) -> None:
    def following() -> Generator[int, None, str]:
        return (yield from attended)

    told = following()
    assert [next(told), next(told), next(told)] == [1, 2, 3]
    with pytest.raises(StopIteration) as end:
        next(told)
    assert end.value.value == "all"
    left()
    assert places.taken == set()
