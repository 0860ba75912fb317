"""The parameter level of the hierarchical RNN for whole arrays, one after another.

Shape letters: I instances, P parameters of one instance, T tensors, S time scales, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keras import ops

from l2o_cli.optimizers import features, levels
from l2o_cli.optimizers.base import State, Weights, per_instance
from l2o_cli.optimizers.fused import ParameterLevel
from l2o_cli.optimizers.packing import Array, Layout, spread, tensor_mean
from l2o_cli.optimizers.recurrent import gru, matmul

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN


def parameter_level(
    rule: HierarchicalRNN,
    weights: Weights,
    state: State,
    gradients: Array,
    first: Array,
    layout: Layout,
    rate_mean: Array | None = None,
    mean: Callable[[Array, Layout], Array] = tensor_mean,
) -> ParameterLevel:
    """The parameter level of any number of instances.

    Args:
        rate_mean: from which the log learning rates of parameters are counted; None: as `log_rates.means` has it.
        mean: over each tensor, [.., I, P] -> [.., I, T].
    """
    averages = _averages(rule, weights, state, gradients, first)
    scaled, parts = _inputs(rule, averages, state["log_rate"], rate_mean, layout)
    above = levels.from_above(weights, state, len(rule.hidden), layout)
    bias = 0.0 if above is None else spread(above, layout)
    hidden = gru(weights, "parameter", ops.concatenate(parts, axis=0), state["parameter"], bias)
    # Part by part: of the concatenated features XLA would make a second copy to take their means.
    means = [] if above is None else [mean(part, layout) for part in (hidden, *parts)]
    readout = weights["readout"]
    rows = [readout[..., :2, :], readout[..., 4:, :]] if rule.attention else [readout[..., :2, :]]
    outputs = matmul(ops.concatenate(rows, axis=-2), hidden)
    directions = [outputs[:1], outputs[2:]] if rule.attention else [outputs[:1]]
    if rule.gradient_shortcut:
        shortcut = weights["shortcut"]
        directions = [direction + matmul(shortcut[..., row : row + 1, :], scaled) for row, direction in enumerate(directions)]
    return ParameterLevel({**averages, "parameter": hidden}, directions, outputs[1:2], means)


def _averages(rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array) -> State:
    """The gradient averages and second moments after this gradient, with decays read out of the parameter's state."""
    gradient = ops.clip(gradients, -features.GRADIENT_LIMIT, features.GRADIENT_LIMIT)[None]
    logits = matmul(weights["readout"][..., 2:4, :], state["parameter"]) + per_instance(weights["decay_bias"])
    log_decays = ops.log_sigmoid(logits)
    exponents = features.time_scale_exponents(rule.time_scales)
    momenta = features.average(state["momenta"], gradient, exponents * log_decays[:1], first)

    squared = ops.square(gradient if rule.scale_by_raw_moment else momenta) + features.SQUARE_EPSILON
    square_exponents = exponents if rule.multiple_scale_decays and not rule.scale_by_raw_moment else 1.0
    untouched = state["squares"] < 2 * features.SQUARE_EPSILON  # only zero gradients so far
    squares = features.average(state["squares"], squared, square_exponents * log_decays[1:], untouched)
    return {"momenta": momenta, "squares": squares}


def _inputs(
    rule: HierarchicalRNN, averages: State, log_rate: Array, rate_mean: Array | None, layout: Layout
) -> tuple[Array, list[Array]]:
    """The scaled gradient averages [S, I, P] and the feature vector, in parts of together F rows, [.., I, P]."""
    momenta, squares = averages["momenta"], averages["squares"]
    scaled = features.scaled(momenta, squares) if rule.dynamic_scaling else features.asinh(momenta)
    parts = [scaled]
    if rule.grad_products:
        parts.append(scaled[:-1] * scaled[1:])  # positive while the gradient keeps its sign over the time scales
    if rule.relative_log_moments:
        parts.append(features.relative_log(ops.square(momenta) if rule.scale_by_raw_moment else squares))
    if rule.rate_level != "tensor":
        parts += rule.rate_inputs(log_rate, layout, rate_mean)
    return scaled, parts
