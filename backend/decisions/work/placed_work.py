"""Work that a decision has placed: it holds power, has not begun, and may be asked to be elsewhere."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from decisions.work.notifications import OwnedJob
from workloads.model import UtcDatetime


class PlacedWork(BaseModel):
    """A workload with the place and the power that were promised to it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    operator: str
    job_id: str
    dc_id: str
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    it_power_kw: float

    @property
    def job(self) -> OwnedJob:
        return OwnedJob(self.operator, self.job_id)
