"""Asks the three servers as one row of the matrix says, and reads the answers for what should not be in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import requests

from planted import GPU_MINUTES, SECRETS, Ids
from served import Client
from tenancy.guard import OPERATOR_HEADER
from tenancy_matrix import BODY, HEADER, PATH, QUERY, Filled, Row

STREAM = "text/event-stream"
_OF_THE_MOMENT = frozenset({"date", "expires", "content-length", "x-request-id", "connection"})
_OF_EACH_ANSWER = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    # As pages write them.
    (re.compile(r"[A-Z][a-z]{2} \d+ [A-Z][a-z]{2} \d\d:\d\d|\d\d:\d\d (GMT|BST)"), "<time>"),
    (re.compile(r"\bnow(?=</)|(?<=decided )now\b|(?<=, )now(?=; event)|(?<=\()now(?=\))"), "<time>"),
    (re.compile(r"(\bin )?\b\d+ (min|h|days)\b( \d+ min)?( old| ago)?"), "<time>"),
    (re.compile(r'(?<=<line class=")(now|cursor)"( x[12]="[\d.]+%")+'), "<time>"),
    (re.compile(r'(?<=<td class="nowrap used">).*?(?=</td>)'), "<taken>"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r'pyl_\w+|(?<="key_id":")[0-9A-Za-z]{12}|(?<="ticket":")[^"]+'), "<key>"),
    (re.compile(r'"(age|took|solved|elapsed|running)\w*":\s*[0-9.e-]+|"last_used_at":(null|"<time>")'), "<taken>"),
)


def without_moment(text: str) -> str:
    """An answer without the times, ids and keys that each has its own of."""
    for pattern, word in _OF_EACH_ANSWER:
        text = pattern.sub(word, text)
    return text


@dataclass(frozen=True)
class Answer:
    """What came back. `asked` is whatever the request named, which an answer may repeat."""

    status: int
    headers: Mapping[str, str]
    body: str
    asked: tuple[str, ...]

    @property
    def told(self) -> str:
        """The answer without what the request said itself."""
        return self._without_asked("\n".join([*self.headers.values(), self.body]))

    @cached_property
    def likeness(self) -> tuple[int, dict[str, str], str]:
        """What two answers have in common that differ in nothing but what was asked, and the moment."""
        headers = {name.lower(): self._plain(value) for name, value in self.headers.items()}
        kept = {name: value for name, value in headers.items() if name not in _OF_THE_MOMENT}
        if self.status == 304:  # from memory it is shorter, and what is remembered is each one's own
            kept = {name: value for name, value in kept.items() if name in {"etag", "cache-control"}}
        if any(name in self.body for name in self.asked):
            kept.pop("etag", None)  # a digest of a body with the name in it
        return self.status, kept, self._plain(self.body)

    def _plain(self, text: str) -> str:
        return self._without_asked(without_moment(text))

    def _without_asked(self, text: str) -> str:
        for name in sorted(self.asked, key=len, reverse=True):
            if not name.isdigit():
                text = text.replace(name, "<asked>")
            elif self.status >= 400:  # elsewhere it may be any number
                text = re.sub(rf"(?<![\d.]){name}(?![\d.])", "<asked>", text)
        return text


def ask(
    client: Client, name: str, row: Row, headers: Mapping[str, str], filled: Filled, *, newest: int | None = None
) -> Answer:
    """One request of an operation, called "METHOD /path".

    Args:
        newest: up to which event a stream is read; None: only its head.
    """
    places = {**row.usual, **filled}
    method, path = name.split(" ", 1)
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None if method == "GET" else {}
    sent = dict(headers)
    for (where, place), value in places.items():
        if where == PATH:
            path = path.replace("{" + place + "}", quote(str(value), safe=""))
        elif where == QUERY:
            query[place] = str(value)
        elif where == HEADER:
            sent[place] = str(value)
        elif where == BODY and body is not None:
            body[place] = value
    with client.request(method, path, params=query, json=body, headers=sent, stream=row.streams) as answer:
        text = _read(answer, newest)
        named = [*filled.values(), *([headers[OPERATOR_HEADER]] if OPERATOR_HEADER in headers else [])]
        asked = tuple(each for value in named for each in _texts(value))
        return Answer(answer.status_code, dict(answer.headers), text, asked)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    else:
        text = str(value)
        yield text
        if "/" in text:
            yield text.partition("/")[2]


def _read(answer: requests.Response, newest: int | None) -> str:
    if not answer.headers.get("Content-Type", "").startswith(STREAM):
        return answer.text
    read: list[str] = []
    if newest is not None:
        for line in answer.iter_lines(decode_unicode=True):
            read.append(line)
            if read[-1] == "" and f"id: {newest}" in read:
                break
    return "\n".join(read)


def private_words(operator: str, ids: Ids) -> list[str]:
    """What no answer to anybody else may hold."""
    return [
        *(SECRETS[operator], str(GPU_MINUTES[operator]), ids.decision, ids.key, ids.account),
        *(ids.bought.order_id, ids.bought.quote_id, ids.bought.transaction_id, ids.order_job),
        *(f"user-{operator[-1]}-{role}" for role in ("admin", "member", "reader")),
    ]


def found_in(words: list[str], answer: Answer) -> list[str]:
    """Those of the words that an answer tells, beyond what it was asked."""
    told = answer.told
    return [word for word in words if word in told]


def is_problem(answer: Answer) -> bool:
    return answer.headers.get("Content-Type") == "application/problem+json" and "detail" in json.loads(answer.body)
