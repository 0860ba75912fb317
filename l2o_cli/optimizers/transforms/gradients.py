"""Transformations of the gradients that an optimizer sees.

Shape letters: I instances, P parameters of one instance, T tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from l2o_cli.optimizers.options import NonNegative, Positive
from l2o_cli.optimizers.packing import Array, Layout, constant, spread, tensor_mean
from l2o_cli.optimizers.transforms.base import Transform

LARGEST = 1e15  # entries beyond count as this where norms are taken: their squares have a finite sum in float32
SMALLEST_SQUARE = 1e-20  # of a norm: the derivative of a root at 0 would be infinite


@dataclass(frozen=True)
class Clipping(Transform):
    """Gradients are made smaller where they are too large, as in Keras: their entries, tensors, or all of them together.

    Several limits are applied in the order in which they stand here.

    Attributes:
        value: entries are clipped to [-value, value] (Keras's `clipvalue`).
        norm: tensors whose Euclidean norm is larger are scaled down to it (`clipnorm`).
        global_norm: all tensors together are scaled down to this norm (`global_clipnorm`).
    """

    name: ClassVar[str] = "clipping"
    summary: ClassVar[str] = "gradients clipped by value, by the norm of each tensor, or by the norm of all"

    value: Positive | None = None
    norm: Positive | None = None
    global_norm: Positive | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.value is None and self.norm is None and self.global_norm is None:
            raise ValueError("value, norm or global_norm must be given")

    def update(self, weights, state, params, gradients, loss, step, layout):
        if self.value is not None:
            limit = self.option(weights, "value")
            gradients = ops.minimum(ops.maximum(gradients, -limit), limit)
        if self.norm is not None or self.global_norm is not None:
            gradients = ops.clip(gradients, -LARGEST, LARGEST)
        if self.norm is not None:
            share = _share(self.option(weights, "norm"), _tensor_squares(gradients, layout))
            gradients = gradients * spread(share, layout)
        if self.global_norm is not None:
            square = ops.sum(ops.square(gradients), axis=-1, keepdims=True)
            gradients = gradients * _share(self.option(weights, "global_norm"), square)
        return super().update(weights, state, params, gradients, loss, step, layout)


def _tensor_squares(gradients: Array, layout: Layout) -> Array:
    """The sum of the squares over each tensor, [I, T]."""
    return tensor_mean(ops.square(gradients), layout) * constant(layout.sizes)


def _share(limit: Array, square: Array) -> Array:
    """What a vector with that squared norm is multiplied by, so that its norm is at most the limit."""
    return ops.minimum(limit * ops.rsqrt(ops.maximum(square, SMALLEST_SQUARE)), 1.0)


@dataclass(frozen=True)
class Regularization(Transform):
    """The derivative of l1 * sum |params| + l2 * sum params^2 is added to the gradients, taken where they are taken.

    As in Adam8p (Metz et al. 2020, "Using a thousand optimization tasks to learn hyperparameter search strategies") and in
    Keras's regularizers; the loss that is recorded is without it.
    """

    name: ClassVar[str] = "regularization"
    summary: ClassVar[str] = "the gradients of an L1 and an L2 penalty of the params are added"

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0

    def update(self, weights, state, params, gradients, loss, step, layout):
        l1, l2 = self.option(weights, "l1"), self.option(weights, "l2")
        point = self.evaluation_point(weights, state, params, layout)
        gradients = gradients + l1 * ops.sign(point) + 2 * l2 * point
        return super().update(weights, state, params, gradients, loss, step, layout)
