"""Keeps a runner's runs: begins them, meters them, is heard of, ends them, and reports until somebody has heard."""

from __future__ import annotations

import logging
import os
import threading
import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from execution.runner.attendant import CANCELLED, RUNNER_GONE, TOO_LONG
from execution.runner.attended import AttendedCommand, Attention, Result
from execution.runner.configuration import Configuration
from execution.runner.journal import Journal, RunRecord, RunState
from execution.runner.metering import LONGEST_COUNTED_S, Meter, power_x_time, shares
from execution.runner.parameters import ParametersRefused, command_environment
from execution.runner.protocol import (
    LONGEST_REASON,
    Begin,
    Ended,
    EnergySource,
    Finish,
    GiveBack,
    HalfHourEnergy,
    Heartbeat,
    OfferedRun,
    Standing,
)
from execution.runner.rapl import Rapl
from execution.runner.server_calls import ServerCalls, ServerGone, ServerRefused
from execution.runner.server_time import ServerTime
from printable import printable

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
REFUSED_PAUSE_S = 60.0


@dataclass
class Rhythm:
    """What the server says of time."""

    heartbeat_s: float = 15.0
    lost_after_s: float = 600.0


@dataclass
class KeptRun:
    """A run with its command, and when it is to be spoken of next."""

    record: RunRecord
    command: AttendedCommand
    speak_at: float = 0.0
    refusals_told: set[str] = field(default_factory=set)


class Keeper:
    """All runs of a runner. `keep` is called again and again by one thread; `accept` by another."""

    def __init__(
        self,
        configuration: Configuration,
        journal: Journal,
        calls: ServerCalls,
        time: ServerTime,
        rhythm: Rhythm,
        *,
        rapl: Rapl | None = None,
        monotonic: Callable[[], float] = clocks.monotonic,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._configuration = configuration
        self._journal = journal
        self._calls = calls
        self._time = time
        self._rhythm = rhythm
        self._rapl = Rapl() if rapl is None else rapl
        self._monotonic = monotonic
        self._environment = environment
        self._lock = threading.Lock()
        self._runs = {record.run_id: self._found_again(record) for record in journal.records()}
        self._counted_at = monotonic()
        self._rapl.joules()
        self._silent_until = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._is_server_gone = False

    def holding(self) -> list[int]:
        """The run_ids that are kept."""
        with self._lock:
            return sorted(self._runs)

    def templates_with_room(self) -> list[str]:
        """The templates that there is power left for."""
        with self._lock:
            used_kw = sum(run.record.power_kw for run in self._runs.values())
        free_kw = self._configuration.capacity_kw - used_kw
        return [name for name, template in self._configuration.templates.items() if template.power_kw <= free_kw]

    def accept(self, offered: OfferedRun) -> None:
        """Keep a run that was taken, or give it back where it cannot be run here.

        Raises:
            OSError: it cannot be written down; it is not kept.
            ServerGone, ServerRefused: it could not be given back; the server offers it again.
        """
        with self._lock:
            if offered.run_id in self._runs:
                return
        template = self._configuration.templates.get(offered.template)
        if template is None or offered.template not in self.templates_with_room():
            self._give_back(offered, f"this runner has no room for a {printable(offered.template)}", final=False)
            return
        record = RunRecord.of(offered, template.power_kw)
        try:
            self._environment_of(record)
        except ParametersRefused as error:
            self._give_back(offered, str(error), final=True)
            return
        self._journal.write(record)
        with self._lock:
            self._runs[record.run_id] = self._kept(record)
        log.info("job %s: is taken, to run the template %s (run %d)", record.job_id, record.template, record.run_id)

    def keep(self) -> None:
        """Do for every run what is due."""
        now = self._monotonic()
        with self._lock:
            runs = list(self._runs.values())
        ran_until_s, results = {}, {}
        for run in runs:
            if run.record.state is RunState.BEGUN:
                attention = self._look(run)
                if attention is Attention.ATTENDED:
                    ran_until_s[run.record.run_id] = now
                elif attention is Attention.ENDED:
                    results[run.record.run_id] = result = run.command.result()
                    ran_until_s[run.record.run_id] = min(now, result.ended_s)
        self._meter({run.record.run_id: run for run in runs}, ran_until_s, now)
        for run in runs:
            if run.record.run_id in results:
                self._note_end(run, results[run.record.run_id])
        for run in runs:
            if now >= max(run.speak_at, self._silent_until):
                self._speak(run, now)

    def _kept(self, record: RunRecord) -> KeptRun:
        return KeptRun(record, AttendedCommand(self._journal.directory_of(record), record.mark))

    def _found_again(self, record: RunRecord) -> KeptRun:
        run = self._kept(record)
        if record.state is RunState.BEGUN and not run.command.is_claimed():
            record.state = RunState.TAKEN  # nothing was started: the server is asked again whether it may be
        log.info("job %s: is found again, %s (run %d)", record.job_id, _FOUND[record.state], record.run_id)
        return run

    def _environment_of(self, record: RunRecord) -> dict[str, str]:
        template = self._configuration.templates[record.template]
        return command_environment(
            template, record.parameters, self._environment, mark=record.mark, run_id=record.run_id
        )

    def _give_back(self, offered: OfferedRun, reason: str, *, final: bool) -> None:
        log.warning("job %s: is given back, as %s (run %d)", offered.job_id, reason, offered.run_id)
        given = GiveBack(fence=offered.fence, reason=reason[:LONGEST_REASON], final=final)
        self._calls.give_back(offered.run_id, given)

    # The command.

    def _look(self, run: KeptRun) -> Attention:
        """See how the command stands, and do what that asks for; its end is noted once it is metered."""
        attention = run.command.look()
        if attention is Attention.GONE:
            self._note_loss(run)
        elif attention is not Attention.ENDED and run.record.is_to_end:
            run.command.ask_to_end()
        return attention

    def _note_end(self, run: KeptRun, result: Result) -> None:
        self._meter_to(run.record, result.ended_s)
        self._end(
            run,
            Finish(
                fence=run.record.fence,
                ended=result.ended,
                exit_status=result.exit_status,
                signal=result.signal,
                cause=result.cause,
                reason=result.reason,
                output_tail=result.output_tail,
                output_bytes=result.output_bytes,
                run_s=max(0.0, result.ended_s - result.began_s),
                energy=self._readings(run.record),
            ),
        )

    def _note_loss(self, run: KeptRun) -> None:
        run.command.end_what_is_left()
        reason = "the process beside its command is gone, so how it ended is not known; what was left was ended"
        outcome = Finish(fence=run.record.fence, ended=Ended.LOST, reason=reason, energy=self._readings(run.record))
        self._end(run, outcome)

    def _end(self, run: KeptRun, outcome: Finish) -> None:
        ended = run.record.model_copy(update={"state": RunState.ENDED, "outcome": outcome})
        self._journal.write(ended)
        run.record = ended
        run.speak_at = 0.0
        log.info("job %s: %s (run %d)", ended.job_id, _ending(outcome), ended.run_id)

    # Energy.

    def _meter(self, runs: Mapping[int, KeptRun], ran_until_s: Mapping[int, float], now: float) -> None:
        """Share what the machine has counted since it was last asked among the runs that ran since then."""
        joules = self._rapl.joules()
        interval_s, since = now - self._counted_at, self._counted_at
        self._counted_at = now
        if joules is None or not 0 < interval_s <= LONGEST_COUNTED_S or not ran_until_s:
            return  # it is reckoned by power x time when it is spoken of
        of_each = shares({run_id: runs[run_id].record.power_kw for run_id in ran_until_s})
        for run_id, until_s in ran_until_s.items():
            record = runs[run_id].record
            self._meter_to(record, min(since, until_s))
            meter = self._meter_of(record)
            part = max(0.0, until_s - meter.until_s) / interval_s
            meter.add(until_s, joules * of_each[run_id] * part, EnergySource.RAPL, self._time)

    def _meter_to(self, record: RunRecord, moment_s: float) -> None:
        """By power x time, up to a moment."""
        meter = self._meter_of(record)
        joules = power_x_time(record.power_kw, moment_s - meter.until_s)
        meter.add(moment_s, joules, EnergySource.POWER_X_TIME, self._time)

    def _meter_of(self, record: RunRecord) -> Meter:
        if record.meter is None:
            record.meter = Meter(until_s=self._monotonic())
        return record.meter

    def _readings(self, record: RunRecord) -> list[HalfHourEnergy]:
        return [] if record.meter is None else record.meter.readings()

    # What is said to the server.

    def _speak(self, run: KeptRun, now: float) -> None:
        try:
            if run.record.state is RunState.TAKEN:
                self._begin(run)
            elif run.record.state is RunState.BEGUN:
                self._be_heard_of(run, now)
            else:
                self._report(run)
        except ServerGone as gone:
            if not self._is_server_gone:
                log.warning("the server cannot be told, and the runs go on: %s", gone)
            self._is_server_gone = True
            self._silent_until = self._monotonic() + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._rhythm.lost_after_s / 40, 2 * self._pause_s)
        except ServerRefused as refused:
            run.speak_at = now + REFUSED_PAUSE_S
            if str(refused) not in run.refusals_told:
                run.refusals_told.add(str(refused))
                log.error("job %s: the server refuses what it is told: %s", run.record.job_id, refused)  # noqa: TRY400
        else:
            if self._is_server_gone:
                log.info("the server answers again")
            self._is_server_gone, self._pause_s = False, FIRST_PAUSE_S

    def _begin(self, run: KeptRun) -> None:
        try:
            environment = self._environment_of(run.record)
        except (KeyError, ParametersRefused):  # the owner has changed the templates meanwhile
            given = GiveBack(fence=run.record.fence, reason="the template is not what it was", final=False)
            self._calls.give_back(run.record.run_id, given)
            self._forget(run)
            return
        run.command.prepare(
            self._configuration.templates[run.record.template],
            environment,
            runner_lock=self._journal.lock_file,
            runner_gone_s=self._rhythm.lost_after_s,
        )
        told = self._calls.begin(run.record.run_id, Begin(fence=run.record.fence))
        if told.standing is not Standing.HELD and not run.command.is_claimed():
            why = _NOT_BEGUN[told.standing]
            log.info("job %s: is not begun: %s (run %d)", run.record.job_id, why, run.record.run_id)
            self._forget(run)
            return
        begun = run.record.model_copy(update={"state": RunState.BEGUN, "meter": Meter(until_s=self._monotonic())})
        self._journal.write(begun)
        run.record = begun
        run.speak_at = self._monotonic() + self._rhythm.heartbeat_s
        run.command.look()
        log.info("job %s: begins (run %d)", begun.job_id, begun.run_id)

    def _be_heard_of(self, run: KeptRun, now: float) -> None:
        if self._is_attended(run):
            self._meter_to(run.record, now)
        self._journal.write(run.record)
        self._journal.keep_anchor(self._time.anchor)
        beat = Heartbeat(fence=run.record.fence, energy=self._readings(run.record))
        told = self._calls.heartbeat(run.record.run_id, beat)
        run.speak_at = now + self._rhythm.heartbeat_s
        if told.standing is not Standing.HELD and not run.record.is_to_end:
            why = _TO_END[told.standing]
            log.info("job %s: is asked to end, as %s (run %d)", run.record.job_id, why, run.record.run_id)
            run.record.is_to_end = True
            self._journal.write(run.record)

    def _report(self, run: KeptRun) -> None:
        if run.record.outcome is not None:
            told = self._calls.finish(run.record.run_id, run.record.outcome)
            if told.standing is Standing.FENCED:
                why = "it was this runner's no longer"
                log.warning("job %s: how it ended counts for nothing, as %s", run.record.job_id, why)
        self._forget(run)

    def _is_attended(self, run: KeptRun) -> bool:
        return run.command.look() is Attention.ATTENDED

    def _forget(self, run: KeptRun) -> None:
        self._journal.forget(run.record)
        with self._lock:
            del self._runs[run.record.run_id]


_FOUND = {
    RunState.TAKEN: "not begun yet",
    RunState.BEGUN: "begun",
    RunState.ENDED: "ended, and yet to be reported",
}
_NOT_BEGUN = {
    Standing.CANCELLED: "it was cancelled",
    Standing.DEFERRED: "the server has put it off, or decides it again",
    Standing.FENCED: "it is this runner's no longer",
}
_TO_END = {
    Standing.CANCELLED: "it was cancelled, or its window is over and there is no more power for it",
    Standing.DEFERRED: "it is not to run now",
    Standing.FENCED: "it is this runner's no longer",
}
_CAUSES = {
    CANCELLED: ", as it was asked to",
    TOO_LONG: ", as it took longer than its template allows",
    RUNNER_GONE: ", as no runner came back",
}


def _ending(outcome: Finish) -> str:
    """How a run ended, in words."""
    why = _CAUSES.get(outcome.cause or "", "")
    if outcome.ended is Ended.EXITED:
        return f"has ended with status {outcome.exit_status} after {outcome.run_s:.1f} s{why}"
    if outcome.ended is Ended.SIGNALLED:
        return f"was ended by signal {outcome.signal} after {outcome.run_s:.1f} s{why}"
    if outcome.ended is Ended.NOT_STARTED:
        return f"was not run: {outcome.reason}"
    return f"is lost: {outcome.reason}"
