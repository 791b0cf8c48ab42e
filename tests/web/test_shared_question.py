"""Who asks the same at the same time shares an answer, and who asks another thing never does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from web.shared_question import SharedQuestions


def test_only_the_same_question_shares_an_answer() -> None:
    asked = threading.Barrier(4)
    found: list[str] = []

    def find(question: str, before: str | None) -> str:
        found.append(question)
        return f"{question} after {before}"

    questions = SharedQuestions(find, threading.Lock, most=10)

    def ask(question: str) -> str:
        asked.wait(20)
        return questions.answer(question)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, ["of a", "of b", "of a", "of b"]))
    assert {answer.partition(" after ")[0] for answer in answers[::2]} == {"of a"}
    assert {answer.partition(" after ")[0] for answer in answers[1::2]} == {"of b"}
    found.clear()
    # What was found before is given to those alone who find the same.
    assert questions.answer("of a").startswith("of a after of a")
    assert questions.answer("of c") == "of c after None"
    assert found == ["of a", "of c"]


def test_the_questions_asked_longest_ago_are_forgotten() -> None:
    def find(_: int, before: int | None) -> int:
        return (before or 0) + 1

    questions = SharedQuestions(find, threading.Lock, most=2)
    assert [questions.answer(question) for question in (1, 2, 1, 3, 1, 2)] == [1, 1, 2, 1, 3, 1]
    assert len(questions) == 2
