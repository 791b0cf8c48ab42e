"""The gateway's hold on its deciding process, whatever that writes and however it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from decisions.publishing.schema import Scorer
from gateway.decision_process import NOT_RUNNING, DecidingProcess, DecidingStatus

DETERMINISTIC = DecidingStatus(running=True, scorer=Scorer.DETERMINISTIC, detail="no key", model=None)


@contextmanager
def supervising(script: str) -> Iterator[DecidingProcess]:
    process = DecidingProcess((sys.executable, "-c", script))
    process.start()
    try:
        yield process
    finally:
        process.stop()


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "noise",
    [b"no status\n", b"\xff\xfe\x00\n", b"{}\n", b"\n", b"[" * 1000 + b"\n", b'{"running": "\\ud800"}\n'],
    ids=["text", "bytes", "another document", "nothing", "deep", "half a character"],
)
def test_lines_that_are_no_status_are_passed_over(noise: bytes) -> None:
    script = f"""
import sys
sys.stdout.buffer.write({noise!r})
sys.stdout.buffer.write({DETERMINISTIC.model_dump_json().encode()!r} + b"\\n")
sys.stdout.buffer.write({noise!r} + b"x" * 1_000_000)
sys.stdout.flush()
sys.stdin.read()
"""
    with supervising(script) as process:
        eventually(lambda: process.status() == DETERMINISTIC)
    assert process.status() == NOT_RUNNING


def test_a_process_that_is_stuck_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.decision_process.SILENT_AFTER_S", 0.3)
    script = f"""
import sys, time
for number in range(4):
    sys.stdout.buffer.write({DETERMINISTIC.model_dump_json().encode()!r} + b"\\n")
    sys.stdout.flush()
    time.sleep(0.1)
sys.stdin.read()
"""
    with supervising(script) as process:
        eventually(lambda: process.status() == DETERMINISTIC)
        eventually(lambda: any("has said nothing for" in trouble for trouble in process.status().troubles))
        assert process.status().running


def test_a_process_that_ends_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    with supervising("import sys; sys.exit(3)"):
        eventually(lambda: caplog.text.count("ended (status 3) and will be restarted") == 2)


def test_a_process_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    process = DecidingProcess(("/no/such/program",))
    process.start()
    eventually(lambda: caplog.text.count("cannot be run and will be restarted") == 2)
    process.stop()
