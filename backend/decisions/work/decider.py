"""Decides claimed workloads: context from the database, score from the scorer, judgement from the model if any."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from database.errors import DatabaseError
from database.interface import Row
from decisions.model.gemini import GeminiJudge, ModelAnswer, ModelUnavailable
from decisions.model.judgement import question_for
from decisions.model.response import NOTHING_USED
from decisions.publishing.schema import Scorer
from decisions.scoring.decide import Decision, decide
from decisions.work.notifications import Claim, ContextBatch, DecisionRecord, WorkQueue
from decisions.work.record import DecidedWith, record_of
from vocabulary import Policy

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker may have the notification: whatever is decided about it here must be dropped."""


@dataclass(frozen=True)
class Undecided:
    """A workload that could not be decided, and why."""

    claim: Claim
    error: str


@dataclass(frozen=True)
class Decided:
    """What became of some claims, on one grid. Claims in neither list have lost their lease or their workload.

    `grid_version` tells that grid from the next.
    """

    grid: Row
    grid_version: str | None
    records: tuple[DecisionRecord, ...]
    undecided: tuple[Undecided, ...]


class NothingToDecideFrom(Exception):
    """There is no data centre, or no signal for the present half-hour, so a decision would have no options."""


class Decider:
    """Decides as the settings say. Safe to use from many threads; holds no transaction while it thinks."""

    def __init__(
        self,
        queue: WorkQueue,
        *,
        carbon_price_gbp_per_t: float,
        clock: Callable[[], datetime],
        judge: GeminiJudge | None = None,
        policy: Policy = Policy.BALANCED,
    ) -> None:
        self._queue = queue
        self._carbon_price_gbp_per_t = carbon_price_gbp_per_t
        self._clock = clock
        self._judge = judge
        self._policy = policy

    def decide(self, claims: Sequence[Claim], *, why_unasked: ModelUnavailable | None = None) -> Decided:
        """Decide claimed workloads on one grid, the present one; the model is asked unless there is a reason not to.

        They are decided one after the other, each on the power that the ones before leave.

        Raises:
            DatabaseError: the database failed; nothing is stored yet.
            NothingToDecideFrom: the claims are to be given back until there is.
        """
        batch = self._queue.contexts([claim.job for claim in claims], self._clock())
        if not batch.is_whole:
            raise NothingToDecideFrom
        records: list[DecisionRecord] = []
        undecided: list[Undecided] = []
        for claim in claims:
            if claim.job not in batch:
                continue  # deleted since it was claimed, and its notification with it
            try:
                record = self._record(claim, batch, why_unasked)
            except LeaseLost:
                extra = claim.job.for_the_log
                _log.info("job %s: left to another worker, the lease was lost", claim.job_id, extra=extra)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - one poisonous workload must not hold up the others
                _log.exception("job %s cannot be decided", claim.job_id, extra=claim.job.for_the_log)
                undecided.append(Undecided(claim, f"{type(error).__name__}: {error}"))
            else:
                records.append(record)
                if record.booking is not None and record.chosen_dc_id is not None:
                    held = record.booking
                    batch.take(record.chosen_dc_id, held["starts_at"], held["ends_at"], held["it_power_kw"])
        return Decided(batch.grid, batch.grid_version, tuple(records), tuple(undecided))

    def _record(self, claim: Claim, batch: ContextBatch, why_unasked: ModelUnavailable | None) -> DecisionRecord:
        decision = decide(
            batch.context(claim.job),
            carbon_price_gbp_per_t=self._carbon_price_gbp_per_t,
            policy=self._policy,
        )
        answer, failure = self._opinion(claim, batch, decision, why_unasked)
        usage = answer.usage if answer else failure.usage if failure else NOTHING_USED
        decided_with = DecidedWith(
            carbon_price_gbp_per_t=self._carbon_price_gbp_per_t,
            policy=self._policy,
            generated_at=self._clock(),
            scorer=Scorer.GEMINI if answer and answer.sets_scores else Scorer.DETERMINISTIC,
            model=answer.model if answer else None,
            fallback_reason=str(failure) if failure else None,
            judgements=answer.judgements if answer else {},
        )
        return record_of(
            claim.lease,
            batch.task_row(claim.job),
            decision,
            decided_with,
            token_usage=dict(usage.to_row()) if usage.calls else None,
        )

    def _opinion(
        self, claim: Claim, batch: ContextBatch, decision: Decision, why_unasked: ModelUnavailable | None
    ) -> tuple[ModelAnswer | None, ModelUnavailable | None]:
        """What the model says, or why it says nothing; neither without a model, or with nothing to judge."""
        if self._judge is None or (question := question_for(decision, self._judge.role)) is None:
            return None, None
        if why_unasked is not None:
            return None, why_unasked
        if not self._queue.note_context(claim.lease, {**batch.grid, **batch.task_row(claim.job)}):
            raise LeaseLost
        try:
            return self._judge.judge(question), None
        except ModelUnavailable as failure:
            extra = claim.job.for_the_log
            _log.warning("job %s: the deterministic score is used: %s", claim.job_id, failure, extra=extra)
            return None, failure
