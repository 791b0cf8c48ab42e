"""The server's side of runners: what is booked is leased to them, and what they say of it is stored and reckoned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from database.interface import Calls, Database
from execution.bookings import RUNNER, BookedRun, BookedRuns
from execution.deferral import deferral
from execution.metering import ItEnergy, ReadingSource, metered
from execution.runner.protocol import (
    Ended,
    EnergySource,
    Finish,
    GiveBack,
    HalfHourEnergy,
    OfferedRun,
    Registration,
    Standing,
    Take,
)
from execution.silence import Silence
from execution.usage import UsedHalfHour, basis
from execution.used_grid import used_half_hours
from execution.work import Stored
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from printable import printable
from vocabulary import StrEnum, WorkloadStatus

_log = logging.getLogger(__name__)


class Registering(StrEnum):
    """What becomes of a registration."""

    REGISTERED = "registered"
    UNKNOWN_DATA_CENTRE = "unknown_data_centre"
    SIMULATED = "simulated"


class Taking(StrEnum):
    """Whether a runner may take work."""

    OK = "ok"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RunKey:
    """Which run is spoken of, by whom, and under which lease."""

    runner_id: str
    run_id: int
    fence: str

    def arguments(self, now: datetime) -> dict[str, Any]:
        return {
            "p_run_id": self.run_id,
            "p_runner_id": self.runner_id,
            "p_fence": self.fence,
            "p_now": rfc3339(now),
        }


class RunnersRuns:
    """The runs of runners, in the database. All methods raise `DatabaseError`, and may be repeated."""

    def __init__(
        self, requests: Calls, database: Database, *, carbon_price_gbp_per_t: float, silence: Silence
    ) -> None:
        """
        Args:
            requests: the database as the caller of the present request has it.
            database: the whole of it, for the grid and the places of data centres.
            silence: how long nothing may be heard of a run.
        """
        self._requests = requests
        self._database = database
        self._book = BookedRuns(database, carried_out_by=RUNNER)
        self._carbon_price = carbon_price_gbp_per_t
        self._lease_s = silence.lost_after_s

    def register(self, registration: Registration, now: datetime) -> tuple[Registering, str | None]:
        """What became of it, and the session."""
        message = registration.model_dump(mode="json")
        told = self._requests.call("register_runner", {"p_message": message, "p_now": rfc3339(now)}, repeatable=True)
        if told.get("session") is not None:
            _log.info("the runner %s of %s has registered", registration.runner_id, registration.dc_id)
        return Registering(told["state"]), told.get("session")

    def registered(self) -> list[dict[str, Any]]:
        """The caller's runners."""
        found: list[dict[str, Any]] = self._requests.call("list_runners", {}, repeatable=True)["runners"]
        return found

    def take(self, runner_id: str, take: Take, now: datetime) -> tuple[Taking, list[OfferedRun]]:
        """Lease what is due, if anything is."""
        told = self._requests.call(
            "take_runs",
            {
                "p_runner_id": runner_id,
                "p_session": take.session,
                "p_templates": take.templates,
                "p_holding": take.holding,
                "p_now": rfc3339(now),
                "p_lease_seconds": self._lease_s,
            },
            repeatable=True,  # what was leased in vain is leased again
        )
        return Taking(told["state"]), [OfferedRun.model_validate(run) for run in told.get("runs", ())]

    def begin(self, key: RunKey, now: datetime) -> Standing:
        """Have a run begin, unless it is put off: the grid is looked at once more, as before every start."""
        if self._is_put_off(key, now):
            return Standing.DEFERRED
        standing = self._standing("begin_run", {**key.arguments(now), "p_lease_seconds": self._lease_s})
        if standing is Standing.HELD:
            _log.info("run %d: begins on the runner %s", key.run_id, key.runner_id)
        return standing

    def _is_put_off(self, key: RunKey, now: datetime) -> bool:
        """Whether it has been moved to a better time, as its caller's run that has not begun."""
        asked = {"p_run_id": key.run_id, "p_runner_id": key.runner_id, "p_fence": key.fence}
        found = self._requests.call("run_to_begin", asked, repeatable=True)
        if found is None:
            return False
        run = BookedRun.model_validate(found)
        better = deferral(run, now, self._book.grid(now), self._book, carbon_price_gbp_per_t=self._carbon_price)
        if better is None or self._book.store(run, better, now) is not Stored.CHANGED:
            return False
        told = f"is put off at {run.dc_id} to {rfc3339(better.to.start)}: {better.spike.explanation}"
        _log.info("%s: %s", run.name, told, extra={"operator": run.operator})
        return True

    def heartbeat(self, key: RunKey, energy: Sequence[HalfHourEnergy], now: datetime) -> Standing:
        said = {"p_energy": _documents(energy), "p_lease_seconds": self._lease_s}
        return self._standing("heartbeat_run", {**key.arguments(now), **said})

    def give_back(self, key: RunKey, given: GiveBack, now: datetime) -> Standing:
        return self._standing(
            "give_back_run", {**key.arguments(now), "p_reason": _plain(given.reason), "p_final": given.final}
        )

    def finish(self, key: RunKey, finish: Finish, now: datetime) -> Standing:
        outcome = finish.model_dump(mode="json", exclude={"fence"}) | {
            "output_tail": _plain(finish.output_tail),
            "reason": None if finish.reason is None else _plain(finish.reason),
        }
        account = self._account(key.run_id, finish)
        said = {"p_outcome": outcome, "p_account": account}
        standing = self._standing("finish_run", {**key.arguments(now), **said})
        if standing is Standing.HELD:
            _log.info(
                "run %d: has ended on the runner %s: %s",
                key.run_id,
                key.runner_id,
                printable(account["status_reason"]),
            )
        return standing

    def _standing(self, function: str, arguments: dict[str, Any]) -> Standing:
        return Standing(self._requests.call(function, arguments, repeatable=True)["standing"])

    def _account(self, run_id: int, finish: Finish) -> dict[str, Any]:
        place = self._database.call("run_place", {"p_run_id": run_id}, repeatable=True)
        if place is None:
            return _verdict(finish, [])
        metered_kwh = {half_hour_of(each.half_hour): each for each in finish.energy}
        half_hours: list[UsedHalfHour] = []
        if metered_kwh:
            end = max(metered_kwh) + HALF_HOUR
            half_hours = used_half_hours(self._database, place["region_id"], min(metered_kwh), end)
        readings = metered(
            [
                ItEnergy(half_hour, each.energy_kwh, ReadingSource(each.source))
                for half_hour, each in metered_kwh.items()
            ],
            float(place["pue"]),
        )
        return {**_verdict(finish, half_hours), "readings": [reading.row() for reading in readings]}


def _verdict(finish: Finish, half_hours: Sequence[UsedHalfHour]) -> dict[str, str]:
    is_done = finish.ended is Ended.EXITED and finish.exit_status == 0
    return {
        "status": str(WorkloadStatus.COMPLETED if is_done else WorkloadStatus.FAILED),
        "status_reason": f"{_ending(finish)}{_metering(finish.energy)}{basis(half_hours)}",
    }


def _ending(finish: Finish) -> str:
    why = {
        "cancelled": ", when it was asked to",
        "too_long": ", as it took longer than its template allows",
        "runner_gone": ", as its runner did not come back",
    }.get(finish.cause or "", "")
    if finish.ended is Ended.EXITED:
        return f"It ran for {finish.run_s:.1f} s and ended with status {finish.exit_status}{why}."
    if finish.ended is Ended.SIGNALLED:
        return f"It ran for {finish.run_s:.1f} s and was ended by signal {finish.signal}{why}."
    if finish.ended is Ended.NOT_STARTED:
        return f"It was not run: {_plain(finish.reason or 'its runner does not say why')}."
    return f"It was lost: {_plain(finish.reason or 'its runner does not say why')}."


def _metering(energy: Sequence[HalfHourEnergy]) -> str:
    if not energy:
        return ""
    if all(each.source is EnergySource.RAPL for each in energy):
        return " Its energy was counted by the machine."
    return " Its energy is power x time, as its runner's owner states the power."


def _documents(energy: Sequence[HalfHourEnergy]) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json") for each in energy]


def _plain(text: str) -> str:
    """Text that PostgreSQL takes."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
