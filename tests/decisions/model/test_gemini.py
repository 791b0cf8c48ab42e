"""Asking Gemini, against a server on loopback that answers in every bad way."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decision_contexts import a_context, centre
from decisions.model.circuit_breaker import CircuitBreaker
from decisions.model.gemini import GeminiJudge, ModelRefuses, ModelState, ModelUnavailable, judge_from
from decisions.model.judgement import Question, Role, question_for
from decisions.scoring.decide import decide
from model_server import (
    HTML,
    MODEL_VERSION,
    ModelServer,
    Reply,
    answer,
    error,
    good,
    judgements,
)
from settings import load_settings

JudgeMaker = Callable[..., GeminiJudge]

KEY = "a-key-that-no-log-may-show"
BACKEND = Path(__file__).resolve().parents[3] / "backend"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as model_server:
        yield model_server


@pytest.fixture
def a_judge(server: ModelServer) -> Iterator[JudgeMaker]:
    judges: list[GeminiJudge] = []

    def make(**options: Any) -> GeminiJudge:
        defaults: dict[str, Any] = {"base_url": server.url, "first_back_off_s": 0.01}
        judges.append(GeminiJudge(KEY, "gemini-3.8-flash", **{**defaults, **options}))
        return judges[-1]

    yield make
    for judge in judges:
        judge.close()


def a_question(role: Role = "score") -> Question:
    centres = [centre("DC-001"), centre("DC-002", pue=1.4)]
    question = question_for(decide(a_context(centres=centres)), role)
    assert question is not None
    return question


def failure(judge: GeminiJudge) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as caught:
        judge.judge(a_question())
    return caught.value


def test_a_good_answer_gives_judgements_model_version_and_usage(server: ModelServer, a_judge: JudgeMaker) -> None:
    judge = a_judge()
    assert judge.status().state is ModelState.UNTRIED
    judged = judge.judge(a_question())
    assert {dc_id: j.score for dc_id, j in judged.judgements.items()} == {"DC-001": 60, "DC-002": 60}
    assert judged.model == MODEL_VERSION
    assert judged.usage.to_row() == {
        "calls": 1,
        "prompt_tokens": 700,
        "thinking_tokens": 30,
        "answer_tokens": 90,
    }
    status = judge.status()
    assert (status.state, status.answering_as, status.answers) == (ModelState.ANSWERING, MODEL_VERSION, 1)


def test_the_request_asks_for_structured_output_and_stores_nothing(server: ModelServer, a_judge: JudgeMaker) -> None:
    a_judge().judge(a_question())
    (request,) = server.requests
    assert request.path == "/v1/models/gemini-3.8-flash:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert request.body["store"] is False
    config = request.body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["thinkingConfig"] == {"thinking_level": "LOW"}
    fields = config["responseSchema"]["properties"]["options"]["items"]
    assert fields["property_ordering"] == ["dc_id", "score", "sentence"]
    assert KEY not in json.dumps(request.body)


def test_a_key_in_the_environment_is_not_taken_for_ours(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, a_judge: JudgeMaker
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "another-key")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    a_judge().judge(a_question())
    assert server.requests[0].headers["x-goog-api-key"] == KEY


def test_an_explainer_is_asked_for_sentences_only(server: ModelServer, a_judge: JudgeMaker) -> None:
    judged = a_judge(role="explain").judge(a_question("explain"))
    assert {j.score for j in judged.judgements.values()} == {None}
    assert not judged.sets_scores
    fields = server.requests[0].body["generationConfig"]["responseSchema"]["properties"]["options"]["items"]
    assert fields["property_ordering"] == ["dc_id", "sentence"]


BAD_ANSWERS = {
    "empty": answer(""),
    "no candidates": Reply(body=b"{}"),
    "truncated": answer(judgements({"DC-001": 50, "DC-002": 50})[:-9], finish_reason="MAX_TOKENS"),
    "blocked": answer("", finish_reason="SAFETY"),
    "not JSON": answer("I would rather not."),
    "wrong data centres": answer(judgements({"DC-008": 50, "DC-009": 50})),
    "one missing": answer(judgements({"DC-001": 50})),
    "one twice": answer(judgements({"DC-001": 50, "DC-002": 50}).replace("DC-002", "DC-001")),
    "scored 900": answer(judgements({"DC-001": 900, "DC-002": 50})),
    "scored NaN": answer(judgements({"DC-001": float("nan"), "DC-002": 50})),
    "scored in words": answer(judgements({"DC-001": "high", "DC-002": 50})),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_bad_answer_is_repaired_once(server: ModelServer, bad: Reply, a_judge: JudgeMaker) -> None:
    server.replies(bad)
    judged = a_judge().judge(a_question())
    assert set(judged.judgements) == {"DC-001", "DC-002"}
    first, second = server.requests
    assert second.texts[0] == first.texts[0]
    assert "refused" in second.texts[1]
    assert judged.usage.calls == 2


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_two_bad_answers_are_given_up_and_paid_for(server: ModelServer, bad: Reply, a_judge: JudgeMaker) -> None:
    server.replies(bad, bad)
    judge = a_judge()
    raised = failure(judge)
    assert "no usable answer" in str(raised)
    assert raised.usage.calls == 2
    assert len(server.requests) == 2
    assert judge.status().state is ModelState.FAILING


PASSING_FAULTS = {
    "429": error(429, "RESOURCE_EXHAUSTED", retry_delay="0.02s"),
    "500": error(500, "INTERNAL"),
    "503": error(503),
    "HTML of a broken proxy": Reply(status=502, body=b"<html>", content_type="text/html"),
    "HTML with status 200": HTML,
    "hang-up": Reply(hang_up=True),
}


@pytest.mark.parametrize("fault", PASSING_FAULTS.values(), ids=PASSING_FAULTS.keys())
def test_a_fault_that_may_pass_is_tried_again(server: ModelServer, fault: Reply, a_judge: JudgeMaker) -> None:
    server.replies(fault, fault)
    assert a_judge().judge(a_question()).usage.calls == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", PASSING_FAULTS.values(), ids=PASSING_FAULTS.keys())
def test_a_fault_that_does_not_pass_is_given_up(server: ModelServer, fault: Reply, a_judge: JudgeMaker) -> None:
    server.then = fault
    failure(a_judge())
    assert len(server.requests) == 3


def test_the_service_says_when_to_come_back_and_is_heard(server: ModelServer, a_judge: JudgeMaker) -> None:
    server.replies(error(429, "RESOURCE_EXHAUSTED", retry_delay="0.3s"))
    began = time.monotonic()
    a_judge().judge(a_question())
    assert time.monotonic() - began >= 0.3


def test_a_delay_longer_than_the_decision_may_take_is_not_waited_for(
    server: ModelServer, a_judge: JudgeMaker
) -> None:
    server.replies(error(429, "RESOURCE_EXHAUSTED", retry_delay="60s"))
    assert "quota" in str(failure(a_judge()))
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 401, 403])
def test_a_request_that_is_refused_is_not_repeated(server: ModelServer, status: int, a_judge: JudgeMaker) -> None:
    server.replies(error(status, "NO"))
    assert str(status) in str(failure(a_judge()))
    assert len(server.requests) == 1


def test_a_model_that_is_gone_is_said_once_and_left_alone(
    server: ModelServer, caplog: pytest.LogCaptureFixture, a_judge: JudgeMaker
) -> None:
    server.then = error(404, "NOT_FOUND")
    judge = a_judge()
    assert isinstance(failure(judge), ModelRefuses)
    for _ in range(3):
        assert "does not exist any more" in str(failure(judge))
    assert len(server.requests) == 1
    assert judge.is_resting
    status = judge.status()
    assert status.state is ModelState.REFUSING
    assert "GEMINI_MODEL" in str(status.detail)
    errors = [entry.message for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(errors) == 1
    assert "gemini-3.8-flash" in errors[0]


def test_a_model_that_hangs_is_given_up_after_the_timeout(server: ModelServer, a_judge: JudgeMaker) -> None:
    server.then = Reply(wait_s=30)
    judge = a_judge(request_timeout_s=0.3, decision_budget_s=0.8)
    began = time.monotonic()
    assert "did not answer within" in str(failure(judge))
    assert time.monotonic() - began < 25  # the model answers after 30


def test_a_model_that_hangs_is_not_asked_again_for_the_same_decision(
    server: ModelServer, a_judge: JudgeMaker
) -> None:
    server.replies(Reply(wait_s=30))
    assert "did not answer within" in str(failure(a_judge(request_timeout_s=1.2)))
    assert len(server.requests) == 1


def test_a_model_that_hangs_at_every_second_question_is_left_alone(server: ModelServer, a_judge: JudgeMaker) -> None:
    for _ in range(3):
        server.replies(good, Reply(wait_s=30))
    judge = a_judge(request_timeout_s=1.5)  # a good answer must come within it on a busy machine too
    for _ in range(3):
        judge.judge(a_question())
        failure(judge)
    assert "not being asked" in str(failure(judge))
    assert judge.status().state is ModelState.RESTING
    assert len(server.requests) == 6


def test_a_model_that_trickles_is_given_up_too(server: ModelServer, a_judge: JudgeMaker) -> None:
    trickle = answer(judgements({"DC-001": 50, "DC-002": 50}), byte_pause_s=0.05)
    server.then = trickle
    judge = a_judge(request_timeout_s=0.5, decision_budget_s=1.0)
    began = time.monotonic()
    assert "did not answer within" in str(failure(judge))
    assert time.monotonic() - began < 10


def test_a_flood_is_not_read_to_its_end(server: ModelServer, a_judge: JudgeMaker) -> None:
    server.then = Reply(body=b" " * 3_000_000)
    assert "cannot be reached" in str(failure(a_judge()))


def test_a_server_that_is_not_there_is_given_up(server: ModelServer, a_judge: JudgeMaker) -> None:
    url = server.url
    with ModelServer() as other:
        url = other.url
    assert "cannot be reached" in str(failure(a_judge(base_url=url)))


def test_after_repeated_failures_the_model_is_left_alone_and_then_tried_again(
    server: ModelServer, a_judge: JudgeMaker
) -> None:
    server.then = error(500, "INTERNAL")
    judge = a_judge(breaker=CircuitBreaker(threshold=2, rest_s=0.2))
    failure(judge)
    failure(judge)
    asked = len(server.requests)
    assert "not being asked" in str(failure(judge))
    assert len(server.requests) == asked
    assert judge.status().state is ModelState.RESTING
    server.then = good
    time.sleep(0.25)
    judge.judge(a_question())
    assert judge.status().state is ModelState.ANSWERING
    assert not judge.is_resting


def test_stopping_ends_the_wait_between_tries(server: ModelServer, a_judge: JudgeMaker) -> None:
    server.then = error(429, "RESOURCE_EXHAUSTED", retry_delay="20s")
    judge = a_judge()
    threading.Timer(0.2, judge.stop).start()
    began = time.monotonic()
    assert "stopping" in str(failure(judge))
    assert time.monotonic() - began < 15  # it would wait for 20


def test_many_threads_share_one_judge(server: ModelServer, a_judge: JudgeMaker) -> None:
    judge = a_judge()
    answers: list[int] = []

    def ask() -> None:
        answers.append(len(judge.judge(a_question()).judgements))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [2] * 8
    status = judge.status()
    assert (status.answers, status.usage.prompt) == (8, 8 * 700)


def test_no_key_no_judge_and_a_key_the_settings_judge() -> None:
    assert judge_from(load_settings({})) is None
    judge = judge_from(load_settings({"GEMINI_API_KEY": KEY, "GEMINI_MODEL": "m-1", "GEMINI_ROLE": "explain"}))
    assert judge is not None
    assert (judge.model, judge.role) == ("m-1", "explain")


def test_the_key_is_in_no_log_and_no_message(
    server: ModelServer, caplog: pytest.LogCaptureFixture, a_judge: JudgeMaker
) -> None:
    caplog.set_level(logging.DEBUG, logger="decisions")
    server.replies(error(403, "PERMISSION_DENIED"))
    judge = a_judge()
    assert KEY not in str(failure(judge)) + str(judge.status()) + caplog.text


def test_the_sdk_is_imported_only_when_a_question_is_asked() -> None:
    code = "import sys, decisions.model.gemini, decisions.work.worker; sys.exit('google.genai' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=BACKEND, check=True, timeout=60)
