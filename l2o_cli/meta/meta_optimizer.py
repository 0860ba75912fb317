"""How the weights follow the meta-gradient: clipping, schedule, Keras's optimizers, and the running average."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from l2o_cli.meta.estimators import global_norm
from l2o_cli.optimizers.base import Weights
from l2o_cli.spec import MetaOptimizer

TINY = 1e-30  # keeps a norm of 0 from being divided by


def learning_rate(spec: MetaOptimizer, meta_step: int, meta_steps: int) -> float:
    """The rate of the update number `meta_step` (from 0) of `meta_steps`."""
    schedule = spec.schedule
    if meta_step < schedule.warmup:
        return spec.learning_rate * (meta_step + 1) / schedule.warmup
    if schedule.kind == "constant":
        return spec.learning_rate
    done = (meta_step - schedule.warmup) / max(1, meta_steps - schedule.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return spec.learning_rate * (schedule.final + (1 - schedule.final) * cosine)


def combine(spec: MetaOptimizer, gradients: Sequence[Weights]) -> Weights:
    """The mean of the families' meta-gradients, each discarded, clipped or normalized as the spec says."""
    shares = [_share(spec, gradient) for gradient in gradients]
    names = gradients[0].keys()
    mean = {name: tf.add_n([share[name] for share in shares]) / len(shares) for name in names}
    if spec.clip_norm is not None:
        shrink = tf.minimum(1.0, spec.clip_norm / tf.maximum(global_norm(mean), TINY))
        mean = {name: shrink * entry for name, entry in mean.items()}
    return mean


def _share(spec: MetaOptimizer, gradient: Weights) -> Weights:
    """What one family's meta-gradient contributes."""
    norm = global_norm(gradient)
    if spec.clip_value is not None:
        bound = spec.clip_value
        gradient = {name: tf.clip_by_value(entry, -bound, bound) for name, entry in gradient.items()}
    scale = tf.constant(1.0)
    if spec.normalize_families:
        scale = 1.0 / tf.maximum(global_norm(gradient), TINY)
    elif spec.clip_family_norm is not None:
        scale = tf.minimum(1.0, spec.clip_family_norm / tf.maximum(global_norm(gradient), TINY))
    if spec.discard_norm is not None:
        scale = tf.where(norm > spec.discard_norm, 0.0, scale)
    return {name: scale * entry for name, entry in gradient.items()}


class WeightsInTraining:
    """The weights, their running average, and the meta-optimizer that moves them."""

    def __init__(self, spec: MetaOptimizer, ema: float, initial: dict[str, np.ndarray]):
        self._spec = spec
        self._variables = {name: keras.Variable(value, name=name.replace("/", "_")) for name, value in initial.items()}
        self.average = {name: tf.constant(value) for name, value in initial.items()}
        self._keras = _keras_optimizer(spec)
        self._keras.build(list(self._variables.values()))

        def apply(gradients: Sequence[Weights], average: Weights) -> tuple[Weights, tf.Tensor]:
            gradient = combine(spec, gradients)
            pairs = [(gradient[name], variable) for name, variable in self._variables.items()]
            self._keras.apply_gradients(pairs)
            average = {name: ema * average[name] + (1 - ema) * variable.value for name, variable in self._variables.items()}
            return average, global_norm(gradient)

        self._apply = tf.function(apply, jit_compile=True, autograph=False)

    @property
    def current(self) -> Weights:
        return {name: tf.convert_to_tensor(variable.value) for name, variable in self._variables.items()}

    def apply(self, gradients: Sequence[Weights], rate: float) -> float:
        """One update with the families' meta-gradients; the norm of the combined one."""
        self._keras.learning_rate.assign(rate)
        self.average, norm = self._apply(gradients, self.average)
        return float(norm)

    def snapshot(self) -> dict[str, tf.Tensor]:
        """Everything that must be kept, by name."""
        leaves = {f"weights/{name}": value for name, value in self.current.items()}
        leaves |= {f"average/{name}": value for name, value in self.average.items()}
        for index, variable in enumerate(self._keras.variables):
            leaves[f"meta_optimizer/{index}"] = tf.convert_to_tensor(variable.value)
        return leaves

    def restore(self, leaves: dict[str, tf.Tensor]) -> None:
        for name, variable in self._variables.items():
            variable.assign(leaves[f"weights/{name}"])
        self.average = {name: leaves[f"average/{name}"] for name in self.average}
        for index, variable in enumerate(self._keras.variables):
            variable.assign(leaves[f"meta_optimizer/{index}"])


def _keras_optimizer(spec: MetaOptimizer) -> keras.optimizers.Optimizer:
    if spec.name == "rmsprop":
        return keras.optimizers.RMSprop(spec.learning_rate, rho=spec.decay, epsilon=spec.epsilon)
    moments = {"beta_1": spec.beta_1, "beta_2": spec.beta_2, "epsilon": spec.epsilon}
    if spec.name == "adamw":
        return keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay, **moments)
    return keras.optimizers.Adam(spec.learning_rate, **moments)
