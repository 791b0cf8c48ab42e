"""A real PgBouncer in transaction mode before the test's server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from server_process import data_directory, free_port

POOLED_SESSIONS = 4  # fewer than our clients have connections, so that statements wander between sessions


@contextmanager
def pgbouncer(socket_dir: Path) -> Iterator[int]:
    """The port on loopback of a PgBouncer that pools the server of this socket directory, database by database."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("PgBouncer is not installed: apt-get install pgbouncer")
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    port = free_port()
    with data_directory() as folder:
        folder.mkdir()
        settings = folder / "pgbouncer.ini"
        settings.write_text(_settings(socket_dir, port), encoding="utf-8")
        with (folder / "pgbouncer.log").open("wb") as log:
            process = subprocess.Popen([program, str(settings)], stdout=log, stderr=log)
        try:
            _wait_until_serving(port)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _settings(socket_dir: Path, port: int) -> str:
    # It refuses to run as root. As the server's own account it may enter the private directory of the socket.
    account = pwd.getpwuid(socket_dir.stat().st_uid).pw_name if os.geteuid() == 0 else None
    return "\n".join(
        [
            "[databases]",
            f"* = host={socket_dir} port=5432 user=postgres",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {port}",
            "unix_socket_dir =",
            "auth_type = any",
            "pool_mode = transaction",
            f"default_pool_size = {POOLED_SESSIONS}",
            "max_client_conn = 200",
            *([f"user = {account}"] if account else []),
        ]
    )


def _wait_until_serving(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:  # noqa: PERF203 - not yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
