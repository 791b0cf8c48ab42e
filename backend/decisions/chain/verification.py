"""Where a chain of decisions stops to hold, and how. Reads nothing: it is handed the rows one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from decisions.chain.form import ChainedDecision, decision_hash
from vocabulary import StrEnum

PLACES_TRIED = 1000  # to either side, for a decision that was moved


class Fault(StrEnum):
    """What is wrong with the first decision that does not hold."""

    CHANGED = "changed"
    MISSING = "missing"
    INSERTED = "inserted"
    MOVED = "moved"
    UNLINKED = "unlinked"
    GRID = "grid"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"


@dataclass(frozen=True)
class Finding:
    """The first place of a chain that does not hold. The decision is the one that stands there, if any does."""

    operator: str
    position: int
    fault: Fault
    reason: str
    decision_id: str | None = None
    subject: str | None = None
    """The workload or the event that it is about."""


@dataclass(frozen=True)
class Verified:
    """A chain that holds from its first decision to this one; position 0: it has none."""

    operator: str
    position: int
    hash: str | None


GridHash = Callable[[str], str | None]
"""The SHA-256 of what is stored as the grid of this digest; None where nothing is."""


def verify_chain(
    operator: str,
    decisions: Iterable[ChainedDecision],
    *,
    grid_hash_of: GridHash,
    exported: Mapping[int, str],
    every: Callable[[int], None] = lambda _: None,
) -> Verified | Finding:
    """Follow one operator's chain from its beginning to its end, or to the first decision that does not hold.

    Args:
        operator: whose chain it is.
        decisions: all of them, in the order of their positions.
        grid_hash_of: what the grids that they were decided on hash to.
        exported: hashes that were kept elsewhere, by their positions.
        every: told the position of each decision that holds.
    """
    last = Verified(operator, 0, None)
    known = 0  # the last position whose exported hash was found
    for decision in decisions:
        fault = _fault(last, decision, grid_hash_of)
        if fault is not None:
            return fault
        last = Verified(operator, decision.position, decision.hash)
        if exported.get(last.position, last.hash) != last.hash:
            since = f"after position {known}" if known else "anywhere from the first decision on"
            return _finding(
                operator,
                decision,
                Fault.REWRITTEN,
                "it fits those before it, but its hash is not the one that was exported: history was written anew, "
                f"{since}",
            )
        if last.position in exported:
            known = last.position
        every(last.position)
    furthest = max(exported, default=0)
    if furthest > last.position:
        ends = f"the chain ends at position {last.position}" if last.position else "there is no decision"
        reason = f"{ends}, and the exported head is at position {furthest}: what came after was removed"
        return Finding(operator, last.position + 1, Fault.TRUNCATED, reason)
    return last


def _fault(last: Verified, decision: ChainedDecision, grid_hash_of: GridHash) -> Finding | None:
    expected = last.position + 1
    fits = decision_hash(decision.texts, decision.form) == decision.hash
    if decision.position > expected:
        gap = (
            f"position {expected} is"
            if decision.position == expected + 1
            else (f"positions {expected} to {decision.position - 1} are")
        )
        return Finding(last.operator, expected, Fault.MISSING, f"{gap} missing: the next is {_name(decision)}")
    if decision.position < expected:
        return _finding(
            last.operator,
            decision,
            Fault.INSERTED,
            "another stands at this position, or none can",
        )
    if not fits:
        was_at = _earlier_position(decision)
        if was_at is None:
            return _finding(
                last.operator, decision, Fault.CHANGED, "what is stored does not give its hash: it was changed"
            )
        return _finding(
            last.operator,
            decision,
            Fault.MOVED,
            f"it was published at position {was_at}: one before it was removed or inserted, or the order was changed",
        )
    if decision.previous_hash != last.hash:
        return _finding(
            last.operator,
            decision,
            Fault.UNLINKED,
            "it does not follow the one before it: one of the two was put there later, or the one before was changed "
            "and hashed anew",
        )
    digest = decision.texts.get("grid_digest")
    if digest is not None:
        found = grid_hash_of(digest)
        if found != digest:
            what = "is missing" if found is None else "was changed"
            return _finding(last.operator, decision, Fault.GRID, f"the grid that it was decided on {what}")
    return None


def _earlier_position(decision: ChainedDecision) -> int | None:
    """The position that its hash was made with, where that alone is what was changed."""
    for position in _near(decision.position):
        texts = {**decision.texts, "chain_position": str(position)}
        if decision_hash(texts, decision.form) == decision.hash:
            return position
    return None


def _near(position: int) -> Iterator[int]:
    for distance in range(1, PLACES_TRIED + 1):
        yield position + distance
        if position > distance:
            yield position - distance


def _finding(operator: str, decision: ChainedDecision, fault: Fault, reason: str) -> Finding:
    return Finding(operator, decision.position, fault, reason, decision.texts["decision_id"], decision.subject)


def _name(decision: ChainedDecision) -> str:
    return f"{decision.texts['decision_id']} at position {decision.position}"
