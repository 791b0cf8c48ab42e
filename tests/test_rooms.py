"""The contracts of the rooms: every room is in them, and what is called pure asks no clock and no chance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

import rooms

BACKEND = rooms.CONTRACTS.parent / "backend"
CLOCKS = {"utc_now", "now", "utcnow", "today", "time", "time_ns", "localtime", "gmtime", "urandom", "uuid4"}
# These measure how long a search has gone on or a solver may; what comes of it is checked against the bound.
STOPWATCHES = {"monotonic", "perf_counter"}


def contract(name: str) -> dict[str, list[str]]:
    parser = ConfigParser()
    parser.read(rooms.CONTRACTS, encoding="utf-8")
    return {key: value.split() for key, value in parser[name].items()}


def packages(folder: Path) -> set[str]:
    return {init.parent.name for init in folder.glob("*/__init__.py")}


def test_every_room_has_its_place_in_the_contracts() -> None:
    found = rooms.contracts()
    placed = {room for layer in found[""] for room in layer}
    assert placed == packages(BACKEND) == set(contract("importlinter")["root_packages"])
    assert set(contract("importlinter:contract:doors")["source_modules"]) == placed
    for room, layers in found.items():
        if room:
            assert packages(BACKEND / room) <= {inner for layer in layers for inner in layer}


def calls(module: Path) -> Iterator[str]:
    """The last names of what a module calls."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            yield called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


@pytest.mark.parametrize("room", contract("importlinter:contract:pure")["source_modules"])
def test_a_pure_room_asks_no_clock(room: str) -> None:
    modules = sorted((BACKEND / room.replace(".", "/")).rglob("*.py"))
    assert modules
    forbidden = CLOCKS if room == "decisions.joint" else CLOCKS | STOPWATCHES
    assert not {(module.name, name) for module in modules for name in calls(module) if name in forbidden}
