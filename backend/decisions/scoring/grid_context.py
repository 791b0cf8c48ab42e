"""The grid and the data centres alone, without a workload: what catalogues and runs are made from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from decisions.scoring.context import Capacity, DataCentre, GenerationMix, NationalSignals, RegionalSignals
from workloads.model import UtcDatetime


class GridContext(BaseModel):
    """The grid and the data centres at `as_of`: what the database function `grid_context` answers.

    Without a `capacity` what the present load leaves is free throughout.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    as_of: UtcDatetime
    national: NationalSignals
    regional: tuple[RegionalSignals, ...] = ()
    data_centres: tuple[DataCentre, ...] = ()
    generation_mix: tuple[GenerationMix, ...] = ()
    capacity: Capacity | None = None

    def region(self, region_id: int) -> RegionalSignals | None:
        """The signals of a region; None where there are none."""
        return next((region for region in self.regional if region.region_id == region_id), None)

    def data_centre(self, dc_id: str) -> DataCentre | None:
        """One of the data centres; None where it is OFFLINE or unknown."""
        return next((centre for centre in self.data_centres if centre.dc_id == dc_id), None)
