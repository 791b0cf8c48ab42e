"""What is made of a grid once, for all decisions that are made on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import is_
from typing import Generic, TypeVar

Made = TypeVar("Made")

KEPT = 4
"""Threads that decide side by side do so at moments of their own."""


class Shared(Generic[Made]):
    """The newest few things made of facts that nothing changes, for whoever comes with the very same facts again.

    Facts are the same when they are one object, as in contexts that share a grid; equal ones are made anew, which
    is slower and comes to the same. Safe to use from many threads.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._newest: tuple[tuple[int, tuple[object, ...], Hashable, Made], ...] = ()

    def of(
        self, facts: tuple[object, ...], moment: Hashable, make: Callable[[], Made], *, kept: int | None = None
    ) -> Made:
        """What `make` makes of these facts at a moment; `kept` says how many things are kept, where they differ."""
        key = hash(moment)  # compared first, since what is compared otherwise may be long
        for known_key, known, at, made in self._newest:
            if known_key == key and at == moment and all(map(is_, known, facts)):
                return made
        made = make()
        self._newest = ((key, facts, moment, made), *self._newest[: (kept or self._kept) - 1])
        return made
