"""What `make run` does about a process that was killed: it alone is started again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "restart_killed.sh"

# Each start leaves a line; what the line's number asks for is done then.
PROGRAM = """
import os, signal, sys, time
starts, *deeds = sys.argv[1:]
with open(starts, "a+") as file:
    file.write("started\\n")
    file.seek(0)
    deed = deeds[len(file.readlines()) - 1]
if deed == "be killed":
    os.kill(os.getpid(), signal.SIGKILL)
if deed == "serve":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("serving", flush=True)
    time.sleep(60)
sys.exit(int(deed))
"""


def watched(starts: Path, *deeds: str) -> subprocess.Popen[str]:
    command = [str(SCRIPT), sys.executable, "-c", PROGRAM, str(starts), *deeds]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@pytest.mark.parametrize("status", [0, 1])
def test_what_ends_by_itself_is_not_started_again(tmp_path: Path, status: int) -> None:
    with watched(tmp_path / "starts", str(status), "0") as process:
        process.communicate(timeout=20)
    assert process.returncode == status
    assert (tmp_path / "starts").read_text().count("started") == 1


def test_what_was_killed_is_started_again_and_told(tmp_path: Path) -> None:
    with watched(tmp_path / "starts", "be killed", "3") as process:
        _, told = process.communicate(timeout=20)
    assert process.returncode == 3
    assert (tmp_path / "starts").read_text().count("started") == 2
    assert "killed by signal 9, starting again" in told


def test_asked_to_end_it_waits_for_the_program_and_starts_nothing(tmp_path: Path) -> None:
    with watched(tmp_path / "starts", "be killed", "serve", "serve") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        # To the whole group, as the terminal and honcho send it.
        subprocess.run(["kill", "-TERM", "--", f"-{process.pid}"], check=True)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert (tmp_path / "starts").read_text().count("started") == 2


def test_asked_to_end_between_two_starts_it_ends(tmp_path: Path) -> None:
    with watched(tmp_path / "starts", "be killed", "serve") as process:
        assert process.stderr is not None
        assert any("starting again" in line for line in process.stderr)
        time.sleep(0.2)  # into its pause
        subprocess.run(["kill", "-TERM", "--", f"-{process.pid}"], check=True)
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL
    assert (tmp_path / "starts").read_text().count("started") == 1
