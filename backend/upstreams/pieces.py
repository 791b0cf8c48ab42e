"""Fetching a long window in the pieces an API allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from upstreams.errors import UpstreamError, UpstreamInvalidResponse, UpstreamRefused
from upstreams.results import FetchResult, Findings, ProblemKind, RowT, Window, result_of


def each_piece(
    whole: Window, longest: timedelta, fetch: Callable[[Window], FetchResult[RowT]]
) -> Iterator[FetchResult[RowT]]:
    """The results of a window's pieces, oldest first.

    A piece that is refused or holds nothing usable does not stop the others: its error is raised after them.
    An API that is unavailable is not asked for the rest.

    Raises:
        UpstreamError: the first failure, once every good piece has been yielded.
    """
    return each_of(whole.pieces(longest), fetch)


def each_of(windows: Iterable[Window], fetch: Callable[[Window], FetchResult[RowT]]) -> Iterator[FetchResult[RowT]]:
    """As `each_piece`, of windows that somebody else has cut."""
    first_failure: UpstreamError | None = None
    for piece in windows:
        try:
            result = fetch(piece)
        except (UpstreamInvalidResponse, UpstreamRefused) as failure:  # noqa: PERF203 - a few calls, not a hot loop
            first_failure = first_failure or failure
        else:
            yield result
    if first_failure is not None:
        raise first_failure


def all_pieces(whole: Window, longest: timedelta, fetch: Callable[[Window], FetchResult[RowT]]) -> FetchResult[RowT]:
    """The results of a window's pieces as one; a failed piece is among its problems.

    Raises:
        UpstreamError: no piece succeeded.
    """
    return all_results(list(whole.pieces(longest)), fetch)


def all_results(windows: Sequence[Window], fetch: Callable[[Window], FetchResult[RowT]]) -> FetchResult[RowT]:
    """As `all_pieces`, of windows in order that somebody else has cut; they may leave something out between them."""
    results: list[FetchResult[RowT]] = []
    findings = Findings()
    try:
        for result in each_of(windows, fetch):
            results.append(result)  # noqa: PERF402 - what came before a failure is kept
    except UpstreamError as failure:
        if not results:
            raise
        findings.note(ProblemKind.FAILED_PIECE, str(failure))
    for result in results:
        for problem in result.problems:
            findings.add(problem)
    rows = [row for result in results for row in result.rows]
    return result_of(rows, findings, Window(windows[0].start, windows[-1].end), results[0].fetched_at)
