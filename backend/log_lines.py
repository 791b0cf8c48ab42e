"""Log records as lines: one an event, printable and short, whatever text from outside is in them.

An event's line begins with its time, and nothing else does: a traceback follows its event indented. So nobody whose
text is logged can forge an event, colour a terminal or fill a disk. With LOG_FORMAT=json an event is a JSON object on
one line, its traceback included.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import TextIO

import orjson

from grid.half_hours import UTC, rfc3339
from printable import printable

LONGEST_MESSAGE = 2000
LONGEST_TRACEBACK_LINE = 300
# A traceback that is longer keeps its beginning and its end, which says what happened.
FIRST_TRACEBACK_LINES = 20
LAST_TRACEBACK_LINES = 60

ABOUT_A_JOB = "job %s"
"""How the message of an event about a workload begins; its first argument is the job's id."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being answered, if one is."""

caller: ContextVar[tuple[str, str] | None] = ContextVar("caller", default=None)
"""The operator and the principal that it is from, where it says so. Never a key, and nothing else of a token."""

_log = logging.getLogger("pylon")


class LogLines(logging.Formatter):
    """Formats records as this module says, with UTC times."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        record.message = printable(_told_by(record), LONGEST_MESSAGE)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - the standard library's name
        return "\n".join(_indented(super().formatException(ei)))  # type: ignore[arg-type] # as it is declared there

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the standard library's name
        return "\n".join(_indented(stack_info))


class JsonLines(logging.Formatter):
    """Formats records as JSON objects: time, level, logger, message, and the request, job and traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": printable(record.getMessage(), LONGEST_MESSAGE),
        }
        if (answering := request_id.get()) is not None:
            event["request_id"] = answering
        if (calling := caller.get()) is not None:
            event["operator"], event["principal"] = map(printable, calling)
        elif (operator := _operator_of(record)) is not None:
            event["operator"] = operator
        if (job_id := _job_of(record)) is not None:
            event["job_id"] = job_id
        if record.exc_info:
            event["traceback"] = list(_short(self.formatException(record.exc_info)))
        if record.stack_info:
            event["stack"] = list(_short(record.stack_info))
        return orjson.dumps(event).decode()


def _told_by(record: logging.LogRecord) -> str:
    """The message, with who asked and in which request where that is known, else with whose work it is about."""
    if (calling := caller.get()) is not None:
        operator, principal = calling
        return f"[{operator} {principal} {request_id.get()}] {record.message}"
    about = _operator_of(record)
    return record.message if about is None else f"[{about}] {record.message}"


def _operator_of(record: logging.LogRecord) -> str | None:
    """Whose workload the event is about, which its `extra` may say."""
    operator = getattr(record, "operator", None)
    return None if operator is None else printable(operator)


def _job_of(record: logging.LogRecord) -> str | None:
    if isinstance(record.msg, str) and record.msg.startswith(ABOUT_A_JOB) and isinstance(record.args, tuple):
        return printable(record.args[0])
    return None


def log_lines_to(stream: TextIO, *, as_json: bool = False) -> None:
    """Log to `stream` from now on: the records of this process, its warnings, and what ends one of its threads."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if as_json else LogLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.showwarning = _log_warning
    # Whoever runs this process, a test runner say, may have hooks of its own.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_end
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_thread_end


def _indented(text: str) -> Iterator[str]:
    return ("  " + line for line in _short(text))


def _short(text: str) -> Iterator[str]:
    lines = text.splitlines()
    left_out = len(lines) - FIRST_TRACEBACK_LINES - LAST_TRACEBACK_LINES
    if left_out > 0:
        lines[FIRST_TRACEBACK_LINES:-LAST_TRACEBACK_LINES] = [f"… {left_out} lines are left out …"]
    for line in lines:
        yield printable(line, LONGEST_TRACEBACK_LINE)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the standard library's signature
    line: str | None = None,  # noqa: ARG001
) -> None:
    _log.warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _log.critical("the process ends: %s", kind.__name__, exc_info=(kind, error, trace))


def _log_thread_end(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread else "?"
    _log.critical(
        "the thread %s ended: %s",
        name,
        ended.exc_type.__name__,
        exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback),
    )
