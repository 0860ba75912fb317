"""Choosing a learning rate: a half-decade grid, extended while the best is at its edge. Pure: running is the caller's.

Shape letters: S settings (here: rates), K problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDE = 15  # as many rates or more are centred on CENTRE, whatever the optimizer: 1e-6 to 1e1
CENTRE = -5  # the rate 10 ** (-5 / 2)
EXTENSION = 3  # rates added at once beyond an edge
ROUNDS = 3  # of extensions, at most


@dataclass(frozen=True)
class Tuning:
    """The rates that were tried, in the order of their trials, and the chosen one."""

    rates: tuple[float, ...]
    scores: tuple[float, ...]  # lower is better; inf: diverged

    @property
    def chosen(self) -> int:
        """The trial with the least score; of equal ones the least rate."""
        return min(range(len(self.rates)), key=lambda trial: (self.scores[trial], self.rates[trial]))

    @property
    def rate(self) -> float:
        return self.rates[self.chosen]

    @property
    def edge(self) -> str | None:
        """ "low" or "high" when the chosen rate is the least or the greatest of several tried ones."""
        if len(self.rates) == 1:
            return None
        if self.rate == min(self.rates):
            return "low"
        return "high" if self.rate == max(self.rates) else None


def half_decade(index: int) -> float:
    """10 ** (index / 2), to float32 precision."""
    return float(f"{10 ** (index / 2):.7g}")


def half_decade_index(rate: float) -> int:
    """The index of the half-decade nearest to `rate`."""
    return round(2 * math.log10(rate))


def grid(count: int, default: float) -> list[float]:
    """`count` rates half a decade apart, ascending, around the rate `default` of the optimizer or, from 15 on, 10 ** -2.5."""
    centre = CENTRE if count >= WIDE or default <= 0 else half_decade_index(default)
    low = centre - (count - 1) // 2
    return [half_decade(index) for index in range(low, low + count)]


def mean_ranks(losses: Sequence[Sequence[float]]) -> list[float]:
    """The rank of each setting, 1 being the best, averaged over the problems: of one problem alone, the order of its losses.

    Args:
        losses: [S, K], inf for a diverged setting, which is as bad as any other diverged one. Equals share the mean of their
            ranks, so that a problem on which all diverge, or all do as well, has no say.
    """
    ranks = []
    for column in np.asarray(losses, np.float64).T:
        ordered = np.sort(column)
        # How many are better, and how many are not worse.
        ranks.append((np.searchsorted(ordered, column, "left") + np.searchsorted(ordered, column, "right") + 1) / 2)
    return np.mean(ranks, axis=0).tolist()


def tune(
    score: Callable[[list[float], int], Sequence[Any]],
    rates: Sequence[float],
    combine: Callable[[Sequence[Any]], Sequence[float]] = list,
    worth: Callable[[], bool] = lambda: True,
) -> Tuning:
    """Score `rates`; as long as the best of them is at an edge, and at most 3 times, score 3 more beyond that edge.

    One rate alone is no sweep and is not extended.

    Args:
        score: (rates, index of the first one's trial) -> what is known of each rate: a score, lower is better, or with
            `combine` anything.
        rates: half-decades, as `grid` makes them.
        combine: what is known of all rates so far -> the score of each.
        worth: whether other rates may do better at all.
    """
    known = [*score(list(rates), 0)]
    tuning = Tuning(tuple(rates), tuple(combine(known)))
    for _ in range(ROUNDS):
        if tuning.edge is None or not worth():
            break
        direction = -1 if tuning.edge == "low" else 1
        start = half_decade_index(tuning.rate)
        more = [half_decade(start + direction * distance) for distance in range(1, EXTENSION + 1)]
        known += score(more, len(tuning.rates))
        tuning = Tuning((*tuning.rates, *more), tuple(combine(known)))
    return tuning
