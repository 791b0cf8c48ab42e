"""Processes by names that outlive us: a number alone is given again, a number with its start time and boot is not.

Only the standard library: an attendant loads it. Where there is no /proc (macOS), a process is known by its number
alone, and what has left its group is not found.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys" / "kernel" / "random" / "boot_id"
MARKER = "PYLON_RUN"
"""The variable by which every process of a run is known, its children's children too."""


@dataclass(frozen=True)
class ProcessName:
    """One process of one boot.

    Attributes:
        pid: its number.
        started_ticks: when it started, in clock ticks since the boot; None where the platform does not say.
        boot_id: the boot; empty where the platform does not say.
    """

    pid: int
    started_ticks: int | None
    boot_id: str

    def is_alive(self) -> bool:
        """Whether it still runs. One that has ended and was not waited for does not."""
        if self.boot_id != boot_id():
            return False
        if not _PROC.is_dir():
            return _answers(self.pid)
        found = _stat(self.pid)
        return found is not None and found.state not in "ZX" and found.started_ticks == self.started_ticks

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def name_of(pid: int) -> ProcessName:
    """The name of a process that runs."""
    found = _stat(pid)
    return ProcessName(pid, None if found is None else found.started_ticks, boot_id())


def boot_id() -> str:
    """What tells this boot of the machine from others."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def signal_group(leader_pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if it has members."""
    with suppress(ProcessLookupError, PermissionError):  # the latter is macOS's word for a group of ended processes
        os.killpg(leader_pid, number)


def marked(mark: str) -> Iterator[int]:
    """The processes whose environment bears the mark, in whatever group they are."""
    wanted = f"{MARKER}={mark}".encode()
    for entry in _PROC.glob("[0-9]*") if _PROC.is_dir() else ():
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def end_marked(mark: str) -> None:
    """Kill every process that bears the mark, until there is none; those that fork meanwhile are found again."""
    for _ in range(_MOST_ROUNDS):
        found = list(marked(mark))
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


_MOST_ROUNDS = 100


@dataclass(frozen=True)
class _Stat:
    state: str
    started_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[19]))


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
