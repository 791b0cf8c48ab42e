"""What is offered in a situation, be the event announced or only asked about. Pure."""

from __future__ import annotations

from flexibility.book import Situation
from flexibility.choosing.choice import Event
from flexibility.choosing.moves import Mover
from flexibility.choosing.offer import Offer, make_offer


def offer_in(situation: Situation, wanted: Event, carbon_price_gbp_per_t: float) -> Offer:
    """The best offer of what is booked in an event's half-hours."""
    mover = Mover(wanted, frozenset(situation.unit_of), carbon_price_gbp_per_t)
    # A workload that is booked twice is looked at where it runs first.
    known = {one.job: (context, one.place) for one, context in reversed(situation.known)}
    return make_offer(mover, list(known.values()))
