"""The server process of the embedded PostgreSQL: making its cluster, starting it, finding it, stopping it.

Everything here is called under the start lock (see `embedded`). A started server, like an `initdb` at work,
inherits the server lock and so holds it until the last of its processes is gone.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from database.embedded_home import (
    POSTGRES_MAJOR,
    SOCKET_NAME,
    ClusterHome,
    EmbeddedPostgresError,
    process_options,
)

LOG_LIMIT_BYTES = 5_000_000

# Given on the command line at every start, so a new version of this code changes them for old clusters too.
# fsync, full_page_writes and synchronous_commit keep their defaults: what is acknowledged is on the disk.
# So does wal_level: `minimal` would gain little here and take pg_basebackup away.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "cluster_name": "pylon-deg",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    # Parallel queries share memory through /dev/shm, which containers keep too small for them.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    # A failed statement is its client's to report: the log stays small and free of data.
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}

INITDB_OPTIONS = (
    "--username=postgres",
    "--auth=trust",  # only the cluster's owner and root can enter the socket's directory
    "--encoding=UTF8",
    # The builtin locale sorts alike on every machine: an upgrade of libc leaves the indexes right.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)

_log = logging.getLogger(__name__)


def launch(home: ClusterHome, server_lock: int, deadline: float) -> int:
    """Start the server, and make its cluster first when there is none. Does not wait until it is ready.

    Args:
        home: where.
        server_lock: descriptor of the locked server lock. That the lock was free means that no process of a
            former server is left, whatever its pid file says.
        deadline: on the monotonic clock, for initdb.

    Returns:
        Where the server's lines begin in the log, in bytes.
    """
    if stranger := running_postmaster(home):
        raise EmbeddedPostgresError(
            f"a PostgreSQL server that this program did not start (process {stranger.pid}) runs in "
            f"{home.cluster}: stop it and start again"
        )
    binaries = home.binaries()
    if not (home.cluster / "PG_VERSION").exists():
        _create_cluster(home, binaries / "initdb", server_lock, deadline)
    major = (home.cluster / "PG_VERSION").read_text().strip()
    if major != str(POSTGRES_MAJOR):
        raise EmbeddedPostgresError(
            f"{home.cluster} was made by PostgreSQL {major} and this is {POSTGRES_MAJOR}: "
            "carry the data over with pg_dump and pg_restore, or set PYLON_DATA_DIR to a new directory"
        )
    _remove_leftovers(home)
    settings = {**SERVER_SETTINGS, "unix_socket_directories": str(home.socket_dir)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = _open_log(home)
    try:
        log_start = os.fstat(log).st_size
        # The shell puts it in the background and ends: the server is not our child, and its own session keeps
        # the terminal's Ctrl-C from it. Paths are arguments, so no character in them is special.
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", binaries / "postgres", "-D", home.cluster, *options],
            check=True,
            stdout=log,
            stderr=log,
            pass_fds=[server_lock],
            start_new_session=True,
            **process_options(home.account),
        )
    finally:
        os.close(log)
    return log_start


def running_postmaster(home: ClusterHome) -> psutil.Process | None:
    """The running server that postmaster.pid names, if there is one.

    The number alone proves nothing: the file outlives a killed server, and its number may by now be that of
    a zombie, which has neither command line nor directory, or of an unrelated process.
    """
    cluster = str(home.cluster)
    try:
        process = psutil.Process(int((home.cluster / "postmaster.pid").read_text().split("\n", 1)[0]))
        # The command line first: root in a container may not read another account's working directory.
        ours = process.name() == "postgres" and (cluster in process.cmdline() or process.cwd() == cluster)
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
    return process if ours else None


def end_in_order(home: ClusterHome) -> None:
    """Begin what PostgreSQL calls a fast shutdown: sessions end and everything is written to its place."""
    _signal(home, signal.SIGINT)


def end_at_once(home: ClusterHome) -> None:
    """Begin an immediate shutdown: nothing acknowledged is lost, and the next start recovers."""
    _signal(home, signal.SIGQUIT)


def _signal(home: ClusterHome, number: signal.Signals) -> None:
    # What `pg_ctl stop` does, but to a process known to be the server.
    if postmaster := running_postmaster(home):
        with suppress(psutil.NoSuchProcess):
            postmaster.send_signal(number)


def why_it_ended(home: ClusterHome, log_start: int) -> str:
    """What the log, from this byte on, says about a server that ended before it was ready."""
    with home.log_file.open("rb") as log:
        log.seek(log_start)
        return _telling_line(log.read().decode(errors="replace"))


def _create_cluster(home: ClusterHome, initdb: Path, server_lock: int, deadline: float) -> None:
    """Make the cluster under another name and rename it when whole: half a cluster is never taken for one."""
    if home.cluster.is_dir() and any(home.cluster.iterdir()):
        raise EmbeddedPostgresError(f"{home.cluster} is not a PostgreSQL cluster: move it away and start again")
    fresh = home.cluster.with_name("postgres.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    home.give(fresh)
    _log.info("making the embedded database in %s", home.cluster)
    try:
        subprocess.run(
            [initdb, "-D", fresh, *INITDB_OPTIONS],
            check=True,
            capture_output=True,
            text=True,
            timeout=max(1.0, deadline - time.monotonic()),
            # One whose starter was killed goes on for a while: the next start waits for it, then sweeps up.
            pass_fds=[server_lock],
            **process_options(home.account),
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedPostgresError(f"initdb was too slow in {home.directory}: try again") from error
    except subprocess.CalledProcessError as error:
        raise EmbeddedPostgresError(
            f"cannot make the embedded database in {home.directory}: {_telling_line(error.stderr)}"
        ) from error
    fresh.rename(home.cluster)
    directory = os.open(home.directory, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _remove_leftovers(home: ClusterHome) -> None:
    """Remove the files of a killed server that would stop the next one if their pid is in use again."""
    home.cluster.joinpath("postmaster.pid").unlink(missing_ok=True)
    home.socket_dir.joinpath(SOCKET_NAME).unlink(missing_ok=True)
    home.socket_dir.joinpath(f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _open_log(home: ClusterHome) -> int:
    with suppress(FileNotFoundError):
        if home.log_file.stat().st_size > LOG_LIMIT_BYTES:
            home.log_file.replace(home.log_file.with_suffix(".log.1"))
    return home.open(home.log_file.name, os.O_APPEND)


def _telling_line(output: str) -> str:
    """The line that says what went wrong, from what initdb or the server wrote."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("PANIC:", "FATAL:", "error:"))]
    # The last: before it come the refusals of those who asked whether the server was ready.
    return (telling or lines or ["it left no reason (is the disk full?)"])[-1]
