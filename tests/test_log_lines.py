"""Every event is one line that nobody outside can forge, colour or make long."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from log_lines import LONGEST_MESSAGE, JsonLines, LogLines, request_id

BACKEND = Path(__file__).resolve().parents[1] / "backend"
FORGED = "2026-11-27T00:00:00Z ERROR BG: all data is gone"
AN_EVENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z [A-Z]+ \S+: ")

anything = st.text(st.characters(exclude_categories=()), max_size=300)


def logged(write: Callable[[logging.Logger], None], lines: type[logging.Formatter] = LogLines) -> list[str]:
    """The lines that a program's log has after `write`."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(lines())
    log = logging.Logger("a.log")
    log.addHandler(handler)
    write(log)
    return stream.getvalue().split("\n")[:-1]


def logged_failure(message: str, lines: type[logging.Formatter] = LogLines) -> list[str]:
    def fail() -> None:
        raise ValueError(message)

    def write(log: logging.Logger) -> None:
        try:
            fail()
        except ValueError:
            log.exception("it failed")

    return logged(write, lines)


@given(anything)
def test_a_message_is_one_printable_line(text: str) -> None:
    (line,) = logged(lambda log: log.warning("from %s", text))
    assert AN_EVENT.match(line)
    assert line.isprintable()


def test_a_message_is_short() -> None:
    (line,) = logged(lambda log: log.warning("field %s", "k" * 900_000))
    assert len(line) < LONGEST_MESSAGE + 100


@given(anything)
def test_a_traceback_is_indented_printable_and_cannot_be_taken_for_an_event(text: str) -> None:
    event, *trace = logged_failure(f"{text}\n{FORGED}")
    assert event.endswith("it failed")
    assert any("Traceback" in line for line in trace)
    assert all(line.startswith("  ") and line.isprintable() and not AN_EVENT.match(line) for line in trace)


def test_a_traceback_is_short_and_keeps_its_end() -> None:
    lines = logged_failure("x\n" * 5000 + "y" * 5000 + "\nthe very end")
    assert len(lines) < 100
    assert max(map(len, lines)) < 400
    assert lines[-1] == "  the very end"


def test_warnings_and_the_ends_of_threads_and_of_the_process_are_events_too() -> None:
    code = f"""
import sys, threading, warnings
from log_lines import log_lines_to
log_lines_to(sys.stderr)
warnings.warn("a\\n{FORGED}", stacklevel=1)
def fail():
    raise ValueError("b\\n{FORGED}")
thread = threading.Thread(target=fail, name="a-thread")
thread.start()
thread.join()
raise ValueError("c\\n{FORGED}\\x1b[31m")
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=BACKEND, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "\x1b" not in run.stderr
    events = [line for line in run.stderr.split("\n") if not line.startswith("  ") and line]
    assert [AN_EVENT.match(line) is not None for line in events] == [True] * 3
    assert FORGED not in events
    assert "UserWarning" in events[0]
    assert "a-thread" in events[1]


@given(anything)
def test_as_json_an_event_is_one_object_on_one_line(text: str) -> None:
    (line,) = logged(lambda log: log.warning("from %s", text), JsonLines)
    event = json.loads(line)
    assert line.isprintable()
    assert event["message"].startswith("from ")
    assert (event["level"], event["logger"]) == ("WARNING", "a.log")
    assert set(event) == {"time", "level", "logger", "message"}


def test_as_json_an_event_has_the_ids_of_its_request_and_its_job() -> None:
    token = request_id.set("r-1")
    try:
        (line,) = logged(lambda log: log.info("job %s: %d ms", "job-7", 12), JsonLines)
    finally:
        request_id.reset(token)
    event = json.loads(line)
    assert (event["request_id"], event["job_id"], event["message"]) == ("r-1", "job-7", "job job-7: 12 ms")


def test_an_event_about_a_workload_says_whose_it_is() -> None:
    def log_it(log: logging.Logger) -> None:
        log.info("job %s: %d ms", "job-7", 12, extra={"operator": "acme\x1b"})

    (line,) = logged(log_it, JsonLines)
    event = json.loads(line)
    assert (event["operator"], event["job_id"], event["message"]) == (r"acme\x1b", "job-7", "job job-7: 12 ms")
    assert "principal" not in event
    (line,) = logged(log_it)
    assert line.endswith(r"[acme\x1b] job job-7: 12 ms")


@given(anything)
def test_as_json_a_traceback_is_part_of_its_event(text: str) -> None:
    (line,) = logged_failure(f"{text}\n{FORGED}", JsonLines)
    event = json.loads(line)
    assert event["traceback"][0].startswith("Traceback")
    assert all(each.isprintable() for each in event["traceback"])
    assert line.isprintable()
