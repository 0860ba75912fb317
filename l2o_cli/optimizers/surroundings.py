"""What the upper levels of a learned optimizer see besides the gradients: shapes, sizes, losses, how far the run is.

Shape letters: I instances, P parameters of one instance, T tensors, F features.
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from l2o_cli.optimizers import losses
from l2o_cli.optimizers.base import State
from l2o_cli.optimizers.features import ROOT_EPSILON
from l2o_cli.optimizers.horizon import HORIZON, share_over
from l2o_cli.optimizers.matrices import is_embedding, rows_and_columns
from l2o_cli.optimizers.packing import Array, Layout, constant

TENSOR_FEATURES = 8
RUN_FEATURES = losses.feature_count(1) + 5
GRADIENT_START, LAST_MOVE, LOSSES = "gradient_start", "last_move", "losses"  # leaves of the state
LOG_SCALE = 0.25  # brings logs of sizes and ratios to the size of the other features
LIMIT = 4.0  # of a feature


def initial_of_tensors(layout: Layout, instances: int) -> State:
    """The leaves that `of_tensors` reads, [1, I, T]."""
    zeros = np.zeros((1, instances, layout.tensors), np.float32)
    return {GRADIENT_START: zeros, LAST_MOVE: zeros}


def initial_of_run(instances: int) -> State:
    """The leaves that `of_run` reads besides the horizon, [.., I, 1]."""
    return {LOSSES: losses.initial_averages(1, instances)}


def of_tensors(state: State, params: Array, gradients: Array, first: Array, layout: Layout) -> tuple[Array, State]:
    """Features of each tensor, [F, I, T], and the leaf to go on with.

    Log fan-in, fan-out and size; the number of axes; whether it is an embedding; the log RMS of its params times the root of the
    fan-in, of its gradient relative to the first one, and of the last step relative to the params.

    Args:
        params, gradients: the means of their squares, [1, I, T].
        first: whether it is the first step, [1, I, 1].
    """
    fixed = np.array([_fixed(name, shape) for name, shape in zip(layout.names, layout.shapes, strict=True)], np.float32).T[
        :, None, :
    ]
    fixed = np.broadcast_to(fixed, (fixed.shape[0], params.shape[1], layout.tensors))
    fan_in = np.array([_matrix(shape)[0] for shape in layout.shapes], np.float32)
    size, gradient = _log_rms(params), _log_rms(gradients)
    start = ops.where(first, gradient, state[GRADIENT_START])
    moved = ops.where(first, 0.0, state[LAST_MOVE] - size)
    seen = ops.concatenate([size + constant(0.5 * np.log(fan_in)), gradient - start, moved], axis=0)
    return ops.concatenate([constant(fixed), small(seen)], axis=0), {GRADIENT_START: start}


def last_move(move: Array) -> State:
    """The leaf that remembers the step just made, of which the mean square is given, [1, I, T]."""
    return {LAST_MOVE: _log_rms(move)}


def of_run(state: State, loss: Array, step: Array, layout: Layout) -> tuple[Array, State]:
    """Features of the whole run, [F, I, 1], and the leaf to go on with.

    Those of the training loss (`losses.loss_features`); whether the length of the run is known, and the share of it that is
    over; the log of the number of steps, parameters and tensors.

    Args:
        loss: [I], step: [I].
    """
    count = ops.cast(ops.convert_to_tensor(step), "float32")[None, :, None]
    shown = ops.reshape(loss, (1, -1, 1))
    averages = losses.averaged(state[LOSSES], shown, count == 0)
    horizon = state[HORIZON]
    sizes = np.array([math.log(layout.parameters) - 7.0, math.log(layout.tensors) - 1.5], np.float32)[:, None, None]
    parts = [
        losses.loss_features(averages, shown),
        ops.cast(horizon > 0, "float32"),
        share_over(horizon, step),
        LOG_SCALE * (ops.log1p(count) - 4.0),
        ops.broadcast_to(constant(LOG_SCALE * sizes), (2, count.shape[1], 1)),
    ]
    return ops.concatenate(parts, axis=0), {LOSSES: averages}


def _fixed(name: str, shape: tuple[int, ...]) -> list[float]:
    """What a tensor's shape says."""
    fan_in, fan_out = _matrix(shape)
    logs = [math.log(fan_in) - 3.0, math.log(fan_out) - 3.0, math.log(fan_in * fan_out) - 6.0]
    return [*(LOG_SCALE * value for value in logs), 0.5 * (min(len(shape), 4) - 1.5), float(is_embedding(name))]


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out; 1 and the length of a vector."""
    return rows_and_columns(shape) if len(shape) > 1 else (1, math.prod(shape))


def _log_rms(mean_square: Array) -> Array:
    return 0.5 * ops.log(mean_square + ROOT_EPSILON)


def small(logs: Array) -> Array:
    """Logarithms as features: scaled and clipped."""
    return ops.clip(LOG_SCALE * logs, -LIMIT, LIMIT)
