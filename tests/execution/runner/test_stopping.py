"""A runner that is asked to stop, at whatever moment."""

from __future__ import annotations

from pathlib import Path

from execution.runner.configuration import read_configuration
from execution.runner.runner import Runner
from runner_process import shell, write_configuration
from runner_server import runner_server


def test_a_signal_that_comes_while_it_begins_to_wait_stops_it(tmp_path: Path) -> None:
    """A handler runs in the main thread, in the midst of whatever that does: here while it holds its event's lock."""
    with runner_server() as server:
        file = write_configuration(tmp_path, server.url, {"greet": shell("echo hello")})
        runner = Runner(read_configuration(file))
        with runner._stopping._cond:  # type: ignore[attr-defined]
            runner.stop()
        assert runner.run() == 0
