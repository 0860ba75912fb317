"""Formulas over many parameters, block by block where they are very many, so that what lies in between takes little memory.

What an update computes of all parameters of a large network together is several times its state. Block by block it stays in a
processor's cache. Formulas are written once: of whole arrays or of a block, they see arrays whose last axis is that of the
parameters.

Shape letters: I instances, P parameters of one instance, T tensors, B entries of a block.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import backend, ops

from l2o_cli.optimizers.packing import Array, Group, Layout, constant, spread, tensor_mean

Arrays = dict[str, Array]
Result = tuple[Arrays, Arrays]  # what is written, and what the means over tensors are wanted of, all [.., I, P]
# They get a function that spreads values of tensors over their parameters, and the arrays. Where they need means to go on they
# are a generator, which yields what the means are wanted of and is sent the means, [.., I, T].
Formulas = Callable[[Callable[[Array], Array], Arrays], Result | Generator[Arrays, Arrays, Result]]

LEAST_PARAMETERS = 1_000_000  # with fewer, memory is no concern
BLOCK = 1 << 15  # parameters; half as many took 1.1 to 1.3 times as long on two cores, four times as many 1.5 times
LEAST_BLOCK = 1 << 10
PARTS = 32  # of all parameters, as which PyTorch may compute what has few arrays in between: each operation costs it some time
BLOCK_ON_ACCELERATORS = 1 << 22
_LOOPS = ContextVar("loops", default=False)  # whether TensorFlow's loops are XLA's


@contextmanager
def compiled_loops() -> Iterator[None]:
    """Within it TensorFlow makes a graph for XLA, whose loops change arrays in place; its own copy them each time."""
    token = _LOOPS.set(True)
    try:
        yield
    finally:
        _LOOPS.reset(token)


def possible(layout: Layout) -> bool:
    """Whether parameters are very many, and a loop over blocks of them takes less memory."""
    return layout.parameters >= LEAST_PARAMETERS and (backend.backend() != "tensorflow" or _LOOPS.get())


def wanted(layout: Layout) -> bool:
    """Whether to go block by block. On accelerators XLA makes few loops of whole arrays, and those are faster."""
    return possible(layout) and (backend.backend() == "torch" or _on_cpu())


def compute(formulas: Formulas, arrays: Arrays, of_tensors: Arrays, layout: Layout, in_place: bool = False) -> Result:
    """What the formulas write, and the means over each tensor, [.., I, T], of that of which they want them.

    Args:
        arrays: [.., I, P].
        of_tensors: [.., I, T].
        in_place: what is written may take the place of the arrays of the same names, which nobody else needs.
    """
    if wanted(layout):
        return by_block(formulas, arrays, of_tensors, layout, in_place, layout.parameters // PARTS)
    _, (written, averaged) = _run(
        formulas, lambda values: spread(values, layout), {**arrays, **of_tensors}, lambda asked: _means(asked, layout)
    )
    return written, _means(averaged, layout)


def by_block(
    formulas: Formulas, arrays: Arrays, of_tensors: Arrays, layout: Layout, in_place: bool = False, least: int = 0
) -> Result:
    """`compute` block by block: through all of them each time that the formulas ask for means, and once to the end.

    A block is of one tensor. What is of tensors, the formulas see as [.., I, 1].

    Args:
        least: in PyTorch, blocks of at least so many parameters if a tensor has them.
    """
    known = [of_tensors]

    def of_block(own: Arrays, of_tensor: list[Arrays]) -> tuple[bool, Result]:
        answers = iter(of_tensor[1:])
        return _run(formulas, lambda values: values, {**own, **of_tensor[0]}, lambda _: next(answers, None))

    torch = backend.backend() == "torch"
    over_all = partial(_in_python, least=least) if torch else partial(_in_a_compiled_loop, in_place=in_place)
    while True:
        finished, (written, averaged) = of_block(_part(arrays, 0, 1), [_part(leaves, 0, 1) for leaves in known])  # for shapes
        out = {
            name: arrays[name]
            if name in arrays and (in_place or not torch)
            else ops.zeros((*value.shape[:-1], layout.parameters))
            for name, value in written.items()
        }
        sums = {name: ops.zeros((*value.shape[:-1], layout.tensors)) for name, value in averaged.items()}
        out, sums = over_all(of_block, arrays, known, out, sums, layout)
        means = {name: value / constant(layout.sizes) for name, value in sums.items()}
        if finished:
            return out, means
        known.append(means)


def each_in_place(function: Callable[[Array], Array], array: Array, group: Group) -> Array:
    """The array [I, P], which nobody else needs, with what the function makes of the tensors of a group.

    Args:
        function: of some of them side by side, [I, N].
    """
    size = math.prod(group.shape)
    few = max(count for count in range(1, group.members + 1) if group.members % count == 0 and count * size <= max(size, BLOCK))

    def apply(index: Any, array: Array) -> Array:
        begin = group.entries.start + index * few * size
        own = ops.slice(array, [0, begin], [array.shape[0], few * size])
        if backend.backend() != "torch":
            return ops.slice_update(array, [0, begin], function(own))
        own[...] = function(own)
        return array

    return ops.fori_loop(0, group.members // few, apply, array)


def _run(
    formulas: Formulas, spread: Callable[[Array], Array], given: Arrays, answer: Callable[[Arrays], Arrays | None]
) -> tuple[bool, Result]:
    """Whether the formulas came to an end, or stopped where there was no answer; what they write then and want the means of."""
    result = formulas(spread, given)
    if isinstance(result, tuple):
        return True, result
    try:
        asked = next(result)
        while (means := answer(asked)) is not None:
            asked = result.send(means)
    except StopIteration as end:
        return True, end.value
    return False, ({}, asked)


def _means(values: Arrays, layout: Layout) -> Arrays:
    return {name: tensor_mean(value, layout) for name, value in values.items()}


def _in_a_compiled_loop(
    of_block: Callable[..., Any], arrays: Arrays, known: list[Arrays], out: Arrays, sums: Arrays, layout: Layout, in_place: bool
) -> Result:
    """All blocks have one size, and leave alone what they hold of other tensors."""
    size = _block_size(layout)
    table = ops.convert_to_tensor(_blocks(layout, size))
    position = ops.arange(size, dtype="int32")
    read = {name: leaf for name, leaf in arrays.items() if not (in_place and name in out)}

    def fill(index: Array, filled: Result) -> Result:
        out, sums = filled
        begin, tensor, low, high = (table[index, column] for column in range(4))
        inside = ops.logical_and(position >= low, position < high)
        old = _part(out, begin, size)
        _, (written, averaged) = of_block({**old, **_part(read, begin, size)}, [_part(leaves, tensor, 1) for leaves in known])
        added = _part(sums, tensor, 1)
        written = {name: ops.where(inside, value, old[name]) for name, value in written.items()}
        added = {
            name: added[name] + ops.sum(ops.where(inside, value, 0.0), axis=-1, keepdims=True) for name, value in averaged.items()
        }
        return _put(out, written, begin), _put(sums, added, tensor)

    return ops.fori_loop(0, table.shape[0], fill, (out, sums))


def _in_python(
    of_block: Callable[..., Any], arrays: Arrays, known: list[Arrays], out: Arrays, sums: Arrays, layout: Layout, least: int
) -> Result:
    """In place, as PyTorch can; blocks end where tensors do."""
    on_cpu = all(leaf.device.type == "cpu" for leaf in arrays.values())
    size = max(BLOCK, least) if on_cpu else BLOCK_ON_ACCELERATORS
    for tensor, (offset, count) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        of_tensor = [_part(leaves, tensor, 1) for leaves in known]
        for begin in range(offset, offset + count, size):
            end = min(begin + size, offset + count)
            _, (written, averaged) = of_block(_part(arrays, begin, end - begin), of_tensor)
            for name, value in written.items():
                out[name][..., begin:end] = value
            for name, value in averaged.items():
                sums[name][..., tensor] += ops.sum(value, axis=-1)
    return out, sums


def _part(leaves: Arrays, begin: Any, size: int) -> Arrays:
    return {name: ops.slice(leaf, [0, 0, begin], [*leaf.shape[:-1], size]) for name, leaf in leaves.items()}


def _put(leaves: Arrays, values: Arrays, begin: Any) -> Arrays:
    return {name: ops.slice_update(leaf, [0, 0, begin], values[name]) for name, leaf in leaves.items()}


def _on_cpu() -> bool:
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())


def _block_size(layout: Layout) -> int:
    """So small that blocks which hold little of their tensor are not most of the work."""
    size = BLOCK if _on_cpu() else BLOCK_ON_ACCELERATORS
    return min(size, layout.parameters, max(LEAST_BLOCK, layout.parameters // layout.tensors))


@functools.lru_cache(maxsize=64)
def _blocks(layout: Layout, size: int) -> np.ndarray:
    """Of each block where it begins, its tensor, and between which of its entries those of that tensor are new: [.., 4] int32."""
    rows = []
    for tensor, (offset, count) in enumerate(zip(layout.offsets, layout.sizes, strict=True)):
        for start in range(offset, offset + count, size):
            begin = min(start, layout.parameters - size)  # a slice may not go on past the end
            rows.append((begin, tensor, start - begin, min(start + size, offset + count) - begin))
    return np.array(rows, np.int32)
