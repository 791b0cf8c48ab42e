"""What a run came to that nobody really ran: its booked power over its half-hours, as it is metered."""

from __future__ import annotations

from datetime import datetime

from database.interface import Database, OrderBy, Where
from execution.metering import simulated
from execution.usage import basis, used
from execution.used_grid import used_half_hours
from execution.work import Complete


def simulated_run(database: Database, dc_id: str, start: datetime, end: datetime, it_power_kw: float) -> Complete:
    """The end of a run that drew `it_power_kw` throughout [start, end), also where it was broken off then.

    Raises:
        DatabaseError: its data centre or its half-hours cannot be read.
    """
    (centre,) = database.select(
        "data_centres",
        where=[Where("dc_id", dc_id)],
        order=OrderBy(("dc_id",)),
        columns=("pue", "region_id"),
    )
    half_hours = used_half_hours(database, centre["region_id"], start, end)
    readings = simulated(start, end, it_power_kw, centre["pue"])
    site_energy_wh = {reading.half_hour: reading.site_energy_wh for reading in readings}
    return Complete(used(start, end, site_energy_wh, half_hours), basis(half_hours), tuple(readings))
