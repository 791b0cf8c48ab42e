"""What the soak counts: how long the well-behaved client waited, what anybody was answered, how memory went."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import linear_regression, quantiles

import psutil

from server_process import ServerProcess

MOST_OFFENCES_KEPT = 50
BYTES_PER_MB = 1_000_000


@dataclass
class Tally:
    """Filled by every thread of the soak."""

    waits_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    offences: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, who: str, what: str, status: int, headers: Mapping[str, str]) -> None:
        """An answer came. A server error is an offence, unless it is a 503 that says when to come again."""
        with self._lock:
            self.answers[who, status] += 1
        if status >= 500 and not (status == 503 and "retry-after" in {name.lower() for name in headers}):
            self.offence(f"{who}: {what} was answered {status}")

    def waited(self, what: str, seconds: float) -> None:
        """How long the well-behaved client waited for something."""
        with self._lock:
            self.waits_s[what].append(seconds)

    def offence(self, text: str) -> None:
        """Something that must not happen; the first few are kept."""
        with self._lock:
            if len(self.offences) < MOST_OFFENCES_KEPT:
                self.offences.append(text)

    def count(self, who: str) -> dict[int, int]:
        """How often somebody was answered each status."""
        return {status: number for (name, status), number in sorted(self.answers.items()) if name == who}


def p99(waits_s: list[float]) -> float:
    return quantiles(waits_s, n=100, method="inclusive")[98] if len(waits_s) > 1 else max(waits_s, default=0)


def median(waits_s: list[float]) -> float:
    return sorted(waits_s)[len(waits_s) // 2]


@dataclass
class Memory:
    """The resident memory of a server and its child processes, sampled as it runs."""

    server: ServerProcess
    samples: list[tuple[float, float]] = field(default_factory=list)

    def processes(self) -> list[psutil.Process]:
        """The server's own; the database has its own life."""
        first = psutil.Process(self.server.process.pid)
        return [first, *(child for child in first.children(recursive=True) if child.name() != "postgres")]

    def sample(self, at_s: float) -> None:
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        self.samples.append((at_s, total / BYTES_PER_MB))

    def after(self, warm_at_s: float) -> tuple[float, float]:
        """Where the straight line through the samples since then begins and ends, in MB."""
        warm = [(at_s, mb) for at_s, mb in self.samples if at_s >= warm_at_s]
        slope, intercept = linear_regression(*zip(*warm, strict=True))
        return tuple(intercept + slope * at_s for at_s in (warm[0][0], warm[-1][0]))  # type: ignore[return-value]
