"""Many tensors as one packed array, so that the number of operations does not grow with the number of tensors.

Shape letters: I instances, P parameters of one instance (all tensors packed), T tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from keras import ops

Array = Any  # a tensor of whichever backend Keras runs on, or a numpy array

# Up to so many tensors, work that grows with T * P is faster than slices and concatenations, which XLA makes poor code of.
FEW_TENSORS = 8


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies in the packed axis: names and shapes (without the instance axis), in packing order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        return cls(tuple(shapes), tuple(tuple(shape) for shape in shapes.values()))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        return tuple(sum(self.sizes[:index]) for index in range(len(self.sizes)))

    @property
    def parameters(self) -> int:
        """P, the number of parameters of one instance."""
        return sum(self.sizes)

    @property
    def tensors(self) -> int:
        """T, the number of tensors."""
        return len(self.sizes)


def pack(params: Mapping[str, Array], layout: Layout) -> Array:
    """{name: [I, *shape]} -> [I, P]."""
    flat = [ops.reshape(params[name], (-1, size)) for name, size in zip(layout.names, layout.sizes, strict=True)]
    return ops.concatenate(flat, axis=1) if len(flat) > 1 else flat[0]


def unpack(packed: Array, layout: Layout) -> dict[str, Array]:
    """[I, P] -> {name: [I, *shape]}."""
    return {
        name: ops.reshape(packed[:, offset : offset + size], (-1, *shape))
        for name, shape, offset, size in zip(layout.names, layout.shapes, layout.offsets, layout.sizes, strict=True)
    }


def tensor_mean(values: Array, layout: Layout) -> Array:
    """The mean over each tensor's parameters: [..., P] -> [..., T]."""
    values = ops.convert_to_tensor(values)
    return _tensor_sum(values, layout) / ops.cast(ops.convert_to_tensor(layout.sizes), values.dtype)


def spread(values: Array, layout: Layout) -> Array:
    """One value per tensor, repeated for each of its parameters: [..., T] -> [..., P]."""

    @ops.custom_gradient
    def apply(values):
        # What would be derived from the selections is a reduction for each of them.
        return _spread(values, layout), lambda upstream: _tensor_sum(upstream, layout)

    return apply(ops.convert_to_tensor(values))


def _tensor_sum(values: Array, layout: Layout) -> Array:
    if layout.tensors == 1:
        return ops.sum(values, axis=-1, keepdims=True)
    if layout.tensors <= FEW_TENSORS:
        return ops.matmul(values, ops.cast(_membership(layout), values.dtype))
    parts = zip(layout.offsets, layout.sizes, strict=True)
    sums = [ops.sum(values[..., offset : offset + size], axis=-1, keepdims=True) for offset, size in parts]
    return ops.concatenate(sums, axis=-1)


def _membership(layout: Layout) -> Array:
    """Whether a parameter belongs to a tensor, [P, T]."""
    offsets = np.array(layout.offsets, np.int32)
    position = ops.arange(layout.parameters, dtype="int32")[:, None]
    return ops.logical_and(position >= offsets, position < offsets + np.array(layout.sizes, np.int32))


def _spread(values: Array, layout: Layout) -> Array:
    lead = tuple(values.shape[:-1])
    if layout.tensors > FEW_TENSORS:
        sizes = enumerate(layout.sizes)
        parts = [ops.broadcast_to(values[..., index : index + 1], (*lead, size)) for index, size in sizes]
        return ops.concatenate(parts, axis=-1)
    # Selections from last to first, which XLA makes part of whatever loop needs the result.
    result = ops.broadcast_to(values[..., -1:], (*lead, layout.parameters))
    position = ops.arange(layout.parameters, dtype="int32")
    for index in reversed(range(layout.tensors - 1)):
        result = ops.where(position < layout.offsets[index + 1], values[..., index : index + 1], result)
    return result
