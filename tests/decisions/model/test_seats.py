"""Who may wait for the model, and in which order."""

from __future__ import annotations

import threading

from decisions.model.seats import ModelSeats

LONG_S = 60.0


def test_there_are_so_many_seats_and_no_more() -> None:
    seats = ModelSeats(2)
    assert seats.take(0)
    assert seats.take(0)
    assert not seats.take(0.05)
    seats.give_back()
    assert seats.take(0)
    assert not seats.take(0)


def test_who_waits_comes_before_who_has_just_had_a_seat() -> None:
    seats = ModelSeats(1)
    assert seats.take(0)
    waits, seated = threading.Event(), threading.Event()

    def wait() -> None:
        waits.set()
        if seats.take(LONG_S):
            seated.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(LONG_S)
    while not seats.is_waited_for:
        pass
    seats.give_back()
    assert not seats.take(0)
    assert seated.wait(LONG_S)
    thread.join(LONG_S)


def test_who_lost_patience_holds_nobody_up() -> None:
    seats = ModelSeats(1)
    assert seats.take(0)
    assert not seats.take(0.01)
    seats.give_back()
    assert seats.take(0)


def test_closing_ends_every_wait() -> None:
    seats = ModelSeats(1)
    assert seats.take(0)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(seats.take(LONG_S))) for _ in range(3)]
    for thread in threads:
        thread.start()
    seats.close()
    for thread in threads:
        thread.join(LONG_S)
    assert answers == [False] * 3
    seats.give_back()
    assert not seats.take(0)
