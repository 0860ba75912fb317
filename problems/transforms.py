"""Problems around problems (Wichrowska et al. 2017, section 5.1): the same loss, seen by the optimizer otherwise.

Shape letter: I instances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from problems.base import Params, Problem, Task
from problems.options import require_choice, require_number
from problems.random import fold, log_uniform, normal


@dataclass(frozen=True)
class Transform(Problem):
    """A problem that is `inner` in everything its subclass does not change."""

    inner: Problem

    def __post_init__(self):
        if not isinstance(self.inner, Problem):
            raise TypeError(f"{type(self).name} transforms a problem, but got {self.inner!r}")

    @property
    def param_shapes(self):
        return self.inner.param_shapes

    def sample(self, seed, instances):
        return self.inner.sample(seed, instances)

    def initial_params(self, seed, task):
        return self.inner.initial_params(seed, task)

    def batch(self, seed, task, split):
        return self.inner.batch(seed, task, split)

    def loss(self, params, task, batch):
        return self.inner.loss(params, task, batch)

    def perturb(self, seed, gradients):
        return self.inner.perturb(seed, gradients)

    @property
    def held_out(self):
        return self.inner.held_out

    @property
    def xla(self):
        return self.inner.xla

    @property
    def minimum(self):
        return self.inner.minimum

    @property
    def source(self):
        return self.inner.source


@dataclass(frozen=True)
class Rescale(Transform):
    """The optimizer sees params / scale, the inner problem scale * params; the loss at the start is the same.

    Each instance draws its scales log-uniformly in [low, high]: one in all, one for each tensor or one for each parameter.

    The inner `perturb` is applied to the gradients that the optimizer gets, those with respect to the rescaled parameters:
    gradient noise has the deviation asked for, whether it is added inside or outside of this transformation.
    """

    name: ClassVar[str] = "rescale"
    summary: ClassVar[str] = "parameters divided by a random scale before they reach the optimizer"

    low: float = 0.1
    high: float = 10.0
    per: Literal["global", "tensor", "parameter"] = "global"

    def __post_init__(self):
        super().__post_init__()
        require_number("low", self.low, above=0.0)
        require_number("high", self.high, least=self.low)
        require_choice("per", self.per, ("global", "tensor", "parameter"))

    def sample(self, seed, instances):
        """The inner task under "inner/", a scale of shape [I, *shape] or [I, 1, ...] for each tensor under "scale/"."""
        task = {f"inner/{name}": leaf for name, leaf in self.inner.sample(fold(seed, 0), instances).items()}
        for index, (name, shape) in enumerate(self.param_shapes.items()):
            own = shape if self.per == "parameter" else (1,) * len(shape)
            tensor_seed = fold(seed, 1 if self.per == "global" else 1 + index)
            task[f"scale/{name}"] = log_uniform(tensor_seed, [instances, *own], self.low, self.high)
        return task

    @staticmethod
    def _inner_task(task: Task) -> Task:
        return {name.removeprefix("inner/"): leaf for name, leaf in task.items() if name.startswith("inner/")}

    def initial_params(self, seed, task):
        params = self.inner.initial_params(seed, self._inner_task(task))
        return {name: values / task[f"scale/{name}"] for name, values in params.items()}

    def batch(self, seed, task, split):
        return self.inner.batch(seed, self._inner_task(task), split)

    def loss(self, params, task, batch):
        scaled = {name: values * task[f"scale/{name}"] for name, values in params.items()}
        return self.inner.loss(scaled, self._inner_task(task), batch)


@dataclass(frozen=True)
class GradientNoise(Transform):
    """N(0, deviation^2) is added to every entry of the gradient that reaches the optimizer; the loss is as it was."""

    name: ClassVar[str] = "gradient_noise"
    summary: ClassVar[str] = "normal noise added to every entry of the gradient"

    deviation: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        require_number("deviation", self.deviation, least=0.0)

    def perturb(self, seed, gradients: Params) -> Params:
        gradients = self.inner.perturb(fold(seed, 0), gradients)
        sizes = [math.prod(values.shape[1:]) for values in gradients.values()]
        instances = next(iter(gradients.values())).shape[0]
        noise = tf.split(normal(fold(seed, 1), [instances, sum(sizes)], self.deviation), sizes, axis=1)
        return {
            name: values + tf.reshape(own, values.shape) for (name, values), own in zip(gradients.items(), noise, strict=True)
        }
