"""The levels of the hierarchical RNN: a GRU for each parameter, each tensor and the whole problem, one above the other.

Shape letters: I instances, P parameters of one instance, T tensors, F features, K hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.packing import Array, Layout, spread, tensor_mean
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


def step(weights: Weights, state: State, depth: int, parts: list[Array], more: Sequence[list[Array]], layout: Layout) -> State:
    """The new hidden states: parameters first, with the old states above them, then tensors, then the problem.

    Args:
        depth: how many levels there are.
        parts: the features of each parameter, [.., I, P].
        more: what the tensor and the global level are shown besides, [.., I, T] and [.., I, 1].
    """
    instances = state["parameter"].shape[1]
    above = [state[level] for level in LEVELS[1:depth]]
    tall = [ops.broadcast_to(upper, (upper.shape[0], instances, layout.tensors)) for upper in above]

    bias = 0.0
    if above:
        from_above = matmul(weights["parameter/from_above"], ops.concatenate(tall, axis=0))
        bias = spread(from_above, layout)
    new = {"parameter": gru(weights, "parameter", ops.concatenate(parts, axis=0), state["parameter"], bias)}
    if depth > 1:
        # Part by part: of the concatenated features XLA would make a second copy to take their means.
        seen = ops.concatenate([tensor_mean(part, layout) for part in (new["parameter"], *parts)] + more[0], axis=0)
        bias = matmul(weights["tensor/from_above"], above[1]) if depth > 2 else 0.0
        new["tensor"] = gru(weights, "tensor", seen, state["tensor"], bias)
    if depth > 2:
        seen = ops.concatenate([ops.mean(new["tensor"], axis=-1, keepdims=True), *more[1]], axis=0)
        new["global"] = gru(weights, "global", seen, state["global"])
    return new
