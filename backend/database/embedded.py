"""The embedded PostgreSQL, from the first process that starts it to the last that leaves it.

The binaries come from a wheel; starting, sharing, recovering and stopping are ours. Linux and macOS: on
Windows, set DATABASE_URL or SUPABASE_URL instead. Three locked files beside the cluster hold all the state
there is, and the kernel drops a lock when its holder dies, however it dies:

- `postgres.clients.lock`: shared by every process that uses the server. Who gets it alone was the last.
- `postgres.start.lock`: held while starting or stopping, so that one process at a time does either.
- `postgres.server.lock`: held by the server. All its processes inherit it, so it is free exactly when the
  last of them is gone, and the pid file or socket that a killed server leaves behind deceives nobody.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from database import embedded_server
from database.embedded_home import ClusterHome, EmbeddedPostgresError, settle

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

CLIENTS_LOCK = "postgres.clients.lock"
START_LOCK = "postgres.start.lock"
SERVER_LOCK = "postgres.server.lock"
SECONDS_BETWEEN_PROGRESS_LINES = 5.0

_log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """A claim on the PostgreSQL server of one data directory, which is started when no other process has.

    Any number of processes, and of these objects in one process, share a directory. The last to call `stop`
    stops the server; a process that is killed loses its claim by itself and leaves the server to the others,
    or to the next that starts. Safe to call from any thread. A forked child makes its own object.
    """

    def __init__(self, data_dir: Path, *, start_timeout_s: float = 120.0, stop_timeout_s: float = 60.0) -> None:
        """Nothing happens before `start`.

        Args:
            data_dir: holds the cluster in its directory `postgres`; made when it is not there.
            start_timeout_s: how long a start may take, the recovery after a crash included.
            stop_timeout_s: how long the server may take to write everything down and end.
        """
        self.data_dir = data_dir
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._home: ClusterHome | None = None
        self._claim: int | None = None
        self._one_thread = threading.Lock()

    @property
    def socket_dir(self) -> Path:
        """Directory of the server's unix socket, known once started."""
        if self._home is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL has not been started: call start() first")
        return self._home.socket_dir

    @property
    def conninfo(self) -> str:
        """libpq connection string, known once started. It needs no password: the socket is private."""
        return make_conninfo(host=str(self.socket_dir), port=5432, user="postgres", dbname="postgres")

    def start(self) -> None:
        """Claim the server and return when it accepts connections: made, started or joined as need be.

        Calling it again is harmless.

        Raises:
            EmbeddedPostgresError: it cannot be started, or not in time.
        """
        with self._one_thread, self._explained():
            self._home = self._home or settle(self.data_dir)
            self._start_or_join(self._home, time.monotonic() + self._start_timeout_s)

    def ensure_running(self, within_s: float | None = None) -> None:
        """Bring the server back if it was killed. Costs a few milliseconds when it was not.

        For the caller whose connection has just failed. Nothing the server had acknowledged is lost.

        Args:
            within_s: how long this may take, by default as long as a start. A server that needs longer to recover
                does so by itself, for whoever asks next.

        Raises:
            EmbeddedPostgresError: not started, or it cannot be brought back, or not in time.
        """
        deadline = time.monotonic() + (self._start_timeout_s if within_s is None else within_s)
        if self._claim is not None and _accepts_connections(self.conninfo):
            return
        with self._only_thread(deadline), self._explained():
            if self._home is None or self._claim is None:
                raise EmbeddedPostgresError("the embedded PostgreSQL is not in use here: call start() first")
            self._start_or_join(self._home, deadline)

    def stop(self) -> None:
        """Give up the claim, and stop the server when nobody else holds one. Calling it again is harmless.

        Raises:
            EmbeddedPostgresError: the server did not end in time; it may still do so.
        """
        deadline = time.monotonic() + self._stop_timeout_s
        with self._one_thread, self._explained():
            home, claim, self._claim = self._home, self._claim, None
            if home is None or claim is None:
                return
            try:
                with _start_lock(home, deadline):
                    if _try_lock(claim):
                        self._shut_down(home, deadline)
            finally:
                # Unlocked, not only closed: a forked child may hold a copy of the descriptor.
                fcntl.flock(claim, fcntl.LOCK_UN)
                os.close(claim)

    @contextmanager
    def _only_thread(self, deadline: float) -> Iterator[None]:
        if not self._one_thread.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise EmbeddedPostgresError("another thread is still bringing the embedded PostgreSQL back: try again")
        try:
            yield
        finally:
            self._one_thread.release()

    def _start_or_join(self, home: ClusterHome, deadline: float) -> None:
        with _start_lock(home, deadline):
            claim = self._claim if self._claim is not None else home.open(CLIENTS_LOCK)
            try:
                # Never waits: the claim is taken alone only under the start lock.
                fcntl.flock(claim, fcntl.LOCK_SH)
                self._bring_up(home, deadline)
            except BaseException:
                if self._claim is None:
                    os.close(claim)
                raise
            self._claim = claim

    def _bring_up(self, home: ClusterHome, deadline: float) -> None:
        log_start: int | None = None

        def ready() -> bool:
            nonlocal log_start
            if _accepts_connections(self.conninfo):
                return True
            with _opened(home, SERVER_LOCK) as server_lock:
                # Taken: a server is starting, recovering or ending, or sessions of a killed one go on.
                if _try_lock(server_lock):
                    if log_start is not None:
                        why = embedded_server.why_it_ended(home, log_start)
                        raise EmbeddedPostgresError(f"PostgreSQL did not start: {why}; see {home.log_file}")
                    log_start = embedded_server.launch(home, server_lock, deadline)
            return False

        home.prepare_socket_dir()
        _wait_until(ready, "PostgreSQL to start or recover", home, deadline)

    def _shut_down(self, home: ClusterHome, deadline: float) -> None:
        with _opened(home, SERVER_LOCK) as server_lock:

            def ended() -> bool:
                return _try_lock(server_lock)

            # Told to end in order while it recovers from a crash, PostgreSQL 18.4 can hang for ever.
            if _accepts_connections(self.conninfo):
                embedded_server.end_in_order(home)
                with suppress(EmbeddedPostgresError):
                    _wait_until(ended, "PostgreSQL to stop", home, deadline - self._stop_timeout_s / 2)
            if not ended():
                embedded_server.end_at_once(home)
                _wait_until(ended, "PostgreSQL to stop", home, deadline)
        if home.socket_dir != home.cluster:
            with suppress(OSError):
                home.socket_dir.rmdir()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EmbeddedPostgresError(
                f"the embedded database cannot use {error.filename or self.data_dir}: {error.strerror}; "
                "make room or give access, or set PYLON_DATA_DIR to another directory"
            ) from error


def _accepts_connections(conninfo: str) -> bool:
    # As pg_isready does it: a server with no connection to spare counts as up, a recovering one does not.
    return PGconn.ping(make_conninfo(conninfo, connect_timeout=5).encode()) == Ping.OK


@contextmanager
def _start_lock(home: ClusterHome, deadline: float) -> Iterator[None]:
    with _opened(home, START_LOCK) as lock:
        _wait_until(lambda: _try_lock(lock), "another process that is starting or stopping it", home, deadline)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


@contextmanager
def _opened(home: ClusterHome, name: str) -> Iterator[int]:
    descriptor = home.open(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], what: str, home: ClusterHome, deadline: float) -> None:
    began = last_line = time.monotonic()
    while not condition():
        now = time.monotonic()
        waited_s = now - began
        if now >= deadline:
            raise EmbeddedPostgresError(
                f"gave up after {waited_s:.0f} s of waiting for {what}: see {home.log_file}, then try again"
            )
        if now - last_line >= SECONDS_BETWEEN_PROGRESS_LINES:
            last_line = now
            _log.info("waiting for %s: %.0f s so far, see %s", what, waited_s, home.log_file)
        time.sleep(min(0.25, 0.02 + waited_s / 20))
