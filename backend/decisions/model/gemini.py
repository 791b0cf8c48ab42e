"""Gemini as a second opinion: asks, retries, repairs, and gives up in good time.

Whatever goes wrong is one exception, `ModelUnavailable`, whose text is published as the reason why the
deterministic score stands. The SDK is imported when the first question is asked, so a gateway without a key
does not pay for it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decisions.model.circuit_breaker import CircuitBreaker
from decisions.model.judgement import InvalidAnswer, Question, Role, read_answer, repair_note
from decisions.model.response import (
    NOTHING_USED,
    ModelResponse,
    TokenUsage,
    UnreadableResponse,
    read_response,
)
from decisions.publishing.output import Judgement
from outgoing.calls import KeptCaller, Limits
from outgoing.failures import AnswerTooLong, CallTimedOut, NoConnection
from printable import LONGEST_REASON, printable
from queueing import backoff
from settings import Settings
from vocabulary import StrEnum

if TYPE_CHECKING:
    import httpx
    from google import genai

_log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 15.0
# All that one decision may spend on the model: a slow answer, and its repair or what failed before it.
DECISION_BUDGET_S = 25.0
SHORTEST_REQUEST_S = 1.0
MOST_TRIES = 3
FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 30.0

LIMITS = Limits(connect_s=5.0, whole_s=REQUEST_TIMEOUT_S, answer_bytes=1024 * 1024)

# Thinking counts against the limit too.
OUTPUT_TOKENS = 4096
OUTPUT_TOKENS_PER_OPTION = 96

_RETRY_DELAY = re.compile(r"^(\d{1,6}(?:\.\d{1,9})?)s$")


class ModelUnavailable(Exception):
    """The model gave no usable answer; the message says why, in one printable sentence without its full stop.

    `usage` is what was spent on unusable answers.
    """

    def __init__(self, message: str, usage: TokenUsage = NOTHING_USED) -> None:
        super().__init__(printable(message, LONGEST_REASON))
        self.usage = usage


class ModelRefuses(ModelUnavailable):
    """It will go on refusing until somebody changes a setting: the model is gone, or the key is wrong."""


class ModelTooSlow(ModelUnavailable):
    """It did not answer in time, and is not asked again for this decision: that could take as long once more."""


@dataclass(frozen=True)
class ModelAnswer:
    """Judgements by dc_id, the model that says it made them, and what they took."""

    judgements: Mapping[str, Judgement]
    model: str
    usage: TokenUsage

    @property
    def sets_scores(self) -> bool:
        return any(judgement.score is not None for judgement in self.judgements.values())


class ModelState(StrEnum):
    UNTRIED = "untried"
    ANSWERING = "answering"
    FAILING = "failing"
    RESTING = "resting"
    REFUSING = "refusing"


@dataclass(frozen=True)
class ModelStatus:
    """For `/health`. `detail` is the last failure while there is one; `answering_as` the last `model_version`."""

    model: str
    role: Role
    state: ModelState
    detail: str | None
    answering_as: str | None
    answers: int
    failures: int
    usage: TokenUsage


class GeminiJudge:
    """Asks Gemini about decisions. One client, built at the first question; safe to use from many threads."""

    def __init__(
        self,
        api_key: str,
        model: str,
        *,
        role: Role = "score",
        base_url: str | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        decision_budget_s: float = DECISION_BUDGET_S,
        first_back_off_s: float = FIRST_BACK_OFF_S,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.model = model
        self.role: Role = role
        self._api_key = api_key
        self._base_url = base_url
        self._request_timeout_s = request_timeout_s
        self._decision_budget_s = decision_budget_s
        self._first_back_off_s = first_back_off_s
        self._breaker = breaker or CircuitBreaker()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._client: genai.Client | None = None
        self._status = ModelStatus(model, role, ModelState.UNTRIED, None, None, 0, 0, NOTHING_USED)

    @property
    def is_resting(self) -> bool:
        """Whether questions are answered with `ModelUnavailable` at once, after repeated failures."""
        return self._breaker.is_resting

    @property
    def longest_answer_s(self) -> float:
        """How long `judge` may take."""
        return self._decision_budget_s + self._request_timeout_s

    def status(self) -> ModelStatus:
        with self._lock:
            return self._status

    def stop(self) -> None:
        """Give up waiting between tries; questions are refused from now on."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and close the connections; a question that is still being answered fails."""
        self.stop()
        with self._lock:
            if self._http is not None:
                self._http.close()

    def why_resting(self) -> ModelUnavailable:
        return ModelUnavailable(f"{self.model} is not being asked for a while: {self.status().detail}")

    def why_busy(self, seats: int) -> ModelUnavailable:
        """Why a decision is made without asking, while `seats` others wait for the model."""
        others = "another decision" if seats == 1 else f"{seats} other decisions"
        return ModelUnavailable(
            f"{self.model} was not asked: {others} still waited for it, and this one could wait no longer"
        )

    def judge(self, question: Question) -> ModelAnswer:
        """The model's judgement of every data centre asked about, and nothing else.

        Raises:
            ModelUnavailable: it failed, timed out, or answered nonsense twice.
        """
        if not self._breaker.allow():
            raise self.why_resting()
        try:
            answer = self._answer(question, time.monotonic() + self._decision_budget_s)
        except ModelUnavailable as error:
            self._note_failure(error)
            raise
        except Exception as error:  # whatever the SDK, its HTTP client or their settings raise
            unavailable = self._unforeseen(error)
            self._note_failure(unavailable)
            raise unavailable from error
        self._breaker.succeeded()
        self._note_answer(answer)
        return answer

    def _answer(self, question: Question, give_up_at: float) -> ModelAnswer:
        usage = NOTHING_USED
        problem: InvalidAnswer | None = None
        for _ in range(2):  # the question, and one repair
            response = self._response(question, problem, give_up_at)
            usage += response.usage
            try:
                judgements = read_answer(response.finished_text(), question)
            except InvalidAnswer as error:
                problem = error
            else:
                return ModelAnswer(judgements, response.model or self.model, usage)
        raise ModelUnavailable(f"{self.model} gave no usable answer when asked twice: {problem}", usage)

    def _response(self, question: Question, problem: InvalidAnswer | None, give_up_at: float) -> ModelResponse:
        """One answer of the service, retried while that can help and time is left."""
        for tries in range(1, MOST_TRIES + 1):
            timeout_s = min(self._request_timeout_s, give_up_at - time.monotonic())
            if timeout_s < SHORTEST_REQUEST_S and tries > 1:
                break
            try:
                return self._ask(question, problem, max(timeout_s, SHORTEST_REQUEST_S))
            except _Retryable as error:
                failure = error
            pause_s = failure.delay_s
            if pause_s is None:
                pause_s = backoff.pause_s(tries, first_s=self._first_back_off_s, longest_s=LONGEST_BACK_OFF_S)
            if tries == MOST_TRIES or time.monotonic() + pause_s + SHORTEST_REQUEST_S > give_up_at:
                break
            if self._stopping.wait(pause_s):
                raise ModelUnavailable("the gateway is stopping")
        raise ModelUnavailable(str(failure)) from failure

    def _ask(self, question: Question, problem: InvalidAnswer | None, timeout_s: float) -> ModelResponse:
        if self._stopping.is_set():
            raise ModelUnavailable("the gateway is stopping")
        client = self._built_client()
        from google.genai import errors, types

        contents = [question.data] if problem is None else [question.data, repair_note(problem)]
        config = types.GenerateContentConfig(
            system_instruction=question.instructions,
            response_mime_type="application/json",
            response_schema=question.answer_form,
            thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
            max_output_tokens=OUTPUT_TOKENS + OUTPUT_TOKENS_PER_OPTION * len(question.dc_ids),
            store=False,
            http_options=types.HttpOptions(timeout=round(timeout_s * 1000)),
            should_return_http_response=True,  # read here: the SDK takes a response for true
        )
        try:
            response = client.models.generate_content(model=self.model, contents=contents, config=config)
            return read_response((response.sdk_http_response and response.sdk_http_response.body) or "")
        except errors.APIError as error:
            raise _of_api_error(error, self.model) from error
        except CallTimedOut as error:
            raise ModelTooSlow(f"{self.model} did not answer within {timeout_s:.2g} s") from error
        except (NoConnection, AnswerTooLong) as error:
            raise _Retryable(f"{self.model} cannot be reached ({type(error.cause or error).__name__})") from error
        except UnreadableResponse as error:
            raise _Retryable(f"{self.model} {error}") from error

    def _built_client(self) -> genai.Client:
        with self._lock:
            if self._client is None:
                from google import genai
                from google.genai import types

                from outgoing.httpx_transport import bounded_client, unused_async_client

                # Ours: the SDK's own is of one library or another, by its version, and so are its errors.
                self._http = bounded_client(KeptCaller(), LIMITS)
                self._client = genai.Client(
                    vertexai=False,  # whatever the environment says
                    api_key=self._api_key,
                    http_options=types.HttpOptions(
                        base_url=self._base_url,
                        api_version="v1",
                        httpx_client=self._http,
                        httpx_async_client=unused_async_client(),
                    ),
                )
            return self._client

    def _unforeseen(self, error: Exception) -> ModelUnavailable:
        # The text of such an error may hold the key, or a proxy's password: it is for nobody outside.
        told = printable(error, LONGEST_REASON).replace(self._api_key, "(the key)")
        _log.warning("the model %s cannot be asked: %s: %s", self.model, type(error).__name__, told)
        return ModelUnavailable(f"{self.model} cannot be asked ({type(error).__name__}; the gateway's log says more)")

    def _note_answer(self, answer: ModelAnswer) -> None:
        with self._lock:
            before = self._status
            self._status = ModelStatus(
                self.model,
                self.role,
                ModelState.ANSWERING,
                None,
                answer.model,
                before.answers + 1,
                before.failures,
                before.usage + answer.usage,
            )
        if before.state is not ModelState.ANSWERING:
            _log.info("model %s answers, as version %s", self.model, answer.model)

    def _note_failure(self, error: ModelUnavailable) -> None:
        refuses = isinstance(error, ModelRefuses)
        self._breaker.failed(timed_out=isinstance(error, ModelTooSlow), rest_longest=refuses)
        state = ModelState.RESTING if self._breaker.is_open else ModelState.FAILING
        with self._lock:
            before = self._status
            self._status = ModelStatus(
                self.model,
                self.role,
                ModelState.REFUSING if refuses else state,
                str(error),
                before.answering_as,
                before.answers,
                before.failures + 1,
                before.usage + error.usage,
            )
            changed = (before.state, before.detail) != (self._status.state, self._status.detail)
        if refuses and changed:
            _log.error("%s; the deterministic scorer decides until that is fixed", error)
        elif changed and state is ModelState.RESTING:
            _log.warning("the model is not being asked for a while: %s", error)


def judge_from(settings: Settings) -> GeminiJudge | None:
    """The judge that the settings ask for; None without a key."""
    if settings.gemini_api_key is None:
        return None
    return GeminiJudge(
        settings.gemini_api_key.get_secret_value(),
        settings.gemini_model,
        role="explain" if settings.gemini_role == "explain" else "score",
        base_url=settings.gemini_base_url,
    )


class _Retryable(Exception):
    """A failure that may pass. `delay_s` is when the service wants to be asked again, if it says so."""

    def __init__(self, message: str, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


def _of_api_error(error: Any, model: str) -> Exception:
    if error.code == 404:
        return ModelRefuses(f"the model {model} does not exist any more (404): set GEMINI_MODEL to a current one")
    if error.code in {401, 403} or "API_KEY" in str(error.details):
        return ModelRefuses(f"the key is refused ({error.code}): check GEMINI_API_KEY")
    if error.code == 429:
        return _Retryable(f"{model} is over its quota (429)", _retry_delay_s(error.details))
    if error.code >= 500:
        return _Retryable(f"{model} failed ({error.code})", _retry_delay_s(error.details))
    return ModelUnavailable(f"{model} refused the request ({error.code} {printable(error.status, 60)})")


def _retry_delay_s(details: Any) -> float | None:
    """The delay of a google.rpc.RetryInfo, "17s" or "0.5s"."""
    try:
        infos = details["error"]["details"]
        delays = [_RETRY_DELAY.match(str(info.get("retryDelay", ""))) for info in infos]
    except (TypeError, KeyError, AttributeError):
        return None
    return max((float(delay[1]) for delay in delays if delay), default=None)
