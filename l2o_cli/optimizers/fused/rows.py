"""The formulas of the parameter level of the hierarchical RNN for rows: arrays of one shape, with an entry for each parameter.

Every feature, hidden unit and gate is a row of its own, and every matrix product is a sum of rows times numbers. Whoever makes a
loop of it keeps all rows but those that are read and written in registers. So the order matters: what is written is written as
soon as it is there, and few rows are needed for long.

Shape letters: P parameters, T tensors, F features, K hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from keras import ops

from l2o_cli.optimizers import features, levels, log_rates
from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.fused import ParameterLevel
from l2o_cli.optimizers.packing import Array, Layout

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

WEIGHTS = (
    "parameter/input",
    "parameter/recurrent_gates",
    "parameter/recurrent_candidate",
    "readout",
    "decay_bias",
    "shortcut",
)
KEPT = ("momenta", "squares", "parameter")  # leaves of the state that the parameter level makes anew
DIRECTION, RATE, MOMENTUM_DECAY, SQUARE_DECAY, ATTENTION = range(5)  # rows of the readout


def read_leaves(rule: HierarchicalRNN) -> dict[str, int]:
    """How many rows are read of what."""
    squares = 1 if rule.scale_by_raw_moment else rule.time_scales
    leaves = {"gradients": 1, "momenta": rule.time_scales, "squares": squares, "parameter": rule.hidden[0]}
    return leaves | ({"log_rate": 1} if rule.rate_level != "tensor" else {})


def written_leaves(rule: HierarchicalRNN) -> dict[str, int]:
    """How many rows are written of what, besides those of "seen"."""
    kept = {leaf: read_leaves(rule)[leaf] for leaf in KEPT}
    return kept | {"directions": 1 + rule.attention, "rate": 1}


def weights_of(weights: Weights) -> dict[str, Array]:
    """The `WEIGHTS` that there are, each with two axes."""
    return {name: ops.reshape(weights[name], (weights[name].shape[0], -1)) for name in WEIGHTS if name in weights}


def leaves_of(rule: HierarchicalRNN, state: State, gradients: Array) -> dict[str, Array]:
    """What is read, [rows, P]."""
    return {leaf: gradients if leaf == "gradients" else state[leaf][:, 0] for leaf in read_leaves(rule)}


def of_tensors(rule: HierarchicalRNN, weights: Weights, state: State, layout: Layout) -> Array:
    """What `step` reads of each tensor, [T, 3 K + 1]."""
    above = levels.from_above(weights, state, len(rule.hidden), layout)
    bias = weights["parameter/bias"] + (0.0 if above is None else above)
    mean = None if rule.rate_level == "tensor" else log_rates.means(state["log_rate"], rule.relative_rate, layout)
    columns = [bias[:, 0], ops.zeros((1, 1)) if mean is None else mean[:, 0]]
    return ops.transpose(ops.concatenate([ops.broadcast_to(rows, (rows.shape[0], layout.tensors)) for rows in columns]))


def level_of(written: Mapping[str, Array], means: list[Array]) -> ParameterLevel:
    """What comes of the leaves that were written, [rows, I, P], and of the means of what was seen."""
    directions = [written["directions"][row : row + 1] for row in range(written["directions"].shape[0])]
    return ParameterLevel({leaf: written[leaf] for leaf in KEPT}, directions, written["rate"], means)


def step(
    rule: HierarchicalRNN,
    read: Callable[[str, int], Array],
    write: Callable[[str, int, Array], None],
    weight: Callable[[str, int, int], Array],
    of_tensor: Callable[[int], Array],
    first: Array,
) -> None:
    """One step.

    Args:
        read: a row of the leaves of `read_leaves`, once.
        write: a row of those of `written_leaves`, after it was read, and of "seen", the K + F rows of which the upper levels are
            shown means.
        weight: a number of the `WEIGHTS`, by its row and column.
        of_tensor: what belongs to the tensor of a parameter: the bias of each of the 3 K gates, with what comes from above, and
            then the mean of log learning rates from which theirs are counted.
        first: whether it is the first step.
    """
    units = rule.hidden[0]
    hidden = [read("parameter", unit) for unit in range(units)]

    def product(name: str, row: int, rows: Sequence[Array]) -> Array:
        return _sum([weight(name, row, column) * value for column, value in enumerate(rows)])

    def log_decay(readout: int) -> Array:
        return ops.log_sigmoid(product("readout", readout, hidden) + weight("decay_bias", readout - MOMENTUM_DECAY, 0))

    momenta, squares = _averages(rule, read, write, (log_decay(MOMENTUM_DECAY), log_decay(SQUARE_DECAY)), first)
    scaled = _scaled(rule, momenta, squares)
    inputs = _inputs(rule, scaled, momenta, squares)
    if rule.rate_level != "tensor":
        mean = None if rule.relative_rate == "off" else of_tensor(3 * units)
        inputs += log_rates.features(read("log_rate", 0), mean, rule.extreme_rate, rule.absolute_rate)
    for index, row in enumerate(inputs):
        write("seen", units + index, row)
    outputs = {RATE: None, DIRECTION: None, **({ATTENTION: None} if rule.attention else {})}
    if rule.gradient_shortcut:
        outputs[DIRECTION] = product("shortcut", 0, scaled)
        if rule.attention:
            outputs[ATTENTION] = product("shortcut", 1, scaled)

    def drive(gate: int) -> Array:
        return product("parameter/input", gate, inputs) + of_tensor(gate)

    def opened(gate: int) -> Array:
        return ops.sigmoid(drive(gate) + product("parameter/recurrent_gates", gate, hidden))

    reset = [opened(unit) * hidden[unit] for unit in range(units)]
    for unit in range(units):
        candidate = ops.tanh(drive(2 * units + unit) + product("parameter/recurrent_candidate", unit, reset))
        new = candidate + opened(units + unit) * (hidden[unit] - candidate)
        write("parameter", unit, new)
        write("seen", unit, new)
        for readout, sum_so_far in outputs.items():
            part = weight("readout", readout, unit) * new
            outputs[readout] = part if sum_so_far is None else sum_so_far + part
    write("rate", 0, outputs[RATE])
    write("directions", 0, outputs[DIRECTION])
    if rule.attention:
        write("directions", 1, outputs[ATTENTION])


def _averages(
    rule: HierarchicalRNN,
    read: Callable[[str, int], Array],
    write: Callable[[str, int, Array], None],
    log_decays: tuple[Array, Array],
    first: Array,
) -> tuple[list[Array], list[Array]]:
    """The new momenta and squares, written."""
    gradient = ops.clip(read("gradients", 0), -features.GRADIENT_LIMIT, features.GRADIENT_LIMIT)
    momenta, squares = [], []
    for scale in range(rule.time_scales):
        momenta.append(features.average(read("momenta", scale), gradient, 0.5**scale * log_decays[0], first))
        write("momenta", scale, momenta[-1])
    for scale, root in enumerate([gradient] if rule.scale_by_raw_moment else momenta):
        old, exponent = read("squares", scale), 0.5**scale if rule.multiple_scale_decays else 1.0
        squared, untouched = ops.square(root) + features.SQUARE_EPSILON, old < 2 * features.SQUARE_EPSILON
        squares.append(features.average(old, squared, exponent * log_decays[1], untouched))
        write("squares", scale, squares[-1])
    return momenta, squares


def _scaled(rule: HierarchicalRNN, momenta: list[Array], squares: list[Array]) -> list[Array]:
    """`features.scaled`, without its derivative, which a kernel may not have."""
    if not rule.dynamic_scaling:
        return [features.asinh_and_root(row)[0] for row in momenta]
    roots = [ops.rsqrt(row + features.ROOT_EPSILON) for row in squares]
    roots = roots * rule.time_scales if rule.scale_by_raw_moment else roots
    return [features.asinh_and_root(row * root)[0] for row, root in zip(momenta, roots, strict=True)]


def _inputs(rule: HierarchicalRNN, scaled: list[Array], momenta: list[Array], squares: list[Array]) -> list[Array]:
    """The features but for those of the learning rates."""
    inputs = list(scaled)
    if rule.grad_products:
        inputs += [faster * slower for faster, slower in pairwise(scaled)]
    if rule.relative_log_moments:
        moments = [ops.square(row) for row in momenta] if rule.scale_by_raw_moment else squares
        logs = [ops.log(row + features.ROOT_EPSILON) for row in moments]
        mean = _sum(logs) * (1.0 / len(logs))
        inputs += [row - mean for row in logs]
    return inputs


def _sum(rows: Sequence[Array]) -> Array:
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total
