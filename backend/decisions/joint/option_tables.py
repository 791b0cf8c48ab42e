"""The options of many jobs in rows, so that all of them are priced at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from decisions.joint.interruptible import PieceOptions, fill
from decisions.joint.options import RunOptions, edge_totals
from decisions.scoring.runs import HALF_HOUR_US, HOUR_US, Booleans, Floats, Integers


class Rows(Protocol):
    """Options, one a row, and the capacity they take."""

    def paid(self, prices_gbp_per_kw: Floats) -> Floats:
        """What a job would pay for each option: its J and for the capacity it takes."""

    def take(self, taken_kw: Floats, rows: Integers, prices_gbp_per_kw: Floats) -> None:
        """Add the capacity that these rows take at these prices."""

    def some(self, rows: Booleans) -> Rows:
        """Only these rows."""


@dataclass(frozen=True, eq=False)
class RunRows:
    """Options of jobs that do not pause: places and starts."""

    power_kw: Floats
    first_edge: Integers
    last_edge: Integers
    objective_gbp: Floats

    @classmethod
    def of(cls, options: Sequence[RunOptions], counting_money: bool) -> RunRows:
        return cls(
            np.concatenate([np.full(one.count, one.power_w / 1000) for one in options]),
            np.concatenate([one.first_edge for one in options]),
            np.concatenate([one.last_edge for one in options]),
            np.concatenate([one.objective_gbp for one in options]) * counting_money,
        )

    def paid(self, prices_gbp_per_kw: Floats) -> Floats:
        totals = edge_totals(prices_gbp_per_kw)
        paid = np.subtract(totals[self.last_edge], totals[self.first_edge], dtype=np.float64)
        paid *= self.power_kw
        paid += self.objective_gbp
        return paid

    def take(self, taken_kw: Floats, rows: Integers, prices_gbp_per_kw: Floats) -> None:  # noqa: ARG002
        sites, half_hours = taken_kw.shape
        changes = np.zeros(sites * (half_hours + 1))
        np.add.at(changes, self.first_edge[rows], self.power_kw[rows])
        np.add.at(changes, self.last_edge[rows], -self.power_kw[rows])
        taken_kw += np.cumsum(changes.reshape(sites, half_hours + 1), axis=1)[:, :-1]

    def some(self, rows: Booleans) -> RunRows:
        return RunRows(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class PieceRows:
    """Options of interruptible jobs: places, at each of which a job takes its cheapest half-hours.

    Here a job takes only a part of its power in a half-hour that it works a part of, and its price limit is a price
    on its cost (the one that makes it keep the limit when it is alone). Both can only lower what it pays.
    """

    sites: Integers
    available_us: Integers
    need_us: Integers
    kw_per_h: Floats
    """Capacity of a half-hour that an hour of work in it takes."""
    rate_gbp_per_h: Floats
    constant_gbp: Floats
    short_at: Integers
    """The half-hours that are available in part: the present one and the last before a deadline; shape (rows, 2)."""
    short_by_h: Floats
    """How much of them is not; 0 where there are fewer."""

    @classmethod
    def of(cls, options: Sequence[PieceOptions], counting_money: bool) -> PieceRows:
        counts = [len(one.sites) for one in options]
        available_us = np.concatenate([one.available_us for one in options])
        power_kw = np.repeat([one.power_w / 1000 for one in options], counts)[:, None]
        missing_h = np.where(available_us > 0, HALF_HOUR_US - available_us, 0) / HOUR_US
        short_at = np.argsort(missing_h, axis=1)[:, -2:]
        return cls(
            sites=np.concatenate([one.sites for one in options]),
            available_us=available_us,
            need_us=np.repeat([one.need_us for one in options], counts),
            kw_per_h=power_kw * HOUR_US / np.maximum(available_us, 1),
            rate_gbp_per_h=counting_money * np.concatenate([one.limited_rate_gbp_per_h for one in options]),
            constant_gbp=counting_money * np.concatenate([one.limited_constant_gbp for one in options]),
            short_at=short_at,
            short_by_h=np.take_along_axis(missing_h, short_at, axis=1),
        )

    def paid(self, prices_gbp_per_kw: Floats) -> Floats:
        """What a job would pay for each option.

        By duality: the least of Σ key x hours, Σ hours = need, is the greatest over all marginals m of

            m x need - Σ available x max(0, m - key)

        and is reached where m is the key of the last half-hour taken. At most two are short, so that is one of three
        in the order of keys.
        """
        keys = np.where(self.available_us > 0, self._keys(prices_gbp_per_kw), np.inf)
        in_order = np.sort(keys, axis=1)
        totals = np.cumsum(in_order, axis=1)
        short_keys = np.take_along_axis(keys, self.short_at, axis=1)
        need_h = self.need_us / HOUR_US
        rows = np.arange(len(keys))
        taken_whole = -(-self.need_us // HALF_HOUR_US)
        best = np.full(len(keys), -np.inf)
        with np.errstate(invalid="ignore"):
            for further in (-1, 0, 1):
                last = np.minimum(taken_whole + further, keys.shape[1] - 1)
                marginal = in_order[rows, last]
                saved = (last + 1) * marginal - totals[rows, last]
                not_there = (self.short_by_h * np.maximum(0.0, marginal[:, None] - short_keys)).sum(axis=1)
                # Beyond what is available the marginal is infinite and the value not a number.
                best = np.fmax(best, marginal * need_h - saved / 2 + not_there)
        return best + self.constant_gbp

    def take(self, taken_kw: Floats, rows: Integers, prices_gbp_per_kw: Floats) -> None:
        some = self.some(rows)
        used_us = fill(some._keys(prices_gbp_per_kw), some.available_us, some.need_us[:, None])
        np.add.at(taken_kw, some.sites, some.kw_per_h * used_us / HOUR_US)

    def some(self, rows: Booleans | Integers) -> PieceRows:
        return PieceRows(*(getattr(self, field.name)[rows] for field in fields(self)))

    def _keys(self, prices_gbp_per_kw: Floats) -> Floats:
        """What an hour of work pays in each half-hour."""
        keys: Floats = self.rate_gbp_per_h + self.kw_per_h * prices_gbp_per_kw[self.sites]
        return keys
