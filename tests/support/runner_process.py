"""`python backend/runner.py` as its owner starts it, on a directory of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from execution.runner.processes import MARKER
from server_process import BACKEND, inherited

PATIENCE_S = 60.0
OWN_SECRET = "the runner's own"
PROGRAM = (str(BACKEND / "runner.py"),)


def shell(script: str, *, power_kw: float = 1.0, **more: Any) -> dict[str, Any]:
    """A template that runs a shell script."""
    limits = {"longest_s": 60, "grace_s": 5, **more.pop("limits", {})}
    return {"command": ["/bin/sh", "-c", script], "power_kw": power_kw, "limits": limits, **more}


def write_configuration(folder: Path, server_url: str, templates: Mapping[str, Any], **more: Any) -> Path:
    file = folder / "runner.toml"
    document = {
        "server_url": server_url,
        "runner_id": "runner-1",
        "data_centre": "DC-001",
        "capacity_kw": 10.0,
        "state_directory": "state",
        "templates": templates,
        **more,
    }
    file.write_text(_table(document, ()), encoding="utf-8")
    return file


class RunnerProcess:
    """A runner that was started."""

    def __init__(self, configuration: Path, program: Sequence[str] = PROGRAM) -> None:
        self.folder = configuration.parent
        self._log_file = configuration.parent / "runner.log"
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(configuration)],
                env={**inherited(), "A_SECRET": OWN_SECRET},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(
    configuration: Path, *, stop: signal.Signals = signal.SIGTERM, program: Sequence[str] = PROGRAM
) -> Iterator[RunnerProcess]:
    """A runner until the end of the block; what it has started is ended too."""
    runner = RunnerProcess(configuration, program)
    try:
        yield runner
    finally:
        runner.end(stop)
        for process in attendants(configuration.parent):
            with suppress(psutil.Error):
                process.kill()
        for process in commands(configuration.parent):
            with suppress(psutil.Error):
                process.kill()


def attendants(folder: Path) -> list[psutil.Process]:
    """The processes beside commands, of the runner whose state directory is in the folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "execution.runner.attendant" in (process.info["cmdline"] or ())
        and str(folder) in process.info["cmdline"][-1]
    ]


def commands(folder: Path, name: str = "") -> list[psutil.Process]:
    """The processes of runs of the runner whose state directory is in the folder: those with `name` in a command."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_ours = MARKER in process.environ() and Path(process.cwd()).is_relative_to(folder)
            if is_ours and name in " ".join(process.cmdline()):
                found.append(process)
    return found


def eventually(condition: Any) -> None:
    """Until the condition holds of processes or files, which tell nobody when they change."""
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def _table(document: Mapping[str, Any], path: tuple[str, ...]) -> str:
    plain = {name: value for name, value in document.items() if not isinstance(value, Mapping)}
    # A JSON string, number or list is the same in TOML.
    lines = [f"[{'.'.join(path)}]"] if path else []
    lines += [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    inner = [_table(value, (*path, name)) for name, value in document.items() if isinstance(value, Mapping)]
    return "\n".join([*lines, *inner]) + "\n"
