"""What all transformations share: they are the inner problem in everything they do not change.

Shape letters: I instances, P parameters of one instance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from l2o_problems.base import Params, Problem, Task
from l2o_problems.random import fold


def under(prefix: str, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves with names below `prefix`."""
    return {f"{prefix}/{name}": leaf for name, leaf in leaves.items()}


def within(prefix: str, leaves: Mapping[str, tf.Tensor]) -> Task:
    """The leaves whose names are below `prefix`, without it."""
    return {name.removeprefix(f"{prefix}/"): leaf for name, leaf in leaves.items() if name.startswith(f"{prefix}/")}


def layers(problem: Problem) -> list[Problem]:
    """The problem, then the transformations around it, the innermost first."""
    return [*layers(problem.inner), problem] if isinstance(problem, Transform) else [problem]


def flat(tensors: Params) -> tf.Tensor:
    """{name: [I, *shape]} -> [I, P]."""
    return tf.concat([tf.reshape(values, [values.shape[0], -1]) for values in tensors.values()], axis=1)


def like(tensors: Params, entries: tf.Tensor) -> Params:
    """[I, P] -> the names and shapes of `tensors`."""
    sizes = [math.prod(values.shape[1:]) for values in tensors.values()]
    parts = tf.split(entries, sizes, axis=1)
    return {name: tf.reshape(part, values.shape) for (name, values), part in zip(tensors.items(), parts, strict=True)}


def _of_inner(name: str) -> Any:
    return property(lambda transform: getattr(transform.inner, name))


@dataclass(frozen=True)
class Transform(Problem):
    """A problem that is `inner` in everything its subclass does not change.

    Its task holds the inner task below "inner/" and, beside it, what `draw` adds. A perturbation of the inner problem is
    applied to the gradients that the optimizer gets, those with respect to the transformed params: gradient noise has the
    deviation asked for, whether it is added inside or outside of another transformation.
    """

    inner: Problem

    param_shapes = _of_inner("param_shapes")
    held_out = _of_inner("held_out")
    input_leaves = _of_inner("input_leaves")
    xla = _of_inner("xla")
    xla_on_gpu = _of_inner("xla_on_gpu")
    minimum = _of_inner("minimum")
    source = _of_inner("source")

    def __post_init__(self):
        if not isinstance(self.inner, Problem):
            raise TypeError(f"{type(self).name} transforms a problem, but got {self.inner!r}")
        super().__post_init__()

    def draw(self, seed: tf.Tensor, instances: int) -> Task:
        """What the transformation itself adds to the task, leaves [I, ...]."""
        return {}

    def inner_task(self, task: Task) -> Task:
        return within("inner", task)

    def sample(self, seed, instances):
        return {**under("inner", self.inner.sample(fold(seed, 0), instances)), **self.draw(fold(seed, 1), instances)}

    def initial_params(self, seed, task):
        return self.inner.initial_params(seed, self.inner_task(task))

    def batch(self, seed, task, split):
        return self.inner.batch(seed, self.inner_task(task), split)

    def loss(self, params, task, batch):
        return self.inner.loss(params, self.inner_task(task), batch)

    def lower_bound(self, task):
        return self.inner.lower_bound(self.inner_task(task))

    def initial_memory(self, task, params):
        return self.inner.initial_memory(self.inner_task(task), params)

    def perturb(self, seed, task, gradients, memory):
        return self.inner.perturb(fold(seed, 0), self.inner_task(task), gradients, memory)

    def displace(self, seed, task, before, after):
        return self.inner.displace(fold(seed, 0), self.inner_task(task), before, after)

    @property
    def deterministic(self):
        own = type(self)
        changed = (own.batch, own.perturb, own.displace) != (Transform.batch, Transform.perturb, Transform.displace)
        return self.inner.deterministic and not changed
