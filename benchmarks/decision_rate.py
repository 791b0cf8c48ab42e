"""Does this version decide as fast as an earlier one, and what does the hash chain of the decisions cost?

    git worktree add --detach /tmp/before 4a6e1a1        (the last version before tenants)
    make bench NAME=decision_rate ARGS="--before /tmp/before [--jobs 1500 --rounds 7]"

Each version drains the same backlog with its own gateway, over its own embedded database, in turns; the other one's
database rests meanwhile. Both with nothing configured: one tenant, deterministic scorer, eight data centres or more.
The chain's trigger is on and off in turns, in this version, in a database where the tables do without its columns.
The ratios are medians of those of neighbouring turns. What is measured is `gateway_backlog` of each version.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from machine import machine

HERE = Path(__file__).resolve().parent.parent
UNCHAINED = (
    "alter table orchestration_decisions alter chain_position drop not null, alter chain_hash drop not null",
    "alter table orchestration_decisions disable trigger hash_into_chain",
)
CHAINED = ("alter table orchestration_decisions enable always trigger hash_into_chain",)

DRAINS = """
import os, sys
from pathlib import Path
import psycopg
from gateway_backlog import _drain
from gateways import world

with world(data_centres=int(sys.argv[1])) as database:
    print("ready", flush=True)
    for number, line in enumerate(sys.stdin):
        command, _, rest = line.strip().partition(" ")
        if command == "sql":
            with psycopg.connect(host=str(Path(os.environ["PYLON_DATA_DIR"]) / "postgres"), user="postgres") as owner:
                owner.execute(rest.encode())
            print("done", flush=True)
        else:
            drained = _drain(database, int(rest), f"turn-{number}")
            print(drained.rate, drained.cpu_ms, flush=True)
"""
"""Runs in a version's own modules, so with what all versions have."""


@dataclass
class Turns:
    """What the turns of one kind have come to: jobs a second, and CPU milliseconds of the gateway for each."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


class Version:
    """A running world of one version."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._answer()

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self._tell(f"sql {statement}")

    def drain(self, jobs: int, into: Turns) -> None:
        rate, cpu_ms = map(float, self._tell(f"drain {jobs}").split())
        into.rates.append(rate)
        into.cpu_ms.append(cpu_ms)

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a version's process has ended")
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="where an earlier version is checked out; else it is left out")
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data-centres", type=int, default=8)
    parser.add_argument("--versions-only", action="store_true", help="leave the chain as it is")
    options = parser.parse_args()
    turns = f"{options.jobs} jobs a turn, {options.rounds} turns of each, {options.data_centres} data centres"
    print(f"{machine()}; {turns}\n")
    print("| decided | jobs/s, median | ratio | CPU of the gateway per job, ms | ratio |")
    print("|---|---|---|---|---|")
    with _version(HERE, options.data_centres) as now:
        if options.before is not None:
            with _version(options.before.resolve(), options.data_centres) as before:
                old, new = Turns(), Turns()
                _in_turns(
                    lambda: before.drain(options.jobs, old), lambda: now.drain(options.jobs, new), options.rounds
                )
                _print("by the earlier version", old, old)
                _print("by this version", new, old)
        if options.versions_only:
            return
        now.sql(*UNCHAINED)
        unchained, chained = Turns(), Turns()

        def without_chain() -> None:
            now.sql(UNCHAINED[1])
            now.drain(options.jobs, unchained)

        def with_chain() -> None:
            now.sql(*CHAINED)
            now.drain(options.jobs, chained)

        _in_turns(without_chain, with_chain, options.rounds)
        _print("by this version, no chain", unchained, unchained)
        _print("by this version, in the chain", chained, unchained)


def _in_turns(first: Callable[[], None], second: Callable[[], None], rounds: int) -> None:
    for number in range(rounds):
        for act in (first, second) if number % 2 else (second, first):
            act()


def _print(name: str, turns: Turns, compared: Turns) -> None:
    print(
        f"| {name} | {median(turns.rates):.1f} | {_ratio(turns.rates, compared.rates):.2f} "
        f"| {median(turns.cpu_ms):.2f} | {_ratio(turns.cpu_ms, compared.cpu_ms):.2f} |",
        flush=True,
    )


def _ratio(these: list[float], those: list[float]) -> float:
    return median(one / other for one, other in zip(these, those, strict=True))


@contextmanager
def _version(tree: Path, data_centres: int) -> Iterator[Version]:
    modules = os.pathsep.join(str(tree / room) for room in ("backend", "benchmarks"))
    process = subprocess.Popen(
        [sys.executable, "-c", DRAINS, str(data_centres)],
        env=os.environ | {"PYTHONPATH": modules},
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Version(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the end of what it is told
        process.wait(timeout=60)


if __name__ == "__main__":
    main()
