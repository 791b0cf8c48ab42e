"""Energy that the machine counts itself: a real runner and command, and counters of the kernel's shape."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from execution.runner.configuration import read_configuration
from execution.runner.runner import Runner
from runner_process import eventually, shell, write_configuration
from runner_server import RunnerServer, runner_server

RANGE_UJ = 1_000_000
STEP_UJ = 300_000


@pytest.fixture
def server() -> Iterator[RunnerServer]:
    with runner_server() as running_server:
        yield running_server


class Counter:
    """One processor package, whose counter begins again at 0 after every million microjoules."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "intel-rapl:0"
        self._folder.mkdir(parents=True)
        (self._folder / "name").write_text("package-0\n")
        (self._folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self._counted_uj = 0
        self.write()

    def step(self) -> None:
        self._counted_uj += STEP_UJ
        self.write()

    def write(self) -> None:
        new = self._folder / "new"
        new.write_text(f"{self._counted_uj % RANGE_UJ}\n")
        new.rename(self._folder / "energy_uj")  # so that nobody reads half of it


def hear_twice(server: RunnerServer, run_id: int) -> None:
    """Until the counter has been read since now."""
    heard = len(server.runs[run_id].beats)
    server.wait_for(lambda: len(server.runs[run_id].beats) > heard + 1)


def test_what_the_machine_counts_is_reported_as_counted_over_the_counters_range(
    server: RunnerServer, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "powercap")
    waiting = shell(f"touch {tmp_path}/began; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done")
    file = write_configuration(tmp_path, server.url, {"wait": waiting})
    runner = Runner(read_configuration(file), powercap=tmp_path / "powercap")
    working = threading.Thread(target=runner.run)
    working.start()
    try:
        run_id = server.offer("wait")
        eventually((tmp_path / "began").exists)
        for _ in range(8):  # more than twice round
            hear_twice(server, run_id)
            counter.step()
        hear_twice(server, run_id)
        (tmp_path / "go").touch()
        outcome = server.outcome(run_id)
    finally:
        runner.stop()
        working.join()
    assert outcome["exit_status"] == 0
    # Also the last half-hour, in which it ended between two readings.
    assert {each["source"] for each in outcome["energy"]} == {"rapl"}
    counted_kwh = 8 * STEP_UJ * 1e-6 / 3.6e6
    assert sum(each["energy_kwh"] for each in outcome["energy"]) == pytest.approx(counted_kwh)
