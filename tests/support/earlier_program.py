"""The program of an earlier schema version, from the project's own history, to run it beside the present one."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from database.versions import newest

ROOT = Path(__file__).resolve().parent.parent.parent
VERSIONS = ROOT / "tests" / "database" / "schema_versions"


def earlier_versions() -> list[int]:
    """The schema versions that are kept whose programs may use a database of the present one."""
    kept = sorted(int(folder.name) for folder in VERSIONS.iterdir())
    return [version for version in kept if newest().compatible_from <= version < newest().version]


def earlier_backend(version: int, folder: Path) -> Path:
    """The folder `backend` as it was, laid out in `folder`. Without the project's history the test is skipped."""
    commit = (VERSIONS / str(version) / "program.txt").read_text(encoding="utf-8").strip()
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit, "backend"], capture_output=True)
    if archive.returncode != 0:
        pytest.skip(f"the commit {commit[:12]} of schema version {version} is not in this clone")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        for file in files:
            if file.isfile() or file.isdir():
                files.extract(file, folder)
    return folder / "backend"
