"""A run's command on this machine: started at most once, looked at, and asked to end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from execution.runner.attendant import ATTENDANT, COMMAND, RESULT, Command
from execution.runner.configuration import Template
from execution.runner.durable_files import read_document, write_document
from execution.runner.processes import ProcessName, end_marked
from execution.runner.protocol import Ended
from vocabulary import StrEnum

log = logging.getLogger(__name__)

BACKEND = Path(__file__).resolve().parent.parent.parent
MOST_STARTS = 3
_MEGABYTE = 1024 * 1024


class Attention(StrEnum):
    """How it stands with a command."""

    STARTING = "starting"
    ATTENDED = "attended"
    ENDED = "ended"
    GONE = "gone"
    """Its attendant was killed: how it ended is not known."""


class Result(BaseModel):
    """What an attendant has written down of a command's end."""

    model_config = ConfigDict(frozen=True)

    ended: Ended
    exit_status: int | None
    signal: int | None
    cause: str | None
    reason: str | None
    output_tail: str
    output_bytes: int
    began_s: float
    ended_s: float


class AttendedCommand:
    """The command of one run, by the run's directory."""

    def __init__(self, directory: Path, mark: str) -> None:
        self._directory = directory
        self._mark = mark
        self._started: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def prepare(
        self, template: Template, environment: Mapping[str, str], *, runner_lock: Path, runner_gone_s: float
    ) -> None:
        """Write down what is to be run.

        Raises:
            OSError: it cannot be written.
        """
        limits = template.limits
        command = Command(
            arguments=list(template.command),
            environment=dict(environment),
            mark=self._mark,
            longest_s=limits.longest_s,
            grace_s=limits.grace_s,
            tail_bytes=limits.output_tail_bytes,
            memory_bytes=None if limits.memory_mb is None else limits.memory_mb * _MEGABYTE,
            cpu_s=limits.cpu_s,
            runner_lock=str(runner_lock),
            runner_gone_s=runner_gone_s,
        )
        write_document(self._directory / COMMAND, asdict(command))

    def look(self) -> Attention:
        """How it stands; where nobody attends the command yet, an attendant is started.

        Raises:
            OSError: what is written down of it cannot be read.
        """
        if self._started is not None:
            self._started.poll()  # so that an ended attendant is waited for
        name = self._attendant()
        if name is None:
            return self._start()
        is_alive = name.is_alive()
        if (self._directory / RESULT).exists():
            return Attention.ENDED
        return Attention.ATTENDED if is_alive else Attention.GONE

    def is_claimed(self) -> bool:
        """Whether an attendant has said that it starts the command."""
        return self._attendant() is not None

    def ask_to_end(self) -> None:
        """Have the command ended, if it is attended."""
        name = self._attendant()
        if name is not None:
            name.send(signal.SIGTERM)

    def result(self) -> Result:
        """How it ended.

        Raises:
            ValueError: what is written there is no result.
        """
        return Result.model_validate(read_document(self._directory / RESULT))

    def end_what_is_left(self) -> None:
        """Where the attendant is gone: end what it attended."""
        end_marked(self._mark)

    def _attendant(self) -> ProcessName | None:
        document = read_document(self._directory / ATTENDANT)
        return None if document is None else ProcessName(**document)

    def _start(self) -> Attention:
        if self._started is not None and self._started.returncode is None:
            return Attention.STARTING
        if self._starts >= MOST_STARTS:
            return Attention.GONE
        self._starts += 1
        self._started = subprocess.Popen(
            [sys.executable, "-m", "execution.runner.attendant", str(self._directory)],
            cwd=BACKEND,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        return Attention.STARTING
