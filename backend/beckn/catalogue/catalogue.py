"""The catalogues that are read with GET, as whole Beckn 1.1 documents. Pure: the time is an argument.

Both are the body of an `on_search` whose context leaves out the buyer's platform, as whoever reads with GET has none;
Beckn's schema allows that. An `on_search` to a buyer takes its catalogue from `compute_offers` and brings a context
that names both platforms.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from beckn.catalogue.compute_offers import SLOTS_OFFERED, compute_offers
from beckn.catalogue.open_workloads import open_workloads
from beckn.protocol.objects import (
    ANY_CITY,
    COUNTRY,
    DOMAIN,
    MESSAGE_TTL,
    VERSION,
    Action,
    Catalog,
    CatalogMessage,
    CatalogueContext,
    CatalogueDocument,
    City,
    ContextLocation,
    Country,
    Subscriber,
)
from decisions.scoring.grid_context import GridContext
from grid.half_hours import rfc3339
from ontology.types import ComputeWorkload

_IDENTITIES = uuid5(NAMESPACE_URL, DOMAIN)


def compute_catalogue(
    grid: GridContext, *, now: datetime, slots: int = SLOTS_OFFERED, publisher: Subscriber | None = None
) -> CatalogueDocument:
    """The compute that the data centres offer at `now`, in the half-hour of `now` and the next ones.

    Args:
        slots: how many half-hours are offered, 1 or more.
        publisher: the provider's platform that takes orders for what is listed, if there is one.
    """
    return _document("compute", compute_offers(grid, now=now, slots=slots), now, publisher)


def workload_catalogue(
    workloads: Iterable[ComputeWorkload], *, now: datetime, publisher: Subscriber | None = None
) -> CatalogueDocument:
    """The open ones of `workloads` at `now`."""
    return _document("workloads", open_workloads(workloads, now=now), now, publisher)


def _document(subject: str, catalog: Catalog, now: datetime, publisher: Subscriber | None) -> CatalogueDocument:
    context = CatalogueContext(
        domain=DOMAIN,
        location=ContextLocation(country=Country(code=COUNTRY), city=City(code=ANY_CITY)),
        action=Action.ON_SEARCH,
        version=VERSION,
        bpp_id=publisher.subscriber_id if publisher else None,
        bpp_uri=publisher.url if publisher else None,
        # Nothing was asked that these could repeat: the same catalogue of the same moment has the same ids.
        transaction_id=str(uuid5(_IDENTITIES, f"{subject} transaction {rfc3339(now)}")),
        message_id=str(uuid5(_IDENTITIES, f"{subject} message {rfc3339(now)}")),
        timestamp=now,
        ttl=MESSAGE_TTL,
    )
    return CatalogueDocument(context=context, message=CatalogMessage(catalog=catalog))
