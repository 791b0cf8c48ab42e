"""Whatever a model's server sends, and whatever its client raises, the workload is decided by our own score."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import logging
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from database.embedded import EmbeddedPostgres
from database.interface import Database, OrderBy, Row
from database.postgres import PostgresDatabase
from decisions.model.circuit_breaker import CircuitBreaker
from decisions.model.gemini import GeminiJudge, ModelState
from decisions.publishing.schema import DecisionOutput
from decisions.publishing.store import PublishedDecisions
from decisions.work.worker import DecisionWorkers
from gateway.decision_process import status_of
from grid_world import NOW, store_world, submit, workload
from model_server import MODEL_VERSION, Answering, ModelServer, Reply, answer, error, judgements
from new_database import new_database

MODEL = "gemini-3.8-flash"
LONGEST_TOLD = 1100
DEEP = b'{"candidates":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

anything_written = st.text(st.characters(exclude_categories=()), max_size=30)
any_json: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -(10**30), 2**63, -1, 10**4000])
    | st.floats()
    | anything_written
    | st.sampled_from(
        ["gem\x00ini", "gem\ud800ini", "gem\n2026-11-27T00:00:00Z ERROR BG: forged\x1b[31m", "k" * 900_000]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything_written, inner, max_size=3),
    max_leaves=8,
)

# Every place of a response that anything is read from.
PLACES: list[tuple[str | int, ...]] = [
    (),
    ("modelVersion",),
    ("usageMetadata",),
    ("usageMetadata", "promptTokenCount"),
    ("usageMetadata", "candidatesTokenCount"),
    ("usageMetadata", "thoughtsTokenCount"),
    ("promptFeedback",),
    ("candidates",),
    ("candidates", 0),
    ("candidates", 0, "finishReason"),
    ("candidates", 0, "content"),
    ("candidates", 0, "content", "parts"),
    ("candidates", 0, "content", "parts", 0, "text"),
    ("candidates", 0, "content", "parts", 0, "thought"),
    ("error",),
    ("error", "status"),
    ("error", "message"),
    ("error", "details"),
]


class Gateway:
    """Decides one workload after the other with a judge that is always asked."""

    def __init__(self, database: Database, server: ModelServer, jobs: Iterator[int]) -> None:
        self.jobs = jobs
        self.database = database
        self.server = server
        self._breaker = CircuitBreaker()
        self.judge = GeminiJudge(
            "the-secret-key",
            MODEL,
            base_url=server.url,
            first_back_off_s=0,
            request_timeout_s=5,
            breaker=self._breaker,
        )
        self.engine = DecisionWorkers(
            database,
            agent_id="gateway:test:1",
            clock=lambda: NOW,
            carbon_price_gbp_per_t=100,
            judge=self.judge,
            workers=1,
            poll_seconds=1,
        )

    def decide(self, then: Answering) -> DecisionOutput:
        self.server.then = then
        return self.decide_one()

    def decide_one(self) -> DecisionOutput:
        self._breaker.succeeded()  # whatever the last one was
        job_id = f"job-{next(self.jobs)}"
        submit(self.database, workload(job_id))
        assert self.engine.work_once() == 1
        output = PublishedDecisions(self.database).output_of(job_id).output
        assert output is not None, f"{job_id} is not decided"
        return DecisionOutput.model_validate(output)

    def newest(self) -> Row:
        order = OrderBy(("sequence",), descending=True)
        (row,) = self.database.select("orchestration_decisions", order=order, limit=1)
        return row


@pytest.fixture(scope="module")
def gateway(postgres_server: EmbeddedPostgres) -> Iterator[Gateway]:
    with new_database(postgres_server) as conninfo, ModelServer() as server:
        database = PostgresDatabase(conninfo)
        store_world(database)
        gateway = Gateway(database, server, itertools.count())
        yield gateway
        gateway.judge.close()
        database.close()


def check_clean(gateway: Gateway, output: DecisionOutput) -> None:
    """Nothing that the decision, the health page or the pipe between the processes has is unprintable or long."""
    status = status_of(gateway.engine)
    metadata = output.metadata
    told = [metadata.model, metadata.fallback_reason, output.decision.rationale]
    told += [option.rationale for option in output.data_centre_options]
    told += [status.detail, status.model.detail, status.model.answering_as] if status.model else []
    for text in filter(None, told):
        assert text.isprintable(), text
        assert len(text) <= LONGEST_TOLD
    assert metadata.model is None or len(metadata.model) <= 100
    usage = gateway.newest()["token_usage"] or {}
    assert all(0 <= count <= 10**9 for count in usage.values())
    assert len(status.model_dump_json().encode()) < 8_000
    if metadata.fallback_reason:
        assert all(o.suitability_score == o.deterministic_score for o in output.data_centre_options)


def replaced(document: Any, place: tuple[str | int, ...], value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(document)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    return changed


def a_document(request: Any) -> Any:
    document = json.loads(answer(judgements(dict.fromkeys(request.dc_ids, 60))).body)
    return document | {"error": {"code": 400, "status": "NO", "message": "no", "details": []}}


@settings(max_examples=60)
@given(
    place=st.sampled_from(PLACES), value=any_json, status=st.sampled_from([200, 200, 200, 400, 429, 503, 302, 599])
)
def test_any_json_anywhere_in_a_response_ends_in_a_clean_decision(
    gateway: Gateway, place: tuple[str | int, ...], value: Any, status: int
) -> None:
    def reply(request: Any) -> Reply:
        return Reply(status, json.dumps(replaced(a_document(request), place, value)).encode())

    check_clean(gateway, gateway.decide(reply))


@settings(max_examples=40)
@given(
    body=st.binary(max_size=200) | st.sampled_from([b"7", b"null", b"[]", b'"x"', b"9" * 5000, b"[" * 100_000, DEEP]),
    status=st.integers(min_value=200, max_value=999),
    content_type=st.sampled_from(
        ["application/json", "application/json; charset=zlib_codec", "text/plain; charset=idna", "\x7f", ""]
    ),
    encoding=st.sampled_from([None, "gzip", "deflate", "br", "zstd", "no-such", "gzip, gzip"]),
)
@example(b"7", 200, "application/json", None)
@example(DEEP, 200, "application/json", None)
@example(DEEP, 500, "application/json", None)
@example(b"{}", 403, "application/json", None)
def test_any_bytes_for_a_response_end_in_a_clean_decision(
    gateway: Gateway, body: bytes, status: int, content_type: str, encoding: str | None
) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    check_clean(gateway, gateway.decide(Reply(status, body, content_type, headers)))


@settings(max_examples=25)
@given(sentence=anything_written.filter(bool), score=any_json)
def test_any_judgement_ends_in_a_clean_decision(gateway: Gateway, sentence: str, score: Any) -> None:
    def reply(request: Any) -> Reply:
        options = [{"dc_id": dc_id, "score": score, "sentence": sentence} for dc_id in request.dc_ids]
        return answer(json.dumps({"options": options}))

    check_clean(gateway, gateway.decide(reply))


@pytest.mark.parametrize(
    "version",
    ["gem\x00ini", "gem\ud800ini", "gem\n2026-11-27T00:00:00Z ERROR BG: forged\x1b[31m", "", " ", "x" * 101, 7],
)
def test_a_model_whose_name_is_none_has_the_configured_name(gateway: Gateway, version: Any) -> None:
    def reply(request: Any) -> Reply:
        return Reply(body=json.dumps(replaced(a_document(request), ("modelVersion",), version)).encode())

    output = gateway.decide(reply)
    check_clean(gateway, output)
    assert (output.metadata.scorer, output.metadata.model) == ("gemini", MODEL)


@pytest.mark.parametrize("count", [10**30, 2**63, -1, True, 1.5, "700", None, [], float("nan")])
def test_a_count_of_tokens_that_can_be_none_is_left_out(gateway: Gateway, count: Any) -> None:
    def reply(request: Any) -> Reply:
        place = ("usageMetadata", "promptTokenCount")
        return Reply(body=json.dumps(replaced(a_document(request), place, count)).encode())

    output = gateway.decide(reply)
    assert (output.metadata.scorer, output.metadata.model) == ("gemini", MODEL_VERSION)
    usage = gateway.newest()["token_usage"]
    assert (usage["prompt_tokens"], usage["answer_tokens"]) == (0, 90)


@pytest.mark.parametrize(
    ("pack", "content_type", "headers"),
    [
        (gzip.compress, "application/json", {"Content-Encoding": "gzip"}),
        (zlib.compress, "application/json; charset=zlib_codec", {}),
    ],
    ids=["compressed", "named as characters"],
)
def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(
    gateway: Gateway, pack: Callable[[bytes], bytes], content_type: str, headers: dict[str, str]
) -> None:
    gateway.decide(Reply(500))
    body = pack(b" " * 200_000_000)
    tracemalloc.start()
    try:
        check_clean(gateway, gateway.decide(Reply(200, body, content_type, headers)))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


CLIENT_TROUBLES: dict[str, dict[str, str]] = {
    "an IPv6 network without a proxy": {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "::1,fd07:b51a:cc66:f0::/64"},
    "a proxy that is no URL": {"HTTP_PROXY": "http://user:pass word@[::1", "NO_PROXY": ""},
    "a proxy of an unknown kind": {"HTTP_PROXY": "gopher://127.0.0.1:9", "NO_PROXY": ""},
    "SOCKS": {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": ""},
    "certificates that are away": {"SSL_CERT_FILE": "/no/such/file.pem", "REQUESTS_CA_BUNDLE": "/no/such/file.pem"},
    "certificates that are none": {"SSL_CERT_FILE": __file__, "REQUESTS_CA_BUNDLE": __file__},
    "another HTTP library": {"GOOGLE_GENAI_HTTP_CLIENT": "no-such"},
}


@pytest.mark.parametrize("environ", CLIENT_TROUBLES.values(), ids=CLIENT_TROUBLES.keys())
def test_settings_of_the_machine_that_break_the_models_client_cost_no_decision(
    gateway: Gateway, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    with ModelServer() as server:
        another = Gateway(gateway.database, server, gateway.jobs)
        check_clean(another, another.decide_one())
        another.judge.close()
    assert "the-secret-key" not in caplog.text


FAMILIES: list[Callable[[], BaseException]] = [
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: OverflowError("too large"),
    lambda: UnicodeEncodeError("ascii", "\ud800", 0, 1, "no"),
    lambda: KeyError("candidates"),
    lambda: AttributeError("'int' object has no attribute 'get'"),
    lambda: MemoryError(),
    lambda: OSError(24, "Too many open files"),
    lambda: AssertionError("Illegal header value b'the-secret-key\n'"),
    lambda: StopIteration(),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family()).__name__)
def test_an_error_of_any_family_in_the_models_client_tells_the_breaker_and_costs_no_decision(
    gateway: Gateway,
    family: Callable[[], BaseException],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from google.genai.models import Models

    def fail(*_: Any, **__: Any) -> None:
        raise family()

    monkeypatch.setattr(Models, "generate_content", fail)
    failures = gateway.judge.status().failures
    with caplog.at_level(logging.INFO):
        output = gateway.decide(error(500))
    check_clean(gateway, output)
    assert type(family()).__name__ in str(output.metadata.fallback_reason)
    assert gateway.judge.status().failures == failures + 1
    assert gateway.judge.status().state is ModelState.FAILING
    assert "the-secret-key" not in caplog.text + str(output)
