"""The top of every long-lived thread: nothing ends it but its own stop, and what is wrong is told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event as Signal

from database.errors import DatabaseUnreachable
from queueing.supervised import Rest, SupervisedLoop


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queueing.supervised.TROUBLE_AFTER_S", 0.0)


def a_loop(
    turn: Callable[[], Rest | None], stopping: threading.Event, *, longest_turn_s: float = 60.0
) -> SupervisedLoop:
    return SupervisedLoop(
        "the worker", turn, stopping, longest_turn_s=longest_turn_s, first_pause_s=0.01, longest_pause_s=0.02
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a value"),
        OSError(24, "too many open files"),
        KeyError("key"),
        RecursionError("deep"),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        AssertionError(),
        StopIteration(),
        SystemExit(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_ends_it_and_all_are_told_while_they_last(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    stopping, failing, turns = threading.Event(), threading.Event(), [0]
    failing.set()

    def turn() -> Rest:
        turns[0] += 1
        if failing.is_set():
            raise error
        return lambda: stopping.wait(0.01)

    loop = a_loop(turn, stopping)
    assert loop.trouble() is None
    loop.start()
    eventually(lambda: turns[0] > 3)
    trouble = loop.trouble()
    assert trouble is not None
    assert type(error).__name__ in trouble
    failing.clear()
    eventually(lambda: loop.trouble() is None)
    stopping.set()
    assert loop.join(20)
    assert loop.trouble() is None
    # In full once, however often it came.
    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("the worker failed and carries on") == 1


def test_trouble_of_the_database_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stopping, turns = threading.Event(), [0]

    def turn() -> Rest:
        turns[0] += 1
        if turns[0] < 5:
            raise DatabaseUnreachable("restarting\nnow")
        return lambda: stopping.wait(0.01)

    loop = a_loop(turn, stopping)
    loop.start()
    eventually(lambda: turns[0] > 5)
    stopping.set()
    assert loop.join(20)
    assert [record.getMessage() for record in caplog.records][:1] == [
        "the worker is failing and keeps trying: restarting\\nnow"
    ]
    assert "Traceback" not in caplog.text
    assert "the worker works again" in caplog.text


def test_an_error_in_a_rest_is_one_too() -> None:
    stopping, rests = threading.Event(), [0]

    def rest() -> None:
        rests[0] += 1
        raise RuntimeError("no rest")

    loop = a_loop(lambda: rest, stopping)
    loop.start()
    eventually(lambda: rests[0] > 2)
    stopping.set()
    assert loop.join(20)


def test_a_turn_that_does_not_end_is_told() -> None:
    stopping, going_on = threading.Event(), threading.Event()

    def turn() -> None:
        going_on.wait(30)
        stopping.wait(0.01)

    loop = a_loop(turn, stopping, longest_turn_s=0.2)
    loop.start()
    eventually(lambda: "is stuck" in (loop.trouble() or ""))
    going_on.set()
    eventually(lambda: loop.trouble() is None)
    stopping.set()
    assert loop.join(20)


def test_one_that_was_ended_from_outside_is_told() -> None:
    stopping = Signal()
    loop = SupervisedLoop("the greenlet", lambda: stopping.wait, stopping)
    greenlet = gevent.spawn(loop.run)
    gevent.sleep(0.01)
    assert loop.trouble() is None
    greenlet.kill()
    assert loop.trouble() == "the greenlet has ended"


def test_it_runs_in_a_greenlet_as_well() -> None:
    stopping, turns = Signal(), [0]

    def turn() -> Rest:
        turns[0] += 1
        if turns[0] == 2:
            raise RuntimeError("once")
        return lambda: gevent.sleep(0.01)

    loop = SupervisedLoop("the greenlet", turn, stopping, first_pause_s=0.01)
    greenlet = gevent.spawn(loop.run)
    with gevent.Timeout(20):
        while turns[0] < 4:
            gevent.sleep(0.01)
        assert loop.trouble() is None
        stopping.set()
        greenlet.join()
