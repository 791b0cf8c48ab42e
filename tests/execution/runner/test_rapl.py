"""The machine's counters of energy, as the Linux kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from execution.runner.rapl import POWERCAP, Rapl


def domain(root: Path, directory: str, name: str, counted_uj: int, range_uj: int = 1_000_000) -> Path:
    folder = root / directory
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{counted_uj}\n")
    return folder


def test_packages_and_memory_are_counted_and_nothing_twice(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 100)
    domain(tmp_path, "intel-rapl:0:0", "core", 50)
    domain(tmp_path, "intel-rapl:0:1", "dram", 10)
    domain(tmp_path, "intel-rapl:1", "psys", 500)
    counters = Rapl(tmp_path)
    assert counters.joules() is None
    domain(tmp_path, "intel-rapl:0", "package-0", 400_100)
    domain(tmp_path, "intel-rapl:0:0", "core", 300_050)
    domain(tmp_path, "intel-rapl:0:1", "dram", 100_010)
    assert counters.joules() == pytest.approx(0.5)
    assert counters.joules() == 0


def test_a_counter_that_began_again_is_understood(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 900_000)
    counters = Rapl(tmp_path)
    counters.joules()
    domain(tmp_path, "intel-rapl:0", "package-0", 100_000)
    assert counters.joules() == pytest.approx(0.2)


def test_this_machines_own_counters_are_read_where_it_has_any() -> None:
    readable = [file for file in POWERCAP.glob("intel-rapl:*/energy_uj") if os.access(file, os.R_OK)]
    counters = Rapl()
    assert counters.joules() is None
    since = counters.joules()
    assert (since is not None and since >= 0) if readable else since is None


def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert Rapl(tmp_path / "nowhere").joules() is None
    package = domain(tmp_path, "intel-rapl:0", "package-0", 5)
    counters = Rapl(tmp_path)
    counters.joules()
    (package / "energy_uj").write_text("not permitted")
    assert counters.joules() is None
    (package / "energy_uj").write_text("100")
    assert counters.joules() is None  # since when, is not known
    (package / "energy_uj").write_text("1000100")
    assert counters.joules() == pytest.approx(1.0)
