"""What a learned optimizer sees of the losses: features that do not change when all losses are multiplied by a number.

Shape letters: I instances, L losses (of training, or of training and validation).
"""

from __future__ import annotations

import numpy as np
from keras import ops

from l2o_cli.optimizers.features import asinh
from l2o_cli.optimizers.packing import Array

DECAYS = (0.9, 0.99)  # of the running averages, the fast and the slow one
LOG_SCALE = 0.1  # brings log ratios to the size of the other features
SENSITIVITY = 10.0  # at which relative differences are compressed
RELATIVE_FLOOR = 1e-6  # of the initial loss, which is nothing beside it
SMALLEST = 1e-20  # losses of about this size or less are not told apart from 0
LARGEST = 1e18


def feature_count(losses: int) -> int:
    """Three for each loss, and one of the two together."""
    return 3 * losses + (losses == 2)


def initial_averages(losses: int, instances: int) -> np.ndarray:
    """The state before the first loss, [3 L, I, 1]."""
    return np.zeros((3 * losses, instances, 1), np.float32)


def averaged(averages: Array, losses: Array, first: Array) -> Array:
    """The state after these losses: the initial loss, the fast and the slow running average.

    Args:
        averages: [3 L, I, 1], L rows of each.
        losses: [L, I, 1].
        first: [1, I, 1], where they are the first ones.
    """
    losses = ops.clip(losses, -LARGEST, LARGEST)
    initial, *running = ops.split(averages, 3)
    decayed = [losses + ops.where(first, 0.0, decay) * (old - losses) for decay, old in zip(DECAYS, running, strict=True)]
    return ops.concatenate([ops.where(first, losses, initial), *decayed])


def loss_features(averages: Array, losses: Array) -> Array:
    """[3 L, I, 1] after the losses [L, I, 1] -> [F, I, 1].

    For each loss: the log of its ratio to the initial one; how far it is from its fast average; how far that is from the slow
    one. If there are two: how far the average validation loss is from the average training loss. A difference a - b is
    relative to |a| + |b| and compressed by asinh, so no feature is larger than about 3 or, of a loss that explodes, 6.
    """
    initial, fast, slow = ops.split(averages, 3)
    losses = ops.clip(losses, -LARGEST, LARGEST)
    # Below a millionth of the initial loss the features would have steep derivatives, and are mostly about rounding.
    floor = RELATIVE_FLOOR * ops.abs(initial) + SMALLEST
    ratio = LOG_SCALE * (ops.log(ops.abs(losses) + floor) - ops.log(ops.abs(initial) + floor))
    parts = [ratio, _relative(losses, fast, floor), _relative(fast, slow, floor)]
    if losses.shape[0] == 2:
        parts.append(_relative(fast[1:], fast[:1], floor[:1]))
    return ops.concatenate(parts)


def _relative(one: Array, other: Array, floor: Array) -> Array:
    return asinh(SENSITIVITY * (one - other) / (ops.abs(one) + ops.abs(other) + floor))
