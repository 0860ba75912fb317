"""Many tensors as one packed array, so that the number of operations does not grow with the number of tensors.

Where they are many, those of equal shape lie side by side: what is done to each tensor is then done to a group of them at once,
and a graph grows with the number of different shapes alone.

Shape letters: I instances, P parameters of one instance (all tensors packed), T tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from keras import ops

Array = Any  # a tensor of whichever backend Keras runs on, or a numpy array

# Up to so many tensors, work that grows with T * P is faster than slices and concatenations, which XLA makes poor code of.
FEW_TENSORS = 8
FEW_PARAMETERS = 50_000  # up to so many, what is computed of them stays in the cache


class Group(NamedTuple):
    """Tensors of one shape that lie side by side."""

    shape: tuple[int, ...]  # of each
    members: int
    tensors: slice  # among all tensors
    entries: slice  # in the packed axis


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies in the packed axis: names and shapes (without the instance axis), in packing order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    given: tuple[str, ...] = ()  # the names in the order in which tensors are unpacked; none: that of packing

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """Packed in the given order; more than `FEW_TENSORS` in the order of their shapes, and unpacked in the given one."""
        named = [(name, tuple(shape)) for name, shape in shapes.items()]
        if len(named) > FEW_TENSORS:
            named.sort(key=lambda tensor: tensor[1])
        return cls(tuple(name for name, _ in named), tuple(shape for _, shape in named), tuple(shapes))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        return tuple(sum(self.sizes[:index]) for index in range(len(self.sizes)))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All tensors, in packing order."""
        return tuple(self.groups_of([None] * self.tensors))

    def groups_of(self, kinds: Sequence[Any]) -> list[Group]:
        """All tensors, in packing order, where those of a group are also of one kind."""
        made, tensor, entry = [], 0, 0
        for (shape, _), members in groupby(zip(self.shapes, kinds, strict=True)):
            count = len(list(members))
            ends = tensor + count, entry + count * math.prod(shape)
            made.append(Group(shape, count, slice(tensor, ends[0]), slice(entry, ends[1])))
            tensor, entry = ends
        return made

    @property
    def parameters(self) -> int:
        """P, the number of parameters of one instance."""
        return sum(self.sizes)

    @property
    def tensors(self) -> int:
        """T, the number of tensors."""
        return len(self.sizes)


def constant(values: Any) -> Array:
    """Numbers as a float32 tensor: PyTorch's tensors take no numpy arrays for operands."""
    return ops.convert_to_tensor(np.asarray(values, np.float32))


def pack(params: Mapping[str, Array], layout: Layout) -> Array:
    """{name: [I, *shape]} -> [I, P]."""
    return joined([ops.reshape(params[name], (-1, size)) for name, size in zip(layout.names, layout.sizes, strict=True)])


def unpack(packed: Array, layout: Layout) -> dict[str, Array]:
    """[I, P] -> {name: [I, *shape]}."""
    parts = zip(layout.names, layout.shapes, layout.offsets, layout.sizes, strict=True)
    tensors = {name: ops.reshape(packed[:, offset : offset + size], (-1, *shape)) for name, shape, offset, size in parts}
    return {name: tensors[name] for name in layout.given or layout.names}


def tensor_mean(values: Array, layout: Layout) -> Array:
    """The mean over each tensor's parameters: [..., P] -> [..., T]."""
    values = ops.convert_to_tensor(values)
    return tensor_sum(values, layout) / ops.cast(ops.convert_to_tensor(layout.sizes), values.dtype)


def spread(values: Array, layout: Layout) -> Array:
    """One value per tensor, repeated for each of its parameters: [..., T] -> [..., P]."""

    @ops.custom_gradient
    def apply(values):
        # What would be derived from the selections is a reduction for each of them.
        return spread_values(values, layout), lambda upstream: tensor_sum(upstream, layout)

    return apply(ops.convert_to_tensor(values))


def tensor_sum(values: Array, layout: Layout) -> Array:
    """The sum over each tensor's parameters: [..., P] -> [..., T]."""
    if layout.tensors == 1:
        return ops.sum(values, axis=-1, keepdims=True)
    # Where parameters are many, sums of slices: XLA makes them one loop with what the values are computed from, and of values
    # that are stored they take half the time, on a CPU and on a GPU.
    if layout.tensors <= FEW_TENSORS and layout.parameters <= FEW_PARAMETERS:
        return ops.matmul(values, ops.cast(_membership(layout), values.dtype))
    lead = tuple(values.shape[:-1])
    sums = [ops.sum(ops.reshape(values[..., group.entries], (*lead, group.members, -1)), axis=-1) for group in layout.groups]
    return joined(sums)


def joined(pieces: list[Array]) -> Array:
    """Along the last axis."""
    return ops.concatenate(pieces, axis=-1) if len(pieces) > 1 else pieces[0]


class InTurn:
    """Arrays [..., N] by key, of which one piece after another is taken."""

    def __init__(self, arrays: Mapping[Any, Array]):
        self._arrays, self._taken = arrays, dict.fromkeys(arrays, 0)

    def take(self, key: Any, count: int) -> Array:
        """The next `count` entries of an array, [..., count]."""
        begin = self._taken[key]
        self._taken[key] += count
        return self._arrays[key][..., begin : begin + count]


def _membership(layout: Layout) -> Array:
    """Whether a parameter belongs to a tensor, [P, T]."""
    begin, size = (ops.convert_to_tensor(np.array(ends, np.int32)) for ends in (layout.offsets, layout.sizes))
    position = ops.arange(layout.parameters, dtype="int32")[:, None]
    return ops.logical_and(position >= begin, position < begin + size)


def spread_values(values: Array, layout: Layout) -> Array:
    """`spread`, also of whole numbers, without its derivative."""
    lead = tuple(values.shape[:-1])
    if layout.tensors > FEW_TENSORS:
        parts = []
        for group in layout.groups:
            size = math.prod(group.shape)
            repeated = ops.broadcast_to(values[..., group.tensors, None], (*lead, group.members, size))
            parts.append(ops.reshape(repeated, (*lead, group.members * size)))
        return joined(parts)
    # Selections from last to first, which XLA makes part of whatever loop needs the result.
    result = ops.broadcast_to(values[..., -1:], (*lead, layout.parameters))
    position = ops.arange(layout.parameters, dtype="int32")
    for index in reversed(range(layout.tensors - 1)):
        result = ops.where(position < layout.offsets[index + 1], values[..., index : index + 1], result)
    return result
