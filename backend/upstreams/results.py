"""What a fetch returns: the good rows, and what was wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from grid.half_hours import HALF_HOUR, half_hour_of, half_hours, rfc3339
from upstreams.errors import UnusableAnswer
from vocabulary import StrEnum


class ProblemKind(StrEnum):
    MALFORMED_ROW = "malformed row"
    MALFORMED_TIME = "malformed time"
    OFF_THE_HALF_HOUR = "not on a half-hour"
    WRONG_LENGTH = "not half an hour long"
    WRONG_SETTLEMENT_PERIOD = "settlement period contradicts start time"
    OUTSIDE_WINDOW = "outside the time asked for"
    NOT_A_NUMBER = "not a number"
    MISSING_VALUE = "missing value"
    IMPLAUSIBLE = "implausible value"
    INCREDIBLE_ZERO = "zero that its generation mix contradicts"
    SPURIOUS_ZERO = "zero that the figures beside it contradict"
    LONE_OUTLIER = "far from both its neighbours"
    UNKNOWN_INDEX = "unknown carbon index"
    UNKNOWN_FUEL = "unknown fuel"
    MISSING_FUEL = "missing fuel"
    BROKEN_MIX = "broken generation mix"
    UNKNOWN_REGION = "unknown region"
    MISSING_REGION = "missing region"
    MISSING_HALF_HOUR = "missing half-hour"
    CONFLICTING_ROWS = "conflicting rows"
    UNKNOWN_CARDINAL_POINT = "unknown cardinal point"
    OVERLAPPING_WINDOW = "overlapping cardinal windows"
    TWO_PRICES = "two prices where there is one"
    UNKNOWN_COLUMN = "unknown column"
    TRUNCATED = "truncated answer"
    FAILED_PIECE = "failed piece of the range"


@dataclass(frozen=True)
class Problem:
    """One kind of fault in an answer: how often it occurred, whether it cost the row, and the first case."""

    kind: ProblemKind
    count: int
    rejected: bool
    example: str

    def __str__(self) -> str:
        return f"{self.count} × {self.kind} ({self.example})"


@dataclass(frozen=True)
class Window:
    """The half-hours a fetch asks for: every start in [start, end)."""

    start: datetime
    end: datetime

    @classmethod
    def around(cls, start: datetime, end: datetime) -> Window:
        """The whole half-hours from the one that contains `start` up to `end`.

        Raises:
            ValueError: a time has no timezone, or `end` is not after `start`.
        """
        first, last = half_hour_of(start), half_hour_of(end)
        if last < end:
            last += HALF_HOUR
        if last <= first:
            raise ValueError(f"the end {rfc3339(end)} must be after the start {rfc3339(start)}")
        return cls(first, last)

    def holds(self, start: datetime) -> bool:
        return self.start <= start < self.end

    def touches(self, start: datetime) -> bool:
        """Whether `start` is the half-hour just before or just after: some routes return those as well."""
        return start in (self.start - HALF_HOUR, self.end)

    def pieces(self, longest: timedelta) -> Iterator[Window]:
        """The window in order, cut into pieces of at most `longest`."""
        start = self.start
        while start < self.end:
            end = min(start + longest, self.end)
            yield Window(start, end)
            start = end

    def __str__(self) -> str:
        return f"{rfc3339(self.start)} to {rfc3339(self.end)}"


class HalfHourRow(Protocol):
    @property
    def start(self) -> datetime: ...


RowT = TypeVar("RowT", bound=HalfHourRow)
RowT_co = TypeVar("RowT_co", bound=HalfHourRow, covariant=True)


@dataclass(frozen=True)
class FetchResult(Generic[RowT_co]):
    """The usable rows of a fetch, oldest first: at least one.

    Attributes:
        rows: one for each half-hour (and region), keyed by its own time.
        problems: what was rejected or looked odd, with counts.
        window: the half-hours asked for.
        fetched_at: the `now` the caller gave.
    """

    rows: tuple[RowT_co, ...]
    problems: tuple[Problem, ...]
    window: Window
    fetched_at: datetime

    @property
    def rejected_rows(self) -> int:
        return sum(problem.count for problem in self.problems if problem.rejected)

    def summary(self) -> str:
        """One line for a log or a health page."""
        count = len(self.rows)
        return "; ".join([f"{count} row{'s' * (count != 1)}", *map(str, self.problems)])


class RejectedRow(Exception):
    """A row or field is unusable, and why."""

    def __init__(self, kind: ProblemKind, why: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why


class Findings:
    """Collects problems while an answer is parsed."""

    def __init__(self) -> None:
        self._found: dict[tuple[ProblemKind, bool], tuple[int, str]] = {}

    def reject(self, verdict: RejectedRow, where: object = "") -> None:
        """Record a row that was lost."""
        self._add(verdict.kind, rejected=True, count=1, example=_placed(verdict.why, where))

    def note(self, kind: ProblemKind, why: str, where: object = "", *, count: int = 1) -> None:
        """Record something odd that cost no row."""
        self._add(kind, rejected=False, count=count, example=_placed(why, where))

    def add(self, problem: Problem) -> None:
        self._add(problem.kind, rejected=problem.rejected, count=problem.count, example=problem.example)

    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(kind, count, rejected, example) for (kind, rejected), (count, example) in self._found.items()
        )

    def note_missing_half_hours(self, window: Window, present: Iterable[datetime]) -> None:
        """Record the half-hours of `window` that no row covers: a short horizon, or a hole."""
        there = set(present)
        missing = [start for start in half_hours(window.start, window.end) if start not in there]
        if missing:
            self.note(ProblemKind.MISSING_HALF_HOUR, f"first {rfc3339(missing[0])}", count=len(missing))

    def _add(self, kind: ProblemKind, *, rejected: bool, count: int, example: str) -> None:
        before, first = self._found.get((kind, rejected), (0, example))
        self._found[kind, rejected] = (before + count, first)


def one_per_key(rows: Iterable[RowT], key: Callable[[RowT], Hashable], findings: Findings) -> list[RowT]:
    """Rows without duplicates: of conflicting rows the later in the answer wins, and that is noted."""
    kept: dict[Hashable, RowT] = {}
    for row in rows:
        other = kept.get(key(row))
        if other is not None and other != row:
            findings.note(ProblemKind.CONFLICTING_ROWS, "the later one is kept", rfc3339(row.start))
        kept[key(row)] = row
    return list(kept.values())


def result_of(rows: Iterable[RowT], findings: Findings, window: Window, fetched_at: datetime) -> FetchResult[RowT]:
    """A result with its rows in order of time.

    Raises:
        UnusableAnswer: there is no row.
    """
    ordered = tuple(sorted(rows, key=lambda row: row.start))
    problems = findings.problems()
    if not ordered:
        raise UnusableAnswer("; ".join(["no usable row", *map(str, problems)]))
    return FetchResult(ordered, problems, window, fetched_at)


def _placed(why: str, where: object) -> str:
    return f"{where}: {why}" if where != "" else why
