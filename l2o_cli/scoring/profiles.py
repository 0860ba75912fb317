"""Performance profiles: on which share of the problems an optimizer is within a factor of the fastest one.

After Dolan and More 2002 and the scoring of AlgoPerf (Dahl et al. 2023, arXiv 2306.07179, section 4.3).

Shape letters: O optimizers, Q problems, T factors.
"""

from __future__ import annotations

import numpy as np

LARGEST_FACTOR = 4.0


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
