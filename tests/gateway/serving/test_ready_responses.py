"""Many who ask at once share one question, and nobody gets an answer older than its question."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from database.errors import DatabaseUnreachable
from database.postgres import PostgresDatabase
from decisions.publishing.store import PublishedDecisions
from gateway.serving.ready_responses import MOST_QUESTIONS, Asked, NewestOutputs, ReadyAnswer
from gateway.serving.threads import ThreadedDatabase
from grid_world import store_world, submit, workload
from running_gateway import workers_on

BPP = Asked("bpp")


class CountedDatabase(PostgresDatabase):
    """Counts its calls; a call in which `failing` is set fails after it was asked."""

    failing = False

    def __init__(self, conninfo: str) -> None:
        super().__init__(conninfo)
        self.calls = 0

    def call(self, function: str, arguments: Any = None, *, repeatable: bool = False) -> Any:
        self.calls += 1
        answer = super().call(function, arguments, repeatable=repeatable)
        if self.failing:
            raise DatabaseUnreachable("it failed")
        return answer


def test_those_who_ask_at_once_share_a_question(conninfo: str) -> None:
    database = CountedDatabase(conninfo)
    threaded = ThreadedDatabase(database)
    outputs = NewestOutputs(PublishedDecisions(threaded))
    asking = [gevent.spawn(outputs.answer, BPP) for _ in range(50)]
    answers = [each.get(timeout=20) for each in asking]
    assert len(set(answers)) == 1
    # The first question was on its way before the others asked, so they share the second.
    assert database.calls <= 2
    outputs.answer(BPP)
    assert database.calls == 3
    threaded.close()
    database.close()


def test_an_answer_is_of_a_moment_after_its_question(conninfo: str, postgres: PostgresDatabase) -> None:
    store_world(postgres)
    threaded = ThreadedDatabase(PostgresDatabase(conninfo))
    outputs = NewestOutputs(PublishedDecisions(threaded))
    workers = workers_on(postgres)
    for number in range(1, 6):
        waiting = [gevent.spawn(outputs.answer, BPP) for _ in range(5)]
        gevent.sleep(0)  # their question is on its way
        submit(postgres, workload(f"job-{number}"))
        workers.work_once()
        assert outputs.answer(BPP).sequence == number
        assert {each.get(timeout=20).sequence for each in waiting} <= {number - 1 or None, number}
    threaded.close()


def test_a_failure_is_shared_too_and_not_remembered(conninfo: str) -> None:
    database = CountedDatabase(conninfo)
    threaded = ThreadedDatabase(database)
    outputs = NewestOutputs(PublishedDecisions(threaded))
    database.failing = True
    asking = [gevent.spawn(_failure_of, outputs) for _ in range(20)]
    assert [each.get(timeout=20) for each in asking] == ["it failed"] * 20
    assert database.calls == 1  # all of them asked before it failed: nobody waits twice for a silent database
    database.failing = False
    assert outputs.answer(BPP).sequence is None
    threaded.close()
    database.close()


def _failure_of(outputs: NewestOutputs) -> str:
    with pytest.raises(DatabaseUnreachable) as failure:
        outputs.answer(BPP)
    return str(failure.value)


def test_questions_that_nobody_asks_any_more_are_forgotten(postgres: PostgresDatabase) -> None:
    outputs = NewestOutputs(PublishedDecisions(postgres))
    for number in range(MOST_QUESTIONS + 10):
        outputs.answer(Asked("bpp", f"task-{number}"))
    assert len(outputs._questions) == MOST_QUESTIONS


@pytest.mark.parametrize(
    ("if_none_match", "same"),
    [
        (None, False),
        ('"1-a"', True),
        ('W/"1-a"', True),
        ('"0-b", "1-a"', True),
        ("*", True),
        ('"1-b"', False),
        ("", False),
    ],
)
def test_a_tag_is_compared_as_http_says(if_none_match: str | None, same: bool) -> None:
    assert ReadyAnswer(1, '"1-a"', b"{}").is_what_they_have(if_none_match) is same
