"""Says in words which figures no source gave: what is modelled, what is invented.

Of the signals that decisions are made from only the wholesale price is always modelled, for no source publishes one
ahead of time: so while the real prices behind it are young there is nothing to say of it. Everything else is worth a
word as soon as one half-hour of it is not a source's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vocabulary import SignalSource, StrEnum


class SignalName(StrEnum):
    WHOLESALE_PRICE = "wholesale_price"
    GRID_STRESS = "grid_stress"
    CARBON_INTENSITY = "carbon_intensity"


# No source publishes these ahead of time.
ALWAYS_MODELLED = frozenset({SignalName.WHOLESALE_PRICE})


def signal_title(signal: SignalName, region_id: int | None = None, place: str | None = None) -> str:
    """A signal in words, such as `carbon intensity of London (region 13)`."""
    words = str(signal).replace("_", " ")
    if region_id is None:
        return words
    return f"{words} of {place} (region {region_id})" if place else f"{words} of region {region_id}"


def is_invented(sources: Mapping[str, int]) -> bool:
    """Whether no half-hour of a series has anything real behind it."""
    return sources.keys() == {str(SignalSource.SYNTHETIC)}


def invented_remark(sources: Mapping[str, int]) -> str | None:
    """How much of a series is invented, such as `is invented (synthetic) in 12 of 96 half-hours`; None is nothing.

    `sources` is how many half-hours came from each source.
    """
    if is_invented(sources):
        return "is invented (synthetic), with no real figure behind it"
    return _counted("is invented (synthetic)", SignalSource.SYNTHETIC, sources)


def modelled_remark(signal: SignalName, sources: Mapping[str, int]) -> str | None:
    """How much of a series is modelled that is published as a rule, as `invented_remark` says it."""
    return None if signal in ALWAYS_MODELLED else _counted("is modelled", SignalSource.MODELLED, sources)


def origin_remarks(signal: SignalName, sources: Mapping[str, int]) -> list[str]:
    """Both remarks, as far as there is something to remark."""
    return [remark for remark in (invented_remark(sources), modelled_remark(signal, sources)) if remark]


def _counted(words: str, source: SignalSource, sources: Mapping[str, int]) -> str | None:
    count, half_hours = sources.get(source, 0), sum(sources.values())
    if not count:
        return None
    return words if count == half_hours else f"{words} in {count} of {half_hours} half-hours"


def in_a_row(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
