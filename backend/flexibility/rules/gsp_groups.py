"""The GSP groups: the fourteen regions of the distribution networks, as settlement names them.

A secondary unit of the balancing market holds metering systems of one GSP group.
"""

from __future__ import annotations

GSP_GROUP_OF_REGION: dict[int, str] = {
    1: "_P",
    2: "_N",
    3: "_G",
    4: "_F",
    5: "_M",
    6: "_D",
    7: "_K",
    8: "_E",
    9: "_B",
    10: "_A",
    11: "_L",
    12: "_H",
    13: "_C",
    14: "_J",
}
"""By the region_id of the Carbon Intensity API. `_K` is in Elexon's register, the others go by their names."""
