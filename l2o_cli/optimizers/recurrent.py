"""Recurrent cells on feature-major arrays [F, I, N]: the gated unit of Cho et al. 2014, and long short-term memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State, Weights, per_instance
from l2o_cli.optimizers.packing import Array

GATE_BIAS = 2.2  # sigmoid(2.2) = 0.9: a new unit keeps most of its state
FORGET_BIAS = 1.0  # of a new long short-term memory (Gers et al. 2000; Jozefowicz et al. 2015)


def normal_matrix(rng: np.random.Generator, rows: int, columns: int, fan_in: int | None = None) -> np.ndarray:
    """N(0, (0.5 / sqrt(fan in))^2), [rows, columns], for products with columns."""
    return (rng.standard_normal((rows, columns)) * 0.5 / np.sqrt(fan_in or columns)).astype(np.float32)


def matmul(matrix: Array, values: Array) -> Array:
    """[K, F] x [F, I, N] -> [K, I, N]; each instance may have a matrix of its own, [I, K, F]."""
    if len(matrix.shape) == 3:
        return ops.einsum("ikf,fin->kin", matrix, values)
    lead, shape = matrix.shape[0], ops.shape(values)
    flat = ops.matmul(matrix, ops.reshape(values, (shape[0], -1)))
    return ops.reshape(flat, (lead, shape[1], shape[2]))


def refreshed(weights: Weights, state: State, fresh: Array, learned: Mapping[str, str]) -> State:
    """The state where `fresh` [I] is true with its learned initial leaves, {leaf: its weights, [K, 1, 1]}."""
    mask = ops.reshape(fresh, (1, -1, 1))
    return {**state, **{leaf: ops.where(mask, per_instance(weights[name]), state[leaf]) for leaf, name in learned.items()}}


def init_gru(rng: np.random.Generator, prefix: str, inputs: int, units: int) -> Weights:
    """Weights of a unit with F inputs and K states: reset, update and candidate rows, in this order."""
    bias = np.zeros((3 * units, 1, 1), np.float32)
    bias[: 2 * units] = GATE_BIAS
    return {
        f"{prefix}/input": normal_matrix(rng, 3 * units, inputs, inputs + units),
        f"{prefix}/recurrent_gates": normal_matrix(rng, 2 * units, units, inputs + units),
        f"{prefix}/recurrent_candidate": normal_matrix(rng, units, units, inputs + units),
        f"{prefix}/bias": bias,
    }


def gru(weights: Weights, prefix: str, inputs: Array, hidden: Array, extra_bias: Array | float = 0.0) -> Array:
    """One step: h' = u * h + (1 - u) * c.

    r, u = sigmoid(W_g [x, h] + b_g), c = tanh(W_c [x, r * h] + b_c).

    Args:
        inputs: [F, I, N].
        hidden: [K, I, N].
        extra_bias: [3 K, I, N], added before the nonlinearities.
    """
    units = hidden.shape[0]
    drive = matmul(weights[f"{prefix}/input"], inputs) + per_instance(weights[f"{prefix}/bias"]) + extra_bias
    gates = ops.sigmoid(drive[: 2 * units] + matmul(weights[f"{prefix}/recurrent_gates"], hidden))
    reset, update = gates[:units], gates[units:]
    candidate = ops.tanh(drive[2 * units :] + matmul(weights[f"{prefix}/recurrent_candidate"], reset * hidden))
    return candidate + update * (hidden - candidate)


def init_lstm(rng: np.random.Generator, prefix: str, inputs: int, units: int) -> Weights:
    """Weights of a cell with F inputs and K units: rows of the input gate, forget gate, candidate and output gate."""
    bias = np.zeros((4 * units, 1, 1), np.float32)
    bias[units : 2 * units] = FORGET_BIAS
    return {
        f"{prefix}/input": normal_matrix(rng, 4 * units, inputs, inputs + units),
        f"{prefix}/recurrent": normal_matrix(rng, 4 * units, units, inputs + units),
        f"{prefix}/bias": bias,
    }


def lstm(weights: Weights, prefix: str, inputs: Array, hidden: Array, cell: Array) -> tuple[Array, Array]:
    """One step (Hochreiter and Schmidhuber 1997, with forget gates): c' = f * c + i * tanh(a), h' = o * tanh(c').

    i, f, a, o = W x + U h + b; gates i, f and o through a sigmoid.

    Args:
        inputs: [F, I, N].
        hidden, cell: h and c, [K, I, N].

    Returns:
        h' and c'.
    """
    units = hidden.shape[0]
    drive = matmul(weights[f"{prefix}/input"], inputs) + matmul(weights[f"{prefix}/recurrent"], hidden)
    drive = drive + per_instance(weights[f"{prefix}/bias"])
    keep = ops.sigmoid(drive[: 2 * units])
    cell = keep[units:] * cell + keep[:units] * ops.tanh(drive[2 * units : 3 * units])
    return ops.sigmoid(drive[3 * units :]) * ops.tanh(cell), cell
