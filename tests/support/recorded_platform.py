"""The platform's answers, recorded as they are and told again with somebody's words in place of a text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from outgoing.calls import Answer, KeptCaller
from outgoing.failures import CallFailed

Asked = tuple[str, str, "bytes | None"]


@dataclass
class RecordedPlatform:
    """In the place of a `KeptCaller`: it asks and remembers, and then tells what it remembers.

    Attributes:
        planted: somebody's words.
    """

    planted: str
    _caller: KeptCaller = field(default_factory=KeptCaller)
    _answers: dict[Asked, Answer] = field(default_factory=dict)
    _planted_in: str | None = None
    _refusal: Answer | None = None
    _is_replayed: bool = False

    def call(self, method: str, url: str, *, body: bytes | None = None, **how: Any) -> Answer:
        """As `KeptCaller.call`. What was not asked while it remembered has no answer then."""
        asked = method, url, body
        if self._refusal is not None:
            return self._refusal
        if not self._is_replayed:
            self._answers[asked] = self._caller.call(method, url, body=body, **how)
            return self._answers[asked]
        if asked not in self._answers:
            raise CallFailed(f"nobody answers {self.planted}")
        answer = self._answers[asked]
        return replace(answer, body=json.dumps(self._with_words(json.loads(answer.body), "")).encode())

    def close(self) -> None:
        self._caller.close()

    def begin(self) -> None:
        """Ask the platform, and remember its answers from here on."""
        self._answers.clear()
        self._is_replayed = False

    def replayed(self) -> Iterator[str]:
        """Tell what is remembered, the words in the place of each text of one name, and of those in lists of that
        name; then of the next. The names."""
        names = {name for answer in self._answers.values() for name in _names(json.loads(answer.body), "")}
        self._is_replayed = True
        for self._planted_in in sorted(names):
            yield self._planted_in

    def refuse_everything(self, status: int, document: Any) -> None:
        self._refusal = Answer(status, {}, json.dumps(document).encode())

    @property
    def was_asked(self) -> bool:
        return bool(self._answers)

    def _with_words(self, document: Any, name: str) -> Any:
        if isinstance(document, str):
            return self.planted if name == self._planted_in else document
        if isinstance(document, list):
            return [self._with_words(each, name) for each in document]
        if isinstance(document, Mapping):
            return {each: self._with_words(value, each) for each, value in document.items()}
        return document


def _names(document: Any, name: str) -> Iterator[str]:
    if isinstance(document, str):
        yield name
    elif isinstance(document, list):
        for each in document:
            yield from _names(each, name)
    elif isinstance(document, Mapping):
        for each, value in document.items():
            yield from _names(value, each)
