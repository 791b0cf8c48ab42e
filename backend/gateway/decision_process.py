"""The deciding half of the gateway: a process of its own beside the one that serves.

Deciding is computing, and in one process with the streams it would hold them up, in threads as in greenlets
(docs/gateway.md has the figures). The two halves share the database and this pipe: the child writes a line when
its status changes, and ends in order when its input does, as it does by itself when the parent is killed.

    python -m gateway.decision_process   what the parent starts, in backend/
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clock import utc_now
from database.errors import DatabaseError
from database.opening import open_database
from decisions.model.gemini import ModelState, ModelStatus
from decisions.publishing.schema import Scorer
from decisions.work.agent import AgentState
from decisions.work.counts import DecisionCounts
from decisions.work.worker import DecisionWorkers
from queueing.backoff import Backoff
from settings import SettingsError, load_settings
from web.serving import Stopped, log_to_stderr, stop_on_signals

log = logging.getLogger("gateway.decision_process")

BACKEND = Path(__file__).resolve().parent.parent
GARBAGE_THRESHOLDS = (50_000, 20, 100)
COMMAND = (sys.executable, "-m", "gateway.decision_process")
STATUS_PERIOD_S = 0.5
LONGEST_STATUS_BYTES = 64 * 1024
GIVE_BACK_WITHIN_S = 2.0
STOP_WITHIN_S = 6.0
# The process repeats its status, so that one that is stuck can be told from one with nothing new to say.
REPEAT_EVERY_S = 5.0
SILENT_AFTER_S = 30.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class ModelReport(BaseModel):
    """The language model, as the decisions of this gateway have found it."""

    name: str = Field(description="As configured")
    role: Literal["score", "explain"]
    state: ModelState = Field(
        description="`refusing`: the model no longer exists or the key is wrong, so a setting has to be put right"
    )
    circuit_open: bool = Field(description="Whether it is not being asked for a while after repeated failures")
    detail: str | None = Field(description="The last failure, while there is one")
    answering_as: str | None = Field(description="The version that it says it is")
    answers: int
    failures: int
    tokens: dict[str, int] = Field(description="Tokens used since the start")


class DecidingStatus(BaseModel):
    """Who decides."""

    model_config = ConfigDict(frozen=True)

    running: bool = Field(description="Whether workloads are being decided here")
    scorer: Scorer | None = Field(description="Who sets the scores at present; null while nobody does")
    detail: str | None = Field(description="Why nobody decides, or what limits the scorer")
    model: ModelReport | None = Field(description="Null without GEMINI_API_KEY")
    troubles: list[str] = Field(default=[], description="What keeps it from deciding, or from doing so well")


NOT_RUNNING = DecidingStatus(running=False, scorer=None, detail=None, model=None)


def status_of(workers: DecisionWorkers) -> DecidingStatus:
    """The status of workers that decide in this process."""
    state, detail = workers.scorer_in_use()
    return DecidingStatus(
        running=True,
        scorer=Scorer.GEMINI if state is AgentState.MODEL else Scorer.DETERMINISTIC,
        detail=detail,
        model=None if workers.judge is None else _report(workers.judge.status()),
        troubles=workers.troubles(),
    )


class DecidingReport(DecidingStatus):
    """What the deciding process tells the serving one: its status, and what it did since it began."""

    counts: DecisionCounts | None = None


def report_of(workers: DecisionWorkers) -> DecidingReport:
    """The report of workers that decide in this process."""
    return DecidingReport(**dict(status_of(workers)), counts=workers.counter.counts())


def _report(status: ModelStatus) -> ModelReport:
    return ModelReport(
        name=status.model,
        role=status.role,
        state=status.state,
        circuit_open=status.state in {ModelState.RESTING, ModelState.REFUSING},
        detail=status.detail,
        answering_as=status.answering_as,
        answers=status.answers,
        failures=status.failures,
        tokens=status.usage.to_row(),
    )


class DecidingProcess:
    """The child, which is started anew when it dies."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._status = NOT_RUNNING
        self._heard_at = time.monotonic()
        self._counts: DecisionCounts | None = None
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="deciding", daemon=True)

    def status(self) -> DecidingStatus:
        status, silent_s = self._status, time.monotonic() - self._heard_at
        if not status.running or silent_s < SILENT_AFTER_S:
            return status
        trouble = f"the deciding process has said nothing for {silent_s:.0f} s"
        return status.model_copy(update={"troubles": [trouble, *status.troubles]})

    def counts(self) -> DecisionCounts | None:
        """What the process has done since it began, or its predecessor."""
        return self._counts

    def start(self) -> None:
        self._supervisor.start()

    def ask_to_stop(self) -> None:
        """Let it give back what it has in hand, and end; without waiting for it."""
        with self._lock:
            self._stopping.set()
            if self._child is not None and self._child.stdin is not None:
                self._child.stdin.close()

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        self.ask_to_stop()
        if not self._supervisor.is_alive():
            return
        self._supervisor.join(STOP_WITHIN_S)
        if self._supervisor.is_alive() and self._child is not None:
            log.warning("the deciding process did not end and was killed: its leases expire by themselves")
            self._child.kill()
            self._supervisor.join()

    def _supervise(self) -> None:
        pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                ended = f"ended (status {self._run_child()})"
            except Exception:  # the top of the thread that keeps workloads decided
                log.exception("the deciding process could not be run")
                ended = "cannot be run"
            self._status = NOT_RUNNING
            if self._stopping.is_set():
                return
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pauses.reset()
            pause_s = pauses.next_s()
            log.error("the deciding process %s and will be restarted in %.0f s", ended, pause_s)
            self._stopping.wait(pause_s)

    def _run_child(self) -> int | None:
        """Start the process and follow its status until it ends; its exit status, or None if none is to run."""
        child = self._started()
        if child is None:
            return None
        with child:  # leaving it closes the process's input, so that it ends
            if child.stdout is not None:
                self._follow(child.stdout)
            self._status = NOT_RUNNING
            return child.wait()

    def _started(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            # In a session of its own: a terminal's Ctrl-C is for the parent, which then ends it in order.
            self._child = subprocess.Popen(
                self._command,
                cwd=BACKEND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            return self._child

    def _follow(self, lines: IO[bytes]) -> None:
        while line := lines.readline(LONGEST_STATUS_BYTES):
            try:
                report = DecidingReport.model_validate_json(line)
            except ValidationError:
                log.warning("the deciding process wrote a line that is not a status: %s", line[:200])
                continue
            self._counts = report.counts
            self._status = DecidingStatus(**report.model_dump(exclude={"counts"}))
            self._heard_at = time.monotonic()


def main() -> int:
    """Decide until the input ends, or SIGTERM; returns the exit status."""
    log_to_stderr()
    logging.getLogger("google_genai").setLevel(logging.WARNING)
    # A decision of many data centres makes a hundred thousand objects that live until it is published: to look
    # through them for cycles every 700 takes an eighth of its time.
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    stop_on_signals()
    threading.Thread(target=_stop_when_input_ends, name="input", daemon=True).start()
    try:
        settings = load_settings()
        with closing(open_database(settings)) as database:
            workers = DecisionWorkers.of(settings, database, clock=utc_now)
            workers.start()
            try:
                _report_changes(workers)
            finally:
                workers.stop(GIVE_BACK_WITHIN_S)
    except (SettingsError, DatabaseError) as error:
        log.error("not deciding: %s", error)  # noqa: TRY400 - one line, not a trace
        return 1
    except (Stopped, BrokenPipeError):
        pass
    return 0


def _stop_when_input_ends() -> None:
    try:
        while os.read(sys.stdin.fileno(), 4096):  # unbuffered: a lock held at the interpreter's end is fatal
            pass
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _report_changes(workers: DecisionWorkers) -> None:
    reported: bytes | None = None
    reported_at = 0.0
    while True:
        line, now = _status_line(workers), time.monotonic()
        if line is not None and (line != reported or now - reported_at >= REPEAT_EVERY_S):
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            reported, reported_at = line, now
        time.sleep(STATUS_PERIOD_S)


def _status_line(workers: DecisionWorkers) -> bytes | None:
    try:
        return report_of(workers).model_dump_json().encode() + b"\n"
    except Exception:  # what cannot be told is no reason to stop deciding
        log.exception("the status cannot be reported")
        return None


if __name__ == "__main__":
    sys.exit(main())
