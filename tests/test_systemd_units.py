"""The systemd units: each of the three programs has one, systemd takes it, and it may do no more than it must."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PLACE = "/opt/pylon-deg"
MOST_EXPOSED = 20
"""Of 100, where `systemd-analyze security` begins to frown at 40."""


@pytest.fixture(scope="module")
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("systemd is not installed: it is the package systemd")
        pytest.skip("systemd is not installed: systemd-analyze verifies the units")
    return program


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit as installed, of a program that lies here."""
    installed: Path = tmp_path / request.param.name
    installed.write_text(request.param.read_text().replace(PLACE, str(ROOT)))
    return installed


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_takes_the_unit(analyze: str, unit: Path) -> None:
    verified = run(analyze, "verify", "--man=no", unit)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_unit_may_do_little(analyze: str, unit: Path) -> None:
    judged = run(analyze, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", unit)
    assert judged.returncode == 0, judged.stdout


def test_each_program_has_a_unit() -> None:
    started = {word for unit in UNITS for word in re.findall(r"backend/\S+\.py", unit.read_text())}
    assert started == set(re.findall(r"backend/\S+\.py", (ROOT / "Procfile").read_text()))
