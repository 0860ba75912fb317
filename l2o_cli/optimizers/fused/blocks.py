"""The plain way of one block of parameters after another, so that what it has in between takes little memory.

The features, gates and hidden states of all parameters of a large network together are several times the state. Block by
block they stay in a processor's cache, and an update takes hardly more memory than its state and the new one.

Shape letters: I instances, P parameters of one instance, T tensors, F features, K hidden units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import backend, ops

from l2o_cli.optimizers import log_rates
from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.fused import ParameterLevel, plain, rows
from l2o_cli.optimizers.packing import Array, Layout, constant

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

LEAST_PARAMETERS = 1_000_000  # with fewer, memory is no concern
BLOCK = 1 << 15  # parameters; half as many took 1.1 to 1.3 times as long on two cores, four times as many 1.5 times
BLOCK_ON_ACCELERATORS = 1 << 22
READ = (*rows.KEPT, "log_rate", "tensor", "global")  # leaves of the state


def parameter_level(
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    """The parameter level of any number of instances."""
    rate_mean = log_rates.means(state["log_rate"], rule.relative_rate, layout)
    read = {leaf: state[leaf] for leaf in READ if leaf in state}
    depth, instances = len(rule.hidden), gradients.shape[0]

    def of_block(begin: Any, size: int, tensor: Any, inside: Array | None) -> State:
        """What is written of one block, [.., I, size], and the sums of what the upper levels see of it, [K + F, I, 1]."""

        def part(leaf: Array) -> Array:
            if leaf.shape[-1] == layout.parameters:
                return _part(leaf, begin, size)
            return _part(leaf, tensor, 1) if leaf.shape[-1] == layout.tensors else leaf

        def total(values: Array, layout: Layout) -> Array:
            return ops.sum(values if inside is None else ops.where(inside, values, 0.0), axis=-1, keepdims=True)

        own, block = {name: part(leaf) for name, leaf in read.items()}, Layout(("block",), ((size,),))
        mean = None if rate_mean is None else part(rate_mean)
        level = plain.parameter_level(rule, weights, own, part(gradients[None])[0], first, block, mean, total)
        out = {**level.state, "directions": ops.concatenate(level.directions, axis=0), "rate": level.rate}
        return out | ({"sums": ops.concatenate(level.means, axis=0)} if depth > 1 else {})

    out = {leaf: ops.zeros((count, instances, layout.parameters)) for leaf, count in rows.written_leaves(rule).items()}
    if depth > 1:
        out["sums"] = ops.zeros((rule.hidden[0] + rule.features, instances, layout.tensors))
    out = (_in_python if backend.backend() == "torch" else _in_a_compiled_loop)(of_block, out, layout)
    return rows.level_of(out, [out["sums"] / constant(layout.sizes)] if depth > 1 else [])


def _in_a_compiled_loop(of_block: Callable[..., State], out: State, layout: Layout) -> State:
    """`out`, filled; all blocks have one size, and leave alone what they hold of other tensors."""
    size = min(_block_size(out["rate"]), layout.parameters)
    table = ops.convert_to_tensor(_blocks(layout, size))
    position = ops.arange(size, dtype="int32")

    def fill(index: Array, out: State) -> State:
        begin, tensor, low, high = (table[index, column] for column in range(4))
        inside = ops.logical_and(position >= low, position < high)
        new = of_block(begin, size, tensor, inside)
        filled = {}
        for leaf, values in new.items():
            place, count = (tensor, 1) if leaf == "sums" else (begin, size)
            old = _part(out[leaf], place, count)
            values = old + values if leaf == "sums" else ops.where(inside, values, old)
            filled[leaf] = ops.slice_update(out[leaf], [0, 0, place], values)
        return filled

    return ops.fori_loop(0, table.shape[0], fill, out)


def _in_python(of_block: Callable[..., State], out: State, layout: Layout) -> State:
    """`out`, filled in place, as PyTorch can; blocks end where tensors do."""
    size = _block_size(out["rate"])
    for tensor, (offset, count) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        for begin in range(offset, offset + count, size):
            end = min(begin + size, offset + count)
            for leaf, values in of_block(begin, end - begin, tensor, None).items():
                if leaf == "sums":
                    out[leaf][..., tensor : tensor + 1] += values
                else:
                    out[leaf][..., begin:end] = values
    return out


def _part(leaf: Array, begin: Any, size: int) -> Array:
    return ops.slice(leaf, [0, 0, begin], [*leaf.shape[:-1], size])


def _block_size(array: Array) -> int:
    devices = [array.device.type] if backend.backend() == "torch" else keras.distribution.list_devices()
    return BLOCK if all(device.startswith("cpu") for device in devices) else BLOCK_ON_ACCELERATORS


@functools.lru_cache(maxsize=64)
def _blocks(layout: Layout, size: int) -> np.ndarray:
    """Of each block where it begins, its tensor, and between which of its entries those of that tensor are new: [.., 4] int32."""
    rows = []
    for tensor, (offset, count) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        for start in range(offset, offset + count, size):
            begin = min(start, layout.parameters - size)  # a slice may not go on past the end
            rows.append((begin, tensor, start - begin, min(start + size, offset + count) - begin))
    return np.array(rows, np.int32)
