"""How the weights follow the meta-gradient: clipping, schedule, meta-optimizers, stages, and the running average.

Shape letters: F families of a meta-step, W entries of all weights, packed in the order of their dict.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from l2o_problems.transforms.base import under

from l2o_cli.errors import BadInput
from l2o_cli.export.keras_optimizer import LearnedOptimizer
from l2o_cli.export.resolve import resolve
from l2o_cli.graph import Graph
from l2o_cli.meta.meta_gradient import global_norm
from l2o_cli.meta.truncation import unpacked, weights_layout
from l2o_cli.optimizers.base import Weights
from l2o_cli.spec import MetaOptimizer, keras_optimizers
from l2o_cli.spec.meta_optimizers import LEARNED

FINITE = ("weights/", "average/")  # leaves of a snapshot that are; the meta-optimizer's may be beyond the greatest float
TINY = 1e-30  # keeps a norm of 0 from being divided by
RMS_DECAY = 0.99  # of the running mean of squared norms, per meta-step


def learning_rate(spec: MetaOptimizer, meta_step: int, meta_steps: int) -> float:
    """The rate of the update number `meta_step` (from 0) of `meta_steps`."""
    schedule, rate = spec.schedule, spec.learning_rate
    if spec.stages:
        rate *= spec.stages[_stage(spec, meta_step)].learning_rate_factor
    if schedule.kind == "piecewise":
        rate *= schedule.factors[bisect_right(schedule.boundaries, meta_step)]
    if meta_step < schedule.warmup:
        return rate * (meta_step + 1) / schedule.warmup
    done = min(1.0, (meta_step - schedule.warmup) / max(1, meta_steps - schedule.warmup))
    if schedule.kind == "cosine":
        rate *= schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * done))
    elif schedule.kind == "linear":
        rate *= 1 + (schedule.final - 1) * done
    elif schedule.kind == "exponential":
        rate *= schedule.final**done
    return rate


def _stage(spec: MetaOptimizer, meta_step: int) -> int:
    """Which of the stages the update number `meta_step` is in; 0 if there are none."""
    return max(0, bisect_right([stage.meta_step for stage in spec.stages], meta_step) - 1)


def combine(spec: MetaOptimizer, gradients: tf.Tensor) -> tf.Tensor:
    """The mean of the families' meta-gradients, [F, W] -> [W], each discarded, clipped or normalized as the spec says.

    One that is discarded, or zero, counts in the mean.
    """
    before = global_norm(gradients)[:, None]
    if spec.clip_value is not None:
        gradients = tf.clip_by_value(gradients, -spec.clip_value, spec.clip_value)
    norm = global_norm(gradients)[:, None]
    if spec.normalize_families:
        gradients = gradients / tf.maximum(norm, TINY)
    elif spec.clip_family_norm is not None:
        gradients = tf.where(norm > spec.clip_family_norm, gradients / tf.maximum(norm, TINY) * spec.clip_family_norm, gradients)
    if spec.discard_norm is not None:
        gradients = tf.where(before > spec.discard_norm, 0.0, gradients)
    return tf.reduce_sum(gradients / gradients.shape[0], axis=0)


def make(spec: MetaOptimizer) -> keras.optimizers.Optimizer:
    """A meta-optimizer without state yet.

    Raises:
        BadInput: there is no such learned optimizer, or it cannot be used here.
        Failure: it is damaged.
    """
    if spec.name != LEARNED:
        return keras_optimizers.make(spec)
    assert spec.checkpoint is not None
    try:
        loaded = resolve(spec.checkpoint)
        if loaded.optimizer.evaluates_elsewhere:
            raise ValueError(f"{spec.checkpoint!r} has attention, for which meta-gradients are not taken elsewhere")
        made = LearnedOptimizer(
            loaded, learning_rate=spec.learning_rate, weight_decay=spec.weight_decay or None, jit_compile=False
        )
        if made.reads_loss:
            raise ValueError(f"{spec.checkpoint!r} reads the loss, which a meta-optimizer is not shown")
        return made
    except (BadInput, ValueError) as error:
        raise BadInput(f"meta_optimizer.checkpoint: {error}") from None


class Group(NamedTuple):
    """Weights that move in the same stages, with a meta-optimizer of their own: where they are frozen it rests whole."""

    stages: frozenset[int]
    names: tuple[str, ...]
    optimizer: keras.optimizers.Optimizer


class Move(NamedTuple):
    """How an update moved the weights."""

    norm: float  # of their mean, as it was applied
    skipped: bool  # the mean was zero, or not finite: nothing moved


class WeightsInTraining:
    """The weights, their running average, and the meta-optimizer that moves them.

    Args:
        ema: decay of the average over the updates.
        initial: the weights at first, by name.
        decay: times the weights, is added to each meta-gradient that moves them, after clipping.

    Raises:
        BadInput, Failure: see `make`.
    """

    def __init__(self, spec: MetaOptimizer, ema: float, initial: Mapping[str, np.ndarray], decay: float = 0.0):
        self._spec, self._ema, self._decay = spec, ema, decay
        self._variables = {name: keras.Variable(value, name=name.replace("/", "_")) for name, value in initial.items()}
        self.average = {name: tf.constant(value) for name, value in initial.items()}
        self._groups = self._grouped(initial)
        self._rms = np.zeros(2)  # running sums of weighted squared norms, and of their weights

        def mean(gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            combined = combine(spec, gradients)
            return combined, global_norm(combined)

        # Without XLA: as fast once a meta-step, and ready in a fraction of the time.
        self._mean = Graph(mean, "mean meta-gradient", xla=False)
        stages = range(len(spec.stages) or 1)
        self._updates = [Graph(self._updating(stage), f"meta-update in stage {stage}", xla=False) for stage in stages]

    @property
    def current(self) -> Weights:
        return {name: tf.convert_to_tensor(variable.value) for name, variable in self._variables.items()}

    def apply(self, gradients: tf.Tensor, rate: float, meta_step: int) -> Move:
        """The update number `meta_step` (from 0), with the meta-gradients of the families, [F, W].

        Args:
            gradients: one row per family, packed; rows of zeros count in the mean.
            rate: see `learning_rate`.
        """
        gradient, norm = self._mean(gradients)
        norm = float(norm)
        if not 0 < norm < math.inf:
            return Move(norm, skipped=True)
        bound, stage = self._bound(norm), _stage(self._spec, meta_step)
        for group in self._groups:
            if stage in group.stages:
                # TensorFlow keeps a tensor of every Python number that it has ever converted, but not of numpy's.
                group.optimizer.learning_rate.assign(np.float32(rate))
        self.average = self._updates[stage](gradient, tf.constant(np.float32(bound / norm)), self.average)
        return Move(bound, skipped=False)

    def snapshot(self) -> dict[str, tf.Tensor]:
        """Everything that must be kept, by name."""
        leaves = under("weights", self.current) | under("average", self.average)
        leaves |= {name: tf.convert_to_tensor(variable.value) for name, variable in self._state()}
        leaves["meta_gradient_rms"] = tf.constant(self._rms)
        return leaves

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        for name, variable in self._variables.items():
            variable.assign(leaves[f"weights/{name}"])
        self.average = {name: leaves[f"average/{name}"] for name in self.average}
        for name, variable in self._state():
            variable.assign(leaves[name])
        self._rms = np.asarray(leaves["meta_gradient_rms"])

    def _grouped(self, names: Iterable[str]) -> list[Group]:
        stages = self._spec.stages
        groups: dict[frozenset[int], list[str]] = {}
        for name in names:
            own = frozenset(index for index, stage in enumerate(stages) if stage.moves(name)) if stages else frozenset({0})
            groups.setdefault(own, []).append(name)
        made = [Group(own, tuple(members), make(self._spec)) for own, members in groups.items() if own]
        for group in made:
            group.optimizer.build([self._variables[name] for name in group.names])
        return made

    def _updating(self, stage: int) -> Callable[[tf.Tensor, tf.Tensor, Weights], Weights]:
        """(combined meta-gradient [W], its scale [], average) -> the new average; the weights move on the way."""
        layout = weights_layout(self._variables)

        def update(gradient: tf.Tensor, scale: tf.Tensor, average: Weights) -> Weights:
            entries = unpacked(scale * gradient, layout)
            for group in self._groups:
                if stage in group.stages:
                    values = [(entries[name], self._variables[name].value) for name in group.names]
                    group.optimizer.apply([entry + self._decay * value for entry, value in values])
            return {name: self._averaged(average[name], variable.value) for name, variable in self._variables.items()}

        return update

    def _averaged(self, average: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        # Of a weight that never moves the average must not either, be it by rounding.
        return tf.where(average == value, value, self._ema * average + (1 - self._ema) * value)

    def _bound(self, norm: float) -> float:
        """The norm to which the mean meta-gradient, whose norm is `norm`, is clipped, which is added to the running RMS."""
        if self._spec.clip_running_rms is not None:
            squares, weights = self._rms
            if weights:  # not the first norm
                norm = min(norm, self._spec.clip_running_rms * math.sqrt(squares / weights))
            self._rms = RMS_DECAY * self._rms + (1 - RMS_DECAY) * np.array([norm**2, 1.0])
        return norm if self._spec.clip_norm is None else min(norm, self._spec.clip_norm)

    def _state(self) -> list[tuple[str, keras.Variable]]:
        """The variables of the meta-optimizers, with their names in snapshots."""
        return [
            (f"meta_optimizer/{group}/{index}", variable)
            for group, (_, _, optimizer) in enumerate(self._groups)
            for index, variable in enumerate(optimizer.variables)
        ]
