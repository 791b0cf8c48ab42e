"""Opens negotiations by itself, where a limit binds that booked work could be moved within, or moved under."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from database.errors import DatabaseUnreachable
from database.interface import Database, Row
from decisions.work.notifications import ContextBatch
from grid.half_hours import HALF_HOUR, half_hour_of
from negotiation.limits import BindingLimit, negotiation_over
from negotiation.model import StoredNegotiation
from negotiation.talk import Opening, open_negotiation

_log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=30)
STARTS_AFTER = timedelta(minutes=15)
"""From when on a negotiation may move work: it has ten minutes, and runs are prepared before they begin."""
HALF_HOURS = 48


class LimitsUnseen(Exception):
    """Limits that could not be looked at, by their keys; its cause is why the first of them could not."""


class WatchedLimits(BaseModel):
    """What is watched beside data centres and flexibility that is sold: regions' connection limits, by region_id."""

    model_config = ConfigDict(frozen=True)

    of_regions_mw: Mapping[int, float] = {}
    carbon_price_gbp_per_t: float


class LimitWatch:
    """Looks every half a minute, from whichever thread asks it to."""

    def __init__(self, database: Database, watched: WatchedLimits) -> None:
        self._database = database
        self._watched = watched
        self._looked_at: datetime | None = None

    def look_sometimes(self, now: datetime) -> bool:
        """Look, unless it was done within the last half a minute; whether it was done now."""
        last = self._looked_at
        if last is not None and last <= now < last + LOOK_EVERY:
            return False
        self._looked_at = now
        self.look(now)
        return True

    def look(self, now: datetime) -> list[StoredNegotiation]:
        """Open one negotiation for each limit that binds, if it has none about these half-hours; those opened.

        Each limit is looked at by itself: one that cannot be holds up no other.

        Raises:
            DatabaseError: the database does not answer.
            pydantic.ValidationError: it holds of the grid what the scorer does not understand.
            LimitsUnseen: some limits could not be looked at; the others were.
        """
        starts_at = half_hour_of(now + STARTS_AFTER) + HALF_HOUR
        limits = [{"region_id": region, "limit_mw": mw} for region, mw in self._watched.of_regions_mw.items()]
        found: Row | None = self._database.call(
            "binding_limits",
            {"p_now": now, "p_starts_at": starts_at, "p_half_hours": HALF_HOURS, "p_region_limits": limits},
            repeatable=True,
        )
        if found is None:
            return []
        batch = ContextBatch.of(found["contexts"])
        if not batch.is_whole:
            return []
        opened: list[StoredNegotiation] = []
        unseen: dict[str, Exception] = {}
        for row in found["limits"]:
            try:
                negotiation = self._look_at(row, batch, starts_at, now)
            except DatabaseUnreachable:
                raise
            except Exception as error:  # noqa: BLE001 - told once the others were looked at
                unseen[str(row.get("limit_key"))] = error
                continue
            opened += [negotiation] if negotiation else []
        if unseen:
            raise LimitsUnseen(", ".join(unseen)) from next(iter(unseen.values()))
        return opened

    def _look_at(self, row: Row, batch: ContextBatch, starts_at: datetime, now: datetime) -> StoredNegotiation | None:
        limit = BindingLimit.model_validate(row)
        wanted = negotiation_over(
            limit, batch, starts_at, now, carbon_price_gbp_per_t=self._watched.carbon_price_gbp_per_t
        )
        if wanted is None:
            return None
        outcome = open_negotiation(self._database, wanted, now)
        if outcome.state is not Opening.OPENED:
            return None
        _log.info("%s binds: %d agents negotiate", limit.limit_key, len(wanted.agents))
        return outcome.negotiation
