"""Estimators of the meta-gradient: (weights, carry, steps) -> Estimate, pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from l2o_cli.meta.objectives import truncation_objective
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.rollout import RUNNING, Carry, compiled_update, rollout
from l2o_cli.spec import Estimator, Objective
from problems.base import Problem


class Estimate(NamedTuple):
    """What one truncation of one problem family tells."""

    gradient: Weights  # non-finite entries set to 0
    carry: Carry  # after the truncation
    meta_loss: tf.Tensor  # [], the objective over the truncation
    norm: tf.Tensor  # [], of the gradient
    nonfinite: tf.Tensor  # [] int32, entries of the gradient that were not finite
    diverged: tf.Tensor  # [] int32, instances frozen so far and not yet reset


def global_norm(gradient: Weights) -> tf.Tensor:
    """The Euclidean norm over all entries, [], finite whenever they are."""
    largest = tf.maximum(tf.reduce_max([tf.reduce_max(tf.abs(entry)) for entry in gradient.values()]), 1e-30)
    return largest * tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(entry / largest)) for entry in gradient.values()]))


class Estimating:
    """An estimator of one structure of problems: (weights, carry, steps) -> Estimate, compiled when first called."""

    def __init__(self, compiled: Callable[[Weights, Carry, tf.Tensor], Estimate]):
        self._compiled = compiled

    def trace(self, weights: Weights, carry: Carry) -> None:
        """Build the graph, without compiling it.

        XLA's cache knows a computation by the names in its graph, which TensorFlow numbers through the whole process: only
        graphs that are traced in the same order are found there again.
        """
        self._compiled.get_concrete_function(weights, carry, tf.constant(1))  # type: ignore[attr-defined]

    def __call__(self, weights: Weights, carry: Carry, steps: tf.Tensor) -> Estimate:
        result = self._compiled(weights, carry, steps)
        return result._replace(carry=result.carry._replace(task=carry.task))


def truncated_backpropagation(
    problem: Problem,
    optimizer: Optimizer,
    objective: Objective,
    spec: Estimator,
    maximum: int,
    xla: bool = True,
) -> Estimating:
    """Backpropagation through a truncation of at most `maximum` steps that starts from the carried state.

    Biased: the influence of the weights on the carried state is not counted (Wichrowska et al. 2017, section 4).
    """
    whole = xla and problem.xla
    update = compiled_update(optimizer) if xla and not whole else None

    def estimate(weights: Weights, carry: Carry, steps: tf.Tensor) -> Estimate:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            after, losses = rollout(
                problem,
                optimizer,
                weights,
                carry,
                steps,
                maximum=maximum,
                second_derivatives=spec.second_derivatives,
                divergence=spec.divergence,
                update=update,
            )
            bound = problem.lower_bound(carry.task)
            meta_loss = truncation_objective(objective, losses, after.initial_loss, bound, steps)
        gradient = tape.gradient(meta_loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        finite = {name: tf.math.is_finite(entry) for name, entry in gradient.items()}
        nonfinite = tf.add_n([tf.reduce_sum(tf.cast(~mask, tf.int32)) for mask in finite.values()])
        gradient = {name: tf.where(finite[name], entry, 0.0) for name, entry in gradient.items()}
        diverged = tf.reduce_sum(tf.cast(after.diverged != RUNNING, tf.int32))
        return Estimate(gradient, after.without_task(), meta_loss, global_norm(gradient), nonfinite, diverged)

    return Estimating(tf.function(estimate, jit_compile=True if whole else None, autograph=False))
