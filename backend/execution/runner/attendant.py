"""The process beside one command: starts it, drains its output, ends it in time, and writes down how it ended.

It is started by the runner and outlives it, so that a runner that is killed finds its runs again:

    python -m execution.runner.attendant <directory of the run>

In the directory stand `command.json` (a `Command`, by the runner), `attendant.json` (who attends: whoever writes it
first; so no command is ever started twice) and at last `result.json`. SIGTERM asks it to end the command. Only the
standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from execution.runner.durable_files import create_document, read_document, write_document
from execution.runner.processes import boot_id, end_marked, name_of, signal_group
from execution.runner.tail import Tail

COMMAND, ATTENDANT, RESULT, WORK = "command.json", "attendant.json", "result.json", "work"
_READ_BYTES = 64 * 1024
_LAST_OUTPUT_S = 1.0
_LOOK_FOR_RUNNER_S = 5.0
_PR_SET_PDEATHSIG = 1

EXITED, SIGNALLED, NOT_STARTED = "exited", "signalled", "not_started"
CANCELLED, TOO_LONG, RUNNER_GONE = "cancelled", "too_long", "runner_gone"


@dataclass(frozen=True)
class Command:
    """What to run, and within which limits.

    Attributes:
        arguments: the program, as an absolute path, and its arguments.
        environment: the whole environment.
        mark: by which its processes are known, in the environment too.
        longest_s: after which it is ended.
        grace_s: between SIGTERM and SIGKILL.
        tail_bytes: how much of its output is kept, from the end.
        memory_bytes: of address space a process may have; None: no limit.
        cpu_s: of processor time a process may take; None: no limit.
        runner_lock: the file that a running runner holds locked.
        runner_gone_s: how long no runner may hold it before the command is ended.
    """

    arguments: list[str]
    environment: dict[str, str]
    mark: str
    longest_s: float
    grace_s: float
    tail_bytes: int
    memory_bytes: int | None
    cpu_s: int | None
    runner_lock: str
    runner_gone_s: float


def main(arguments: list[str]) -> int:
    """Attend one run; the exit status: 0, or 1 if somebody else attends it."""
    directory = Path(arguments[0])
    command = Command(**read_document(directory / COMMAND))
    attendance = Attendance(directory, command)  # may be asked to end from here on
    if not create_document(directory / ATTENDANT, asdict(name_of(os.getpid()))):
        return 1
    result = attendance.run()
    write_document(directory / RESULT, result)
    return 0


class Attendance:
    """One command, from its start to its end."""

    def __init__(self, directory: Path, command: Command) -> None:
        self._directory = directory
        self._command = command
        self._tail = Tail(command.tail_bytes)
        self._cause: str | None = None
        self._kill_at = float("inf")
        self._runner_seen_at = time.monotonic()
        self._is_asked_to_end = False
        self._heard, to_wake = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(to_wake, False)
        signal.set_wakeup_fd(to_wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask_to_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> dict[str, Any]:
        """Start the command, wait for its end, and say how it ended."""
        began_at = time.monotonic()
        reading, writing = os.pipe()
        try:
            process = self._started(writing)
        except (OSError, subprocess.SubprocessError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return self._result(began_at, NOT_STARTED, None, reason=f"it could not be started: {words}")
        finally:
            os.close(writing)
        self._wait(process, reading, began_at + self._command.longest_s)
        ended_at = time.monotonic()
        self._end_what_is_left(process.pid)
        self._drain(reading)
        how = SIGNALLED if process.returncode < 0 else EXITED
        return self._result(began_at, how, process.returncode, ended_at=ended_at)

    def _started(self, output: int) -> subprocess.Popen[bytes]:
        work = self._directory / WORK
        work.mkdir(mode=0o700, exist_ok=True)
        return subprocess.Popen(
            self._command.arguments,
            env=self._command.environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=self._limit_command,  # there is one thread, so it is safe
        )

    def _limit_command(self) -> None:
        """In the child, before the command: what it may take, and that it does not outlive its attendant."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self._command.memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self._command.memory_bytes,) * 2)
        if self._command.cpu_s is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (self._command.cpu_s, self._command.cpu_s + 5))
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def _wait(self, process: subprocess.Popen[bytes], output: int, ends_at: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(self._heard, selectors.EVENT_READ)
            while process.poll() is None:
                now = time.monotonic()
                self._end_if_due(process.pid, now, ends_at)
                next_at = min(self._kill_at, ends_at if self._cause is None else self._kill_at)
                for key, _ in selector.select(max(0.0, min(next_at - now, _LOOK_FOR_RUNNER_S))):
                    piece = os.read(key.fd, _READ_BYTES)
                    if key.fd == output and not self._took(piece):
                        selector.unregister(output)

    def _took(self, piece: bytes) -> bool:
        self._tail.add(piece)
        return bool(piece)

    def _end_if_due(self, group: int, now: float, ends_at: float) -> None:
        if self._cause is None:
            self._cause = self._reason_to_end(now, ends_at)
            if self._cause is not None:
                signal_group(group, signal.SIGTERM)
                self._kill_at = now + self._command.grace_s
        elif now >= self._kill_at:
            signal_group(group, signal.SIGKILL)
            self._kill_at = now + self._command.grace_s

    def _reason_to_end(self, now: float, ends_at: float) -> str | None:
        if self._is_asked_to_end:
            return CANCELLED
        if now >= ends_at:
            return TOO_LONG
        if is_held(Path(self._command.runner_lock)):
            self._runner_seen_at = now
        elif now - self._runner_seen_at >= self._command.runner_gone_s:
            return RUNNER_GONE
        return None

    def _end_what_is_left(self, group: int) -> None:
        """What the command has left behind would draw power that nobody accounts for."""
        signal_group(group, signal.SIGKILL)
        end_marked(self._command.mark)

    def _drain(self, output: int) -> None:
        os.set_blocking(output, False)
        ends_at = time.monotonic() + _LAST_OUTPUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while selector.select(max(0.0, ends_at - time.monotonic())):
                with suppress(BlockingIOError):
                    if not self._took(os.read(output, _READ_BYTES)):
                        return
                if time.monotonic() >= ends_at:
                    return

    def _ask_to_end(self, *_: object) -> None:
        self._is_asked_to_end = True

    def _result(
        self,
        began_at: float,
        how: str,
        status: int | None,
        *,
        ended_at: float | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        return {
            "ended": how,
            "exit_status": status if how == EXITED else None,
            "signal": -status if how == SIGNALLED and status is not None else None,
            "cause": self._cause,
            "reason": reason,
            "output_tail": self._tail.text(),
            "output_bytes": self._tail.seen_bytes,
            "began_s": began_at,
            "ended_s": began_at if ended_at is None else ended_at,
            "boot_id": boot_id(),
        }


def is_held(lock: Path) -> bool:
    """Whether a runner holds the lock."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
