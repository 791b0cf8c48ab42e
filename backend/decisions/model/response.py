"""What is read of a model service's response. Pure.

All of a response is outside, not only the answer in it: the model's name for itself, why it stopped and how many
tokens it counted reach the database, the health page and the log. So each is believed only in the form that it
has where all is well, and nothing else of the response is kept.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from decisions.model.judgement import InvalidAnswer

# Of one call. More than any model takes: who counts more does not count tokens.
MOST_TOKENS = 100_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
_REASON = re.compile(r"[A-Z][A-Z_]{0,39}")
_FINISHED = "STOP"


class UnreadableResponse(ValueError):
    """The service did not answer as its interface says; the message is in words of ours."""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one or more calls."""

    calls: int = 0
    prompt: int = 0
    thinking: int = 0
    answer: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.calls + other.calls,
            self.prompt + other.prompt,
            self.thinking + other.thinking,
            self.answer + other.answer,
        )

    def to_row(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt,
            "thinking_tokens": self.thinking,
            "answer_tokens": self.answer,
        }


NOTHING_USED = TokenUsage()


class _Read(BaseModel):
    # As the service's own library takes it: names in either form, and unknown ones let be.
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)


class _Part(_Read):
    text: str | None = None
    thought: bool | None = None


class _Content(_Read):
    parts: list[_Part] | None = None


class _Candidate(_Read):
    content: _Content | None = None
    finish_reason: Any = None


class _Usage(_Read):
    prompt_token_count: Any = None
    thoughts_token_count: Any = None
    candidates_token_count: Any = None


class _Response(_Read):
    model_config = ConfigDict(protected_namespaces=())

    candidates: list[_Candidate] | None = None
    prompt_feedback: Any = None
    usage_metadata: Any = None
    model_version: Any = None


@dataclass(frozen=True)
class ModelResponse:
    """A response in so far as it can be believed. `model` is None where it names none, or no possible one."""

    _read: _Response
    model: str | None
    usage: TokenUsage

    def finished_text(self) -> str:
        """The text of a finished answer.

        Raises:
            InvalidAnswer: it was blocked, or cut off.
        """
        if not self._read.candidates:
            raise InvalidAnswer("it was blocked" if self._read.prompt_feedback else "it was empty")
        first = self._read.candidates[0]
        if first.finish_reason not in (None, _FINISHED):
            raise InvalidAnswer(f"it was cut off ({_known_form(_REASON, first.finish_reason) or 'no known reason'})")
        parts = (first.content.parts if first.content else None) or []
        return "".join(part.text for part in parts if part.text and not part.thought)


def read_response(body: str | bytes) -> ModelResponse:
    """The response in the body of an HTTP answer.

    Raises:
        UnreadableResponse: it is not JSON, or not of the form that the service's responses have.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableResponse("did not answer in JSON") from None
    try:
        found = _Response.model_validate(document)
    except ValidationError:
        raise UnreadableResponse("answered with JSON of another form") from None
    return ModelResponse(found, _known_form(_NAME, found.model_version), _usage(found.usage_metadata))


def _usage(document: Any) -> TokenUsage:
    try:
        used = _Usage.model_validate(document)
    except ValidationError:
        return TokenUsage(calls=1)
    return TokenUsage(
        1, _tokens(used.prompt_token_count), _tokens(used.thoughts_token_count), _tokens(used.candidates_token_count)
    )


def _tokens(count: Any) -> int:
    believed = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MOST_TOKENS
    return int(count) if believed else 0


def _known_form(form: re.Pattern[str], text: Any) -> str | None:
    return text if isinstance(text, str) and form.fullmatch(text) else None
