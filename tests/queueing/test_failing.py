"""What fails is remembered until it works, or has not failed for a while."""

from __future__ import annotations

from queueing.failing import Failing


def test_what_failed_counts_once_until_it_works() -> None:
    failing = Failing(again_after_s=3600)
    for name in ("job-1", "job-2", "job-1"):
        failing.failed(name)
    assert len(failing) == 2
    failing.worked("job-1")
    failing.worked("never failed")
    assert len(failing) == 1


def test_what_is_not_tried_again_is_forgotten() -> None:
    failing = Failing(again_after_s=0)
    failing.failed("job-1")
    assert len(failing) == 0
