"""A full disk is told of before the database has to refuse a write."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from database.data_disk import LEAST_FREE_BYTES, data_disk_troubles
from settings import load_settings


class Usage(NamedTuple):
    """Of a disk, bytes."""

    free: int


@pytest.fixture
def free_bytes(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """What is free on the disks of directories; to be filled by the test."""
    free: dict[Path, int] = {}

    def usage(directory: Path) -> Usage:
        if directory not in free:
            raise FileNotFoundError(directory)
        return Usage(free[directory])

    monkeypatch.setattr("database.data_disk.shutil.disk_usage", usage)
    return free


def test_little_room_is_told_with_the_place(free_bytes: dict[Path, int], tmp_path: Path) -> None:
    settings = load_settings({"PYLON_DATA_DIR": str(tmp_path)})
    free_bytes[tmp_path / "postgres"] = 3 * 1024**2
    (trouble,) = data_disk_troubles(settings)
    assert str(tmp_path / "postgres") in trouble
    assert "3 MB left" in trouble
    free_bytes[tmp_path / "postgres"] = LEAST_FREE_BYTES
    assert data_disk_troubles(settings) == []


def test_a_directory_that_is_not_there_is_no_full_disk(free_bytes: dict[Path, int], tmp_path: Path) -> None:
    assert not free_bytes
    assert data_disk_troubles(load_settings({"PYLON_DATA_DIR": str(tmp_path)})) == []


def test_the_disk_of_a_database_elsewhere_is_not_ours_to_judge(free_bytes: dict[Path, int], tmp_path: Path) -> None:
    free_bytes[tmp_path / "postgres"] = 0
    elsewhere = {"DATABASE_URL": "postgresql://there/", "PYLON_DATA_DIR": str(tmp_path)}
    assert data_disk_troubles(load_settings(elsewhere)) == []
