"""How long inner runs and their truncations are (Wichrowska et al. 2017, section 4.2 and appendix A).

A run may begin with short ones, which grow over the meta-steps (Metz et al. 2019), linearly or in stages.
"""

from __future__ import annotations

import math

import numpy as np

from l2o_cli.spec import Lengths

SMALLEST_BOUND = 32  # steps; one less would be compiled for in vain, since lengths soon outgrow it


def draw(lengths: Lengths, rng: np.random.Generator, size: int, meta_step: int) -> np.ndarray:
    """`size` lengths in steps, int32, after `meta_step` updates of the weights.

    exponential: minimum + round(Exp(scale)), heavy-tailed; log_uniform: uniform in log between minimum and maximum;
    uniform: each length between them as likely; constant: maximum. All are capped at the maximum, which may grow; the scale
    grows in proportion to it.
    """
    low, high = least(lengths, meta_step), greatest(lengths, meta_step)
    values: np.ndarray
    if lengths.distribution == "exponential":
        values = low + np.round(rng.exponential(lengths.scale * high / lengths.maximum, size))
    elif lengths.distribution == "log_uniform":
        values = np.round(np.exp(rng.uniform(np.log(low), np.log(high), size)))
    elif lengths.distribution == "uniform":
        values = rng.integers(low, high, size, endpoint=True)
    else:
        values = np.full(size, float(high))
    values = np.minimum(values, high)
    jitter = _jitter(lengths)
    if jitter:
        values = np.round(values * rng.uniform(1 - jitter, 1 + jitter, size))
    return np.clip(values, 1, lengths.maximum).astype(np.int32)


def first(lengths: Lengths, rng: np.random.Generator, size: int, meta_step: int, shortest: int = 1) -> np.ndarray:
    """What is left of `size` lengths at a random moment, in steps, int32: at least `shortest`, unless all of it is less.

    Instances that begin with these are out of phase from the first meta-step on.
    """
    whole = draw(lengths, rng, size, meta_step)
    left = np.ceil(whole * rng.uniform(size=size))
    return np.minimum(np.maximum(left, shortest), whole).astype(np.int32)


def greatest(lengths: Lengths, meta_step: int) -> int:
    """The maximum of the distribution after `meta_step` updates, before jitter, in steps."""
    growth = lengths.growth
    if growth is None:
        return lengths.maximum
    if growth.kind == "linear":
        done = min(1.0, meta_step / growth.over)
        return round(growth.start + (lengths.maximum - growth.start) * done)
    return [stage.maximum for stage in growth.stages if stage.meta_step <= meta_step][-1]


def least(lengths: Lengths, meta_step: int) -> int:
    """The minimum of the distribution after `meta_step` updates, before jitter, in steps."""
    high = greatest(lengths, meta_step)
    return high if lengths.distribution == "constant" else min(lengths.minimum, high)


def bound(lengths: Lengths, meta_step: int) -> int:
    """A bound for the loop, in steps: no draw at `meta_step` is longer, and while lengths grow it seldom changes.

    A loop is compiled for its bound. Lengths that do not grow have one bound, `maximum`.
    """
    longest = math.ceil(greatest(lengths, meta_step) * (1 + _jitter(lengths)))
    return bucket(min(longest, lengths.maximum), lengths.maximum)


def bucket(length: int, maximum: int) -> int:
    """The least of SMALLEST_BOUND, twice it, four times it, ... and `maximum` that is not below `length`."""
    return min(max(SMALLEST_BOUND, 1 << (length - 1).bit_length()), maximum)


def _jitter(lengths: Lengths) -> float:
    return lengths.growth.jitter if lengths.growth else 0.0
