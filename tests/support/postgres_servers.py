"""PostgreSQL servers of the versions that Supabase and others run, beside the embedded 18: Debian's 15, PyPI's 16."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from memory_disk import memory_disk

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


def binaries(major: int) -> Path:
    """The folder with `initdb` and `pg_ctl` of a major version.

    Without them the test is skipped, except in CI, which installs them.
    """
    found = DEBIAN_15 if major == 15 else _of_package("pgserver")
    if found is not None and (found / "initdb").exists():
        return found
    if os.environ.get("CI"):
        pytest.fail(f"PostgreSQL {major} is not here: CI installs it (.ci/run, requirements-dev.txt)")
    pytest.skip(f"PostgreSQL {major} is not installed")


def _of_package(name: str) -> Path | None:
    package = find_spec(name)
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


@contextmanager
def postgres_of_version(major: int) -> Iterator[str]:
    """Connection string of a superuser on a new server, which ends with the block."""
    tools = binaries(major)
    folder = Path(tempfile.mkdtemp(prefix=f"pylon-pg{major}-", dir=memory_disk()))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # PostgreSQL does not run as root
    if account is not None:
        tools = _readable_copy(tools, folder)
        shutil.chown(folder, account.pw_uid, account.pw_gid)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [tools / program, "-D", folder / "data", *arguments],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    try:
        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        # Not in UTC, as a server of somebody else's may well be.
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c TimeZone=Asia/Tokyo"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _readable_copy(tools: Path, folder: Path) -> Path:
    """The tools at a place where another account may run them: not every home can be entered by all."""
    if tools == DEBIAN_15:
        return tools
    # Laid as in the package, since the programs look for their libraries relative to themselves.
    package = tools.parent.parent
    shutil.copytree(tools.parent, folder / package.name / tools.parent.name, symlinks=True)
    shutil.copytree(package.with_suffix(".libs"), folder / f"{package.name}.libs")
    return folder / package.name / tools.parent.name / tools.name
