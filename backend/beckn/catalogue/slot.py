"""A slot: one half-hour in one data centre, known on the network as `DC-001:gpu-slot:20260115T1300Z`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from grid.half_hours import HALF_HOUR, UTC, is_half_hour
from printable import printable

_ITEM_ID = re.compile(r"(?P<dc_id>[A-Za-z0-9._:-]{1,64}):gpu-slot:(?P<start>[0-9]{8}T[0-9]{4}Z)")
_COMPACT_TIME = "%Y%m%dT%H%MZ"


@dataclass(frozen=True)
class Slot:
    """The half-hour from `start` in one data centre, which its `item_id` names."""

    dc_id: str
    start: datetime

    @classmethod
    def parse(cls, item_id: str) -> Slot:
        """The slot of an item's id.

        Raises:
            ValueError: it is not the id of a slot.
        """
        match = _ITEM_ID.fullmatch(item_id)
        if match is None:
            raise ValueError(f"{printable(item_id)} is not the id of a slot, such as DC-001:gpu-slot:20260115T1300Z")
        try:
            start = datetime.strptime(match["start"], _COMPACT_TIME).replace(tzinfo=UTC)
        except ValueError:
            raise ValueError(f"{item_id} has no time in it, such as 20260115T1300Z") from None
        if not is_half_hour(start):
            raise ValueError(f"{item_id} does not start with a half-hour")
        return cls(match["dc_id"], start)

    @property
    def end(self) -> datetime:
        return self.start + HALF_HOUR

    @property
    def item_id(self) -> str:
        return f"{self.dc_id}:gpu-slot:{self.start.strftime(_COMPACT_TIME)}"

    @property
    def fulfillment_id(self) -> str:
        return f"ful:{self.dc_id}:{self.start.strftime(_COMPACT_TIME)}"
