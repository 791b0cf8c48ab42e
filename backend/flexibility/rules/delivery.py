"""What a site delivered: the baseline less what was metered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from flexibility.rules.exact import exactly


@dataclass(frozen=True)
class SiteVolumes:
    """One data centre in one half-hour, MWh of import."""

    dc_id: str
    baseline_mwh: Decimal
    metered_mwh: Decimal

    @property
    def delivered_mwh(self) -> Decimal:
        """Positive where less was drawn than the baseline says."""
        return self.baseline_mwh - self.metered_mwh


@exactly
def delivered_mwh(sites: Iterable[SiteVolumes]) -> Decimal:
    """What some sites delivered together; what one drew too much counts against the others."""
    return sum((site.delivered_mwh for site in sites), Decimal(0))
