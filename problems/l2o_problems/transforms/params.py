"""Transformations of the params: other coordinates, fewer of them, noise and rounding.

Shape letters: I instances, P parameters of one instance of the inner problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import tensorflow as tf

from l2o_problems.base import SAMPLED, Params
from l2o_problems.options import Count, NonNegative, Positive, require_number
from l2o_problems.random import fold, instance_keys, instance_normal, log_uniform, normal
from l2o_problems.transforms.base import Transform, like, under


@dataclass(frozen=True)
class Rescale(Transform):
    """The optimizer sees scale * params of the inner problem; the loss at the start is the same (Wichrowska et al. 2017).

    Each instance draws its scales log-uniformly in [low, high]: one in all, one for each tensor or one for each parameter.
    With low = high the scale is fixed.
    """

    name: ClassVar[str] = "rescale"
    summary: ClassVar[str] = "parameters multiplied by a fixed or random scale before they reach the optimizer"

    low: Positive = field(default=0.1, metadata=SAMPLED)
    high: float = field(default=10.0, metadata=SAMPLED)
    per: Literal["global", "tensor", "parameter"] = "global"

    def __post_init__(self):
        super().__post_init__()
        require_number("high", self.high, least=self.low)

    def draw(self, seed, instances):
        """A scale of shape [I, *shape] or [I, 1, ...] for each tensor under "scale/"."""
        scales = {}
        for index, (name, shape) in enumerate(self.param_shapes.items()):
            own = shape if self.per == "parameter" else (1,) * len(shape)
            tensor_seed = fold(seed, 0 if self.per == "global" else index)
            scales[name] = log_uniform(tensor_seed, [instances, *own], self.low, self.high)
        return under("scale", scales)

    def initial_params(self, seed, task):
        params = super().initial_params(seed, task)
        return {name: values * task[f"scale/{name}"] for name, values in params.items()}

    def loss(self, params, task, batch):
        return super().loss({name: values / task[f"scale/{name}"] for name, values in params.items()}, task, batch)


@dataclass(frozen=True)
class RandomSubspace(Transform):
    """The optimizer moves in a random linear subspace through the start (Li et al. 2018, intrinsic dimension).

    params of the inner problem = start + directions' z, with z of `dimension` entries, 0 at first, and one random direction
    of unit length for each. The start belongs to the task: it changes with the instance, not with the seed of the params.
    """

    name: ClassVar[str] = "random_subspace"
    summary: ClassVar[str] = "optimized in a random linear subspace through the start"
    minimum = None  # the inner one need not lie in the subspace

    dimension: Count = 10

    @property
    def param_shapes(self):
        return {"z": (self.dimension,)}

    def sample(self, seed, instances):
        """Beside the inner task: the start of each tensor under "start/" and the directions [I, dimension, P]."""
        task = super().sample(seed, instances)
        size = sum(map(math.prod, self.inner.param_shapes.values()))
        directions = normal(fold(seed, 2), [instances, self.dimension, size])
        start = self.inner.initial_params(fold(seed, 3), self.inner_task(task))
        return {**task, **under("start", start), "directions": tf.math.l2_normalize(directions, axis=-1)}

    def initial_params(self, seed, task):
        return {"z": tf.zeros([task["directions"].shape[0], self.dimension])}

    def loss(self, params, task, batch):
        start = {name: task[f"start/{name}"] for name in self.inner.param_shapes}
        moved = like(start, tf.matmul(params["z"][:, None], task["directions"])[:, 0])
        return super().loss({name: start[name] + moved[name] for name in start}, task, batch)


@dataclass(frozen=True)
class ParameterNoise(Transform):
    """Normal noise on every param after each step, `scale` times the RMS of its tensor's step (Wichrowska et al. 2017, appendix).

    It keeps small problems informative late in a run.
    """

    name: ClassVar[str] = "parameter_noise"
    summary: ClassVar[str] = "normal noise on the parameters, in proportion to each step"

    scale: NonNegative = field(default=0.1, metadata=SAMPLED)

    def draw(self, seed, instances):
        return {"key": instance_keys(seed, instances), "scale": tf.fill([instances], float(self.scale))}

    def displace(self, seed, task, before: Params, after: Params):
        after = super().displace(seed, task, before, after)
        displaced = {}
        for index, (name, values) in enumerate(after.items()):
            axes = list(range(1, len(values.shape)))
            mean_square = tf.reduce_mean(tf.square(values - before[name]), axis=axes, keepdims=True)
            # The root has no derivative where nothing moved.
            moved = mean_square > 0
            size = tf.where(moved, tf.sqrt(tf.where(moved, mean_square, 1.0)), 0.0)
            noise = instance_normal(fold(seed, 1 + index), task["key"], values.shape[1:])
            displaced[name] = values + tf.reshape(task["scale"], [-1, *[1] * len(axes)]) * size * noise
        return displaced


def _round(mantissa: int):
    """Rounding to a mantissa of so many bits, to nearest even; the gradient is rounded likewise."""
    dropped = 23 - mantissa

    @tf.custom_gradient
    def rounded(values: tf.Tensor):
        # Written on the bits: XLA takes a cast to a narrower type and back for nothing, and leaves it out.
        bits = tf.bitcast(values, tf.int32)
        odd = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, dropped), 1)
        bits = bits + (2 ** (dropped - 1) - 1) + odd
        kept = tf.bitcast(tf.bitwise.bitwise_and(bits, -(2**dropped)), tf.float32)
        # The addition would carry a NaN or an infinity into something else.
        return tf.where(tf.math.is_finite(values), kept, values), rounded

    return rounded


@dataclass(frozen=True)
class ReducedPrecision(Transform):
    """Params and gradients are rounded to `mantissa` bits where the inner problem sees and gives them: 7 as in bfloat16.

    What is optimized stays float32, as it does in mixed-precision training.
    """

    name: ClassVar[str] = "reduced_precision"
    summary: ClassVar[str] = "parameters and gradients rounded to few bits"

    mantissa: Count = 7  # bits, of 23 in float32 and 10 in float16

    def __post_init__(self):
        super().__post_init__()
        if self.mantissa > 22:
            raise ValueError(f"mantissa must be at most 22 bits, but is {self.mantissa}")

    def loss(self, params, task, batch):
        rounded = _round(self.mantissa)
        return super().loss({name: rounded(values) for name, values in params.items()}, task, batch)
