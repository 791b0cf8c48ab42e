"""A runner's calls to the server."""

from __future__ import annotations

import json
import re
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from execution.runner.protocol import (
    Begin,
    Finish,
    GiveBack,
    Heartbeat,
    Registered,
    Registration,
    Take,
    Taken,
    Told,
)
from execution.runner.server_time import ServerTime
from outgoing.calls import Answer, Caller, Limits
from outgoing.failures import CallFailed
from printable import LONGEST_REASON, printable
from version import VERSION

_CONNECT_S = 5.0
_WHOLE_S = 10.0
_ANSWER_BYTES = 1024 * 1024
_TRY_AGAIN = {408, 425, 429}

Answered = TypeVar("Answered", Registered, Taken, Told)


class ServerGone(Exception):
    """There is no answer now; another attempt may have one."""


class ServerRefused(Exception):
    """The server has answered that it will not; the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ServerCalls:
    """Calls of one runner, with its key. Safe to use from many threads."""

    def __init__(self, server_url: str, runner_id: str, key: str | None, caller: Caller, time: ServerTime) -> None:
        self._server_url = server_url
        self._runners = f"{server_url}/api/v1/runners"
        self._own = f"{self._runners}/{quote(runner_id, safe='')}"
        self._caller = caller
        self._time = time
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"PylonDEG/{VERSION} (runner)",
            **({} if key is None else {"Authorization": f"Bearer {key}"}),
        }

    def register(self, registration: Registration) -> Registered:
        return self._asked(self._runners, registration, Registered)

    def take(self, take: Take) -> Taken:
        return self._asked(f"{self._own}/take", take, Taken, patience_s=take.wait_s)

    def begin(self, run_id: int, begin: Begin) -> Told:
        return self._asked(f"{self._own}/runs/{run_id}/begin", begin, Told)

    def heartbeat(self, run_id: int, heartbeat: Heartbeat) -> Told:
        return self._asked(f"{self._own}/runs/{run_id}/heartbeat", heartbeat, Told)

    def give_back(self, run_id: int, given: GiveBack) -> Told:
        return self._asked(f"{self._own}/runs/{run_id}/give-back", given, Told)

    def finish(self, run_id: int, finish: Finish) -> Told:
        return self._asked(f"{self._own}/runs/{run_id}/finish", finish, Told)

    def close(self) -> None:
        self._caller.close()

    def _asked(self, url: str, message: BaseModel, kind: type[Answered], *, patience_s: float = 0.0) -> Answered:
        """
        Raises:
            ServerGone: there is no answer.
            ServerRefused: it is a refusal.
        """
        limits = Limits(connect_s=_CONNECT_S, whole_s=_WHOLE_S + patience_s, answer_bytes=_ANSWER_BYTES)
        body = message.model_dump_json().encode()
        try:
            answer = self._caller.call("POST", url, limits=limits, headers=self._headers, body=body)
        except CallFailed as failed:
            raise ServerGone(f"{self._server_url} does not answer ({_plain(failed)})") from None
        if answer.status in _TRY_AGAIN or answer.status >= 500:
            raise ServerGone(f"{self._server_url} answers {_words(answer)}")
        if answer.status != 200:
            raise ServerRefused(answer.status, _words(answer))
        try:
            document = kind.model_validate_json(answer.body)
        except ValidationError:
            raise ServerGone(f"what answers at {self._runners} is no server of runners") from None
        self._time.heard(document.now)
        return document


def _plain(failed: CallFailed) -> str:
    cause = failed.cause
    if isinstance(cause, OSError) and cause.strerror:
        return printable(cause.strerror).lower()
    return re.sub(r"^\[Errno -?\d+\] ", "", printable(failed)).lower()


def _words(answer: Answer) -> str:
    try:
        detail = str(json.loads(answer.body)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        detail = ""
    return printable(f"{answer.status} {detail}".strip(), LONGEST_REASON)
