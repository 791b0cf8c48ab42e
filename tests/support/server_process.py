"""A server of ours as its users start it: a real process, on a free port, with an environment of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

from measured_programs import measuring
from memory_disk import memory_disk

BACKEND = Path(__file__).resolve().parent.parent.parent / "backend"
NOWHERE = "http://127.0.0.1:9"  # nothing listens on the discard port


def inherited() -> dict[str, str]:
    """The environment of a process of ours that is to see none of our settings. Coverage is measured in it too."""
    names = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_CONFIG")
    return {name: os.environ[name] for name in names if name in os.environ}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """`python backend/<program>` with its log in a file; answers on `url` once `wait_until_serving` returned."""

    def __init__(
        self, program: str, log_file: Path, environment: Mapping[str, str], *, port: int, backend: Path = BACKEND
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log_file = log_file
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(backend / program)],
                env={**inherited(), **measuring(program), **environment},
                cwd=backend,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def get(self, path: str, timeout_s: float = 10.0) -> requests.Response:
        return requests.get(self.url + path, timeout=timeout_s)

    def wait_until_serving(self, timeout_s: float = 60.0) -> None:
        self.wait_for(lambda: self.get("/").status_code == 200, timeout_s)

    def wait_for(self, condition: object, timeout_s: float = 60.0) -> None:
        """Until `condition()` is true; a refused connection counts as not yet."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            try:
                if condition():  # type: ignore[operator]
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout_s} s:\n{self.log}")

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Send a signal and wait; the exit status, as subprocess has it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=timeout_s)


@contextmanager
def data_directory() -> Iterator[Path]:
    """A data directory that the embedded server's own account can reach when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="pylon-", dir=memory_disk()) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "data"


def postgres_of(data_dir: Path) -> psutil.Process | None:
    """The embedded server that keeps its data under this directory, if it runs."""
    pid_file = data_dir / "postgres" / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        return process if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
