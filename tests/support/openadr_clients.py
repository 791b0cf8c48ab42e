"""OpenADR clients that others wrote, each in an environment of its own, made once and kept between runs.

python tests/support/openadr_clients.py      makes them, as `make test` does before the tests
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements-openadr.txt"
KEPT = ROOT / ".cache" / "openadr"
CLIENTS = ROOT / "tests" / "openadr" / "clients"
MAKING_S = 480
CALLS_S = 300


def newer_python() -> str | None:
    """A Python of 3.12 or later on this machine, if there is one."""
    if sys.version_info >= (3, 12):
        return sys.executable
    minors = ("3.14", "3.13", "3.12")
    by_pyenv = [
        str(found)
        for minor in minors
        for found in sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python{minor}"))
    ]
    for name in [*(shutil.which(f"python{minor}") for minor in minors), *by_pyenv]:
        if name and subprocess.run([name, "--version"], capture_output=True, check=False).returncode == 0:
            return name
    return None


def python_with_clients(python: str) -> Path:
    """The interpreter of an environment with what requirements-openadr.txt names, made by `python` if there is none.

    Where it cannot be made the test is skipped; in CI it can.
    """
    told = subprocess.run([python, "--version"], capture_output=True, check=True).stdout
    place = KEPT / hashlib.sha256(told + REQUIREMENTS.read_bytes()).hexdigest()[:16]
    interpreter = place / "bin" / "python"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            for command in (
                [python, "-m", "venv", "--clear", str(place)],
                [str(interpreter), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)],
            ):
                made = subprocess.run(command, capture_output=True, text=True, timeout=MAKING_S, check=False)
                if made.returncode:
                    _missing(made.stderr[-1000:])
            (place / "whole").touch()
    return interpreter


def drive(python: Path, script: str, *arguments: str) -> str:
    """What a client prints that finds all as it should be."""
    found = subprocess.run(
        [str(python), str(CLIENTS / script), *arguments],
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=CALLS_S,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-1000:] + found.stderr[-3000:]
    return found.stdout


def _missing(why: str) -> None:
    told = f"no OpenADR clients: {REQUIREMENTS.name} cannot be installed: {why}"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


if __name__ == "__main__":
    for found in filter(None, (sys.executable, newer_python())):
        python_with_clients(found)
