"""A process that asks before it goes on, and is killed where a test wants it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from grid.half_hours import rfc3339


def ask(told: str) -> None:
    """In the process: say how far it is, and go on when a line is read."""
    sys.stdout.write(told + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


def run_until_killed(program: str, conninfo: str, now: datetime, line: str, *further: str) -> None:
    """Run a program of this folder, `program CONNINFO NOW FURTHER…`, and kill it where it writes the line."""
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve().parent / program), conninfo, rfc3339(now), *further],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for told in process.stdout:
            if told.strip() == line:
                process.kill()
                return
            process.stdin.write("\n")
            process.stdin.flush()
    raise AssertionError(f"it ended before {line}")
