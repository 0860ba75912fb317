"""Statistics over the runs of several problems, with intervals from stratified bootstrap; and performance profiles.

After Agarwal et al. 2021 (arXiv 2108.13264, "Deep reinforcement learning at the edge of the statistical precipice"), with
smaller being better. Profiles, the share of problems on which an optimizer is within a factor of the fastest one, are those of
Dolan and More 2002 as AlgoPerf scores by them (Dahl et al. 2023, arXiv 2306.07179, section 4.3).

A stratum is the runs of one optimizer on one problem. Shape letters: N runs of one stratum, M runs of another optimizer's,
B resamples, O optimizers, Q problems, T factors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
LARGEST_FACTOR = 4.0  # of profiles


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval; None where a problem has one run alone, which cannot be resampled."""

    value: float
    low: float | None
    high: float | None

    @property
    def complement(self) -> Estimate:
        """The estimate of 1 minus the statistic."""
        if self.low is None or self.high is None:
            return Estimate(1 - self.value, None, None)
        return Estimate(1 - self.value, 1 - self.high, 1 - self.low)

    def __str__(self) -> str:
        low, high = self.low, self.high
        return decimals(self.value) + ("" if low is None or high is None else f" [{decimals(low)}, {decimals(high)}]")


def decimals(value: float) -> str:
    """With two decimals; what is small with two significant digits, and as many as it takes that no other number is 0 or 1."""
    if value == 0 or abs(value) >= 0.0995:
        places = next((places for places in range(2, 9) if value == 1 or round(value, places) != 1), 2)
        return f"{value + 0.0:.{places}f}"  # not -0.00
    return f"{value:#.2g}"


def median(values: Sequence[float]) -> float:
    """The median, inf being the worst."""
    known = sorted(values)
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half along the last axis: a quarter of the values, rounded down, is left out at each end."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def estimate_interquartile_mean(strata: Sequence[np.ndarray], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Of the runs of all problems together; runs are resampled within each problem.

    Args:
        strata: the values of the runs on each problem, [N] each, none of them NaN.
    """
    rng = np.random.default_rng(seed)
    drawn = [values[rng.integers(len(values), size=(resamples, len(values)))] for values in strata]
    value = float(interquartile_mean(np.concatenate(strata)))
    return _with_interval(value, interquartile_mean(np.concatenate(drawn, axis=1)), strata)


def improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where ours is less, 1/2 where both are equal, else 0; [N, M]. Two infinite losses are equal."""
    return (ours[:, None] < theirs[None]) + 0.5 * (ours[:, None] == theirs[None])


def probability_of_improvement(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The mean over problems of P(ours < theirs) + P(ours = theirs) / 2 for one run of each drawn at random.

    On one problem it is the U statistic of Mann and Whitney over N M. The runs of both are resampled independently, which
    for runs on the same seeds makes the interval rather too wide than too narrow.

    Args:
        ours, theirs: the losses of the runs on each problem, [N] and [M]; inf for a diverged run.
    """
    values, resampled = [], np.zeros(resamples)
    for problem, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        pairs = improvement(mine, other)
        values.append(pairs.mean())
        # With how often each run is drawn, a resample's mean is a bilinear form of `pairs`.
        counts, other_counts = (_counts(seed, problem, side, size, resamples) for side, size in enumerate(pairs.shape))
        resampled += ((counts @ pairs) * other_counts).sum(axis=1) / pairs.size
    return _with_interval(float(np.mean(values)), resampled / len(values), [*ours, *theirs])


@functools.lru_cache(maxsize=512)
def _counts(seed: int, problem: int, side: int, size: int, resamples: int) -> np.ndarray:
    """How often each of `size` runs is in each resample, [B, size]; drawing that takes longer than all that is done with it."""
    rng = np.random.default_rng([seed, problem, side])
    return rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)


def _with_interval(value: float, resampled: np.ndarray, strata: Sequence[np.ndarray]) -> Estimate:
    """The percentile interval of `resampled`, [B]."""
    if min(map(len, strata)) < 2:
        return Estimate(value, None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], method="closest_observation")  # which may be infinite
    return Estimate(value, float(low), float(high))


def cost_ratios(costs: np.ndarray) -> np.ndarray:
    """Each cost over the least of its problem, [O, Q].

    Args:
        costs: steps or seconds to the target, [O, Q], from 0; inf where it is never reached, whose ratio is inf even where
            nobody reaches it.
    """
    least = costs.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(costs == least, 1.0, costs / least)
    return np.where(np.isfinite(costs), ratios, np.inf)


def performance_profile(costs: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The share of problems whose cost is at most each factor [T] times the least one, [O, T]."""
    return (cost_ratios(costs)[:, None, :] <= factors[None, :, None]).mean(axis=-1)


def profile_integral(costs: np.ndarray) -> np.ndarray:
    """The mean of the profile over factors from 1 to 4, [O]: 1 for the fastest on all problems, 0 for 4 times slower on all.

    A problem adds to the profile from its ratio on, so the integral is exact.
    """
    return np.maximum(LARGEST_FACTOR - cost_ratios(costs), 0).mean(axis=-1) / (LARGEST_FACTOR - 1)
