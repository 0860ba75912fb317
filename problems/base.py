"""The problem contract: fixed shapes, random content, many instances at once.

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import tensorflow as tf

Params = dict[str, tf.Tensor]
Task = dict[str, tf.Tensor]
Batch = dict[str, tf.Tensor]
Split = Literal["train", "validation", "test"]


class Problem(abc.ABC):
    """A family of optimization problems of one shape; subclasses are frozen dataclasses whose fields are their options.

    All randomness comes from explicit seeds (see `problems.random`), so a run is a function of its spec and seed. Losses
    are written on a leading instance axis: `loss(params)[i]` depends on instance i alone.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    # Options come from YAML: a misspelt one must be an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    @property
    @abc.abstractmethod
    def param_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """{name: shape}, without the instance axis, in packing order."""

    @abc.abstractmethod
    def sample(self, seed: tf.Tensor, instances: int) -> Task:
        """Draw `instances` problems: their constants and data, every leaf with leading axis I."""

    @abc.abstractmethod
    def initial_params(self, seed: tf.Tensor, task: Task) -> Params:
        """{name: [I, *shape]}."""

    def batch(self, seed: tf.Tensor, task: Task, split: Split) -> Batch:
        """Of "train" a minibatch drawn with `seed`; of "validation" and "test" the whole split, whatever the seed.

        Leaves have the leading axis I, or 1 where all instances share them. Deterministic problems have no batches: {}.
        """
        return {}

    @abc.abstractmethod
    def loss(self, params: Params, task: Task, batch: Batch) -> tf.Tensor:
        """The loss of each instance, [I]."""

    def perturb(self, seed: tf.Tensor, gradients: Params) -> Params:
        """What reaches the optimizer of the gradients {name: [I, *shape]}: noise, sparsity. The identity by default."""
        return gradients

    @property
    def held_out(self) -> bool:
        """Whether the "validation" and "test" splits are other data than "train"."""
        return False

    @property
    def xla(self) -> bool:
        """Whether loss and gradient are faster under XLA on a CPU; convolutions are not (measured: 29 times slower)."""
        return True

    @property
    def minimum(self) -> float | None:
        """The least loss there is, when it is known and the same for all instances."""
        return None

    @property
    def source(self) -> str:
        """Where the data come from, for the record."""
        return "synthetic"
