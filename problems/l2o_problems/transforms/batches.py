"""Transformations of the minibatches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2o_problems.options import Count, Positive
from l2o_problems.transforms.base import Transform


@dataclass(frozen=True)
class SmallerBatches(Transform):
    """The first `batch_size` examples of each training minibatch; the held-out splits stay whole."""

    name: ClassVar[str] = "smaller_batches"
    summary: ClassVar[str] = "training minibatches cut to fewer examples"

    batch_size: Count = 8

    def __post_init__(self):
        super().__post_init__()
        innermost = self.inner
        while isinstance(innermost, Transform) and not hasattr(innermost, "batch_size"):
            innermost = innermost.inner
        whole = getattr(innermost, "batch_size", None)
        if whole is None:
            raise ValueError(f"batch_size: {innermost.name} has no minibatches to make smaller")
        if self.batch_size > whole:
            raise ValueError(f"batch_size must be at most the {whole} of {innermost.name}, but is {self.batch_size}")

    def batch(self, seed, task, split):
        batch = super().batch(seed, task, split)
        return {name: leaf[:, : self.batch_size] for name, leaf in batch.items()} if split == "train" else batch


@dataclass(frozen=True)
class ScaledInputs(Transform):
    """The inputs of the model, in all splits, times `factor`, as if they were given in other units."""

    name: ClassVar[str] = "scaled_inputs"
    summary: ClassVar[str] = "inputs of the model multiplied by a factor"

    factor: Positive = 10.0

    def __post_init__(self):
        super().__post_init__()
        if not self.inner.input_leaves:
            raise ValueError(f"{self.inner.name} has no inputs to scale")

    def batch(self, seed, task, split):
        batch = super().batch(seed, task, split)
        return {**batch, **{name: batch[name] * self.factor for name in self.input_leaves}}
