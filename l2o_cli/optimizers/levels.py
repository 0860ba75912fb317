"""The levels of the hierarchical RNN: a GRU for each parameter, each tensor and the whole problem, one above the other.

Shape letters: I instances, P parameters of one instance, T tensors, F features, K hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.packing import Array, Layout
from l2o_cli.optimizers.recurrent import gru, init_gru, matmul, normal_matrix

LEVELS = ("parameter", "tensor", "global")


def init_weights(
    rng: np.random.Generator, hidden: Sequence[int], below: int, extra: Sequence[int], learned_initial_state: bool
) -> Weights:
    """The weights of the levels, but for the GRU of the lowest.

    Args:
        hidden: units of each level, the lowest first.
        below: what the tensor level is shown of each parameter.
        extra: what the tensor and the global level are shown besides.
    """
    weights: Weights = {}
    for level, units, more in zip(LEVELS[1:], hidden[1:], extra, strict=False):
        weights |= init_gru(rng, level, below + more, units)
        below = units
    for index in range(len(hidden) - 1):
        parts = [normal_matrix(rng, 3 * hidden[index], units) for units in hidden[index + 1 :]]
        weights[f"{LEVELS[index]}/from_above"] = np.concatenate(parts, axis=1)
    if learned_initial_state:
        for level, units in zip(LEVELS, hidden, strict=False):
            weights[f"{level}/initial"] = rng.uniform(-1, 1, (units, 1, 1)).astype(np.float32)
    return weights


def init_state(hidden: Sequence[int], instances: int, layout: Layout) -> State:
    """Hidden states of 0."""
    axes = (layout.parameters, layout.tensors, 1)
    return {
        level: np.zeros((units, instances, axis), np.float32) for level, units, axis in zip(LEVELS, hidden, axes, strict=False)
    }


def from_above(weights: Weights, state: State, depth: int, layout: Layout) -> Array | None:
    """What the upper levels add to the drive of the parameter level, [3 K, I, T]; None where it is the only one.

    Args:
        depth: how many levels there are.
    """
    above = [state[level] for level in LEVELS[1:depth]]
    if not above:
        return None
    tall = [ops.broadcast_to(upper, (*upper.shape[:2], layout.tensors)) for upper in above]
    return matmul(weights["parameter/from_above"], ops.concatenate(tall, axis=0))


def upper(weights: Weights, state: State, depth: int, seen: Sequence[list[Array]]) -> State:
    """The new hidden states of the tensors, then of the problem, with the old states above them.

    Args:
        seen: what the tensor level is shown, [.., I, T], and the global level besides, [.., I, 1].
    """
    new: State = {}
    if depth > 1:
        bias = matmul(weights["tensor/from_above"], state["global"]) if depth > 2 else 0.0
        new["tensor"] = gru(weights, "tensor", ops.concatenate(seen[0], axis=0), state["tensor"], bias)
    if depth > 2:
        shown = ops.concatenate([ops.mean(new["tensor"], axis=-1, keepdims=True), *seen[1]], axis=0)
        new["global"] = gru(weights, "global", shown, state["global"])
    return new
