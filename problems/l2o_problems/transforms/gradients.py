"""Transformations of the gradients on their way to the optimizer; the loss is as it was.

Shape letters: I instances, P parameters of one instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.options import Count, NonNegative
from l2o_problems.random import fold, instance_keys, instance_normal, instance_uniform
from l2o_problems.transforms.base import Transform, flat, like, under, within


@dataclass(frozen=True)
class GradientNoise(Transform):
    """N(0, deviation^2) is added to every entry of the gradient."""

    name: ClassVar[str] = "gradient_noise"
    summary: ClassVar[str] = "normal noise added to every entry of the gradient"

    deviation: NonNegative = field(default=1.0, metadata=SAMPLED)

    def draw(self, seed, instances):
        return {"key": instance_keys(seed, instances), "deviation": tf.fill([instances], float(self.deviation))}

    def perturb(self, seed, task, gradients, memory):
        gradients, memory = super().perturb(seed, task, gradients, memory)
        entries = flat(gradients)
        noise = instance_normal(fold(seed, 1), task["key"], [entries.shape[1]])
        return like(gradients, entries + task["deviation"][:, None] * noise), memory


@dataclass(frozen=True)
class SparseGradients(Transform):
    """Each entry of the gradient is zero with the given probability, at each step anew."""

    name: ClassVar[str] = "sparse_gradients"
    summary: ClassVar[str] = "most entries of the gradient set to zero at random"

    probability: NonNegative = field(default=0.99, metadata=SAMPLED)

    def __post_init__(self):
        super().__post_init__()
        if self.probability > 1:
            raise ValueError(f"probability must be at most 1, but is {self.probability!r}")

    def draw(self, seed, instances):
        return {"key": instance_keys(seed, instances), "probability": tf.fill([instances], float(self.probability))}

    def perturb(self, seed, task, gradients, memory):
        gradients, memory = super().perturb(seed, task, gradients, memory)
        entries = flat(gradients)
        kept = instance_uniform(fold(seed, 1), task["key"], [entries.shape[1]]) > task["probability"][:, None]
        return like(gradients, tf.where(kept, entries, 0.0)), memory


@dataclass(frozen=True)
class NormalizedGradients(Transform):
    """The gradient divided by its Euclidean norm: that of all of it, or that of each tensor."""

    name: ClassVar[str] = "normalized_gradients"
    summary: ClassVar[str] = "the gradient divided by its norm"

    per: Literal["global", "tensor"] = "global"

    @staticmethod
    def _normalized(entries: tf.Tensor) -> tf.Tensor:
        # Scaled by the greatest entry first, so that no square overflows or vanishes; a zero gradient stays zero.
        largest = tf.reduce_max(tf.abs(entries), axis=1, keepdims=True)
        scaled = entries / tf.where(largest > 0, largest, 1.0)
        norm = tf.reduce_sum(tf.square(scaled), axis=1, keepdims=True)
        return scaled * tf.math.rsqrt(tf.where(largest > 0, norm, 1.0))

    def perturb(self, seed, task, gradients, memory):
        gradients, memory = super().perturb(seed, task, gradients, memory)
        if self.per == "global":
            return like(gradients, self._normalized(flat(gradients))), memory
        entries = {name: tf.reshape(values, [values.shape[0], -1]) for name, values in gradients.items()}
        return {name: tf.reshape(self._normalized(entries[name]), gradients[name].shape) for name in entries}, memory


@dataclass(frozen=True)
class DelayedGradients(Transform):
    """The gradient of `delay` steps ago, as asynchronous workers send it; until there is one, that of the start."""

    name: ClassVar[str] = "delayed_gradients"
    summary: ClassVar[str] = "the gradient of some steps ago"

    delay: Count = 1  # steps

    def initial_memory(self, task, params):
        """The last gradients, oldest first, [I, delay, P], and how many steps there were, [I]."""
        instances, parameters = flat(params).shape
        own = {"queue": tf.zeros([instances, self.delay, parameters]), "steps": tf.zeros([instances])}
        return {**under("inner", super().initial_memory(task, params)), **own}

    def perturb(self, seed, task, gradients, memory):
        gradients, inner = super().perturb(seed, task, gradients, within("inner", memory))
        newest = flat(gradients)[:, None]
        queue = tf.where(memory["steps"][:, None, None] == 0, newest, memory["queue"])
        own = {"queue": tf.concat([queue[:, 1:], newest], axis=1), "steps": memory["steps"] + 1}
        return like(gradients, queue[:, 0]), {**under("inner", inner), **own}
