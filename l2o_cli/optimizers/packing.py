"""Many tensors as one packed array, so that the number of operations does not grow with the number of tensors.

Shape letters: I instances, P parameters of one instance (all tensors packed), T tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras import ops

Array = Any  # a tensor of whichever backend Keras runs on, or a numpy array


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
    means = [
        ops.mean(values[..., offset : offset + size], axis=-1, keepdims=True)
        for offset, size in zip(layout.offsets, layout.sizes, strict=True)
    ]
    return ops.concatenate(means, axis=-1) if len(means) > 1 else means[0]


def spread(values: Array, layout: Layout) -> Array:
    """One value per tensor, repeated for each of its parameters: [..., T] -> [..., P]."""
    lead = tuple(values.shape[:-1])
    parts = [ops.broadcast_to(values[..., index : index + 1], (*lead, size)) for index, size in enumerate(layout.sizes)]
    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
