"""The problem contract: fixed shapes, random content, many instances at once.

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Literal

import tensorflow as tf

from l2o_problems.options import check_options

Params = dict[str, tf.Tensor]
Task = dict[str, tf.Tensor]
Batch = dict[str, tf.Tensor]
Memory = dict[str, tf.Tensor]
Split = Literal["train", "validation", "test"]

# Metadata of an option that `sample` and `initial_params` alone read. What the other methods need of it goes into the task.
SAMPLED = {"sampled": True}
# Metadata of an option that came after numbers had been measured: at its default it is not part of the identity, so that they
# still belong to the problem.
LATER = {"later": True}


def _structure(value: Any) -> Hashable:
    if isinstance(value, Problem):
        return value.structure
    return tuple(map(_structure, value)) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    """An option as text that tells it from every other value; LookupError where plain values cannot."""
    if isinstance(value, Problem):
        cls = type(value)
        # What a class from outside this package computes is not said by its options.
        if not dataclasses.is_dataclass(value) or cls.__module__.partition(".")[0] != __package__:
            raise LookupError(cls.__name__)
        fields = [one for one in dataclasses.fields(value) if one.metadata != LATER or getattr(value, one.name) != one.default]
        options = (f"{field.name}={_told(getattr(value, field.name))}" for field in fields)
        return f"{cls.__name__}({','.join(options)})"
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_told, value))}]"
    if value is None or isinstance(value, bool | str):
        return repr(value)
    if isinstance(value, int | float):
        return f"{value:.17g}"  # 1 and 1.0 are the same option
    raise LookupError(type(value).__name__)


class Problem(abc.ABC):
    """A family of optimization problems of one shape; subclasses are frozen dataclasses whose fields are their options.

    All randomness comes from explicit seeds (see `l2o_problems.random`), so a run is a function of its spec and seed. Losses
    are written on a leading instance axis: `loss(params)[i]` depends on instance i alone.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    # Options come from YAML: a misspelt one must be an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False, "arbitrary_types_allowed": True}

    def __post_init__(self) -> None:
        """Check the options: a ValueError that names the one that is wrong. Who overrides it calls it too."""
        check_options(self)

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

    def lower_bound(self, task: Task) -> tf.Tensor:
        """A number for each instance, [I], that its loss is never below on any batch: 0 unless overridden.

        Objectives that take the logarithm of the loss take it of the distance from this bound.
        """
        return tf.zeros([next(iter(task.values())).shape[0]])

    def initial_memory(self, task: Task, params: Params) -> Memory:
        """What `perturb` keeps from step to step, leaves float32 [I, ...], for params {name: [I, *shape]}; {} by default."""
        return {}

    def perturb(self, seed: tf.Tensor, task: Task, gradients: Params, memory: Memory) -> tuple[Params, Memory]:
        """What reaches the optimizer of the gradients {name: [I, *shape]}, and the new memory: noise, sparsity, delay.

        The identity by default. What an instance gets is a function of `seed` and its own task, not of its neighbors.
        """
        return gradients, memory

    def displace(self, seed: tf.Tensor, task: Task, before: Params, after: Params) -> Params:
        """Where the params are after a step from `before` to `after`, all {name: [I, *shape]}: `after` by default."""
        return after

    @property
    def structure(self) -> Hashable:
        """What the compiled inner loop depends on: the class and all options but the sampled ones (see `SAMPLED`).

        A problem of equal structure gives the same loss, batches and perturbations for the same task.
        """
        if not dataclasses.is_dataclass(self):
            return self
        fields = [field for field in dataclasses.fields(self) if field.metadata != SAMPLED]
        return (type(self), *((field.name, _structure(getattr(self, field.name))) for field in fields))

    @property
    def identity(self) -> str | None:
        """The class with all options and transformations, the same text for the same problem and no other, whatever its title.

        With `source` it says which problem a number belongs to. None where options do not tell it: a problem of one's own.
        """
        try:
            return _told(self)
        except LookupError:
            return None

    @property
    def deterministic(self) -> bool:
        """Whether the optimizer gets the gradient of one and the same loss at every step: no minibatches, no noise, no delay."""
        own = type(self)
        return own.batch is Problem.batch and own.perturb is Problem.perturb and own.displace is Problem.displace

    @property
    def held_out(self) -> bool:
        """Whether the "validation" and "test" splits are other data than "train"."""
        return False

    @property
    def input_leaves(self) -> tuple[str, ...]:
        """Names of the leaves of a batch that are inputs of a model, and nothing else: their scale is a matter of units."""
        return ()

    @property
    def xla(self) -> bool:
        """Whether loss and gradient are faster under XLA on a CPU; convolutions are not (measured: 29 times slower)."""
        return True

    @property
    def xla_on_gpu(self) -> bool:
        """Whether XLA can compile them, even where it is slower on a CPU: on a GPU everything is compiled that can be."""
        return True

    @property
    def minimum(self) -> float | None:
        """The least loss there is, when it is known and the same for all instances."""
        return None

    @property
    def source(self) -> str:
        """Where the data come from, for the record."""
        return "synthetic"

    @property
    def data_identity(self) -> str | None:
        """What tells the content of its data, where they lie in files, from any other: part of what its losses depend on."""
        return None
