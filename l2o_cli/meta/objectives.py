"""What meta-training minimizes, as a function of the losses of a truncation.

Shape letters: K the constant bound on the steps of a truncation, I instances.
"""

from __future__ import annotations

import tensorflow as tf

from l2o_cli.spec import Objective

DIVERGED = 10.0  # the objective of a step that a diverged instance did not make, e^10 times its initial loss


def step_objectives(objective: Objective, losses: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
    """log((l_t + eps) / (l_0 + eps)), or without the logarithm; losses [K, I], initial_loss [I] -> [K, I].

    Losses below zero count as zero. Where a loss is not finite the result is NaN, and its gradient is zero.
    """
    finite = tf.math.is_finite(losses)
    # A second `where` under the logarithm: the gradient of the branch not taken must be finite too.
    safe = tf.maximum(tf.where(finite, losses, 1.0), 0.0) + objective.epsilon
    start = tf.maximum(initial_loss, 0.0) + objective.epsilon
    values = tf.math.log(safe) - tf.math.log(start) if objective.log else safe / start
    return tf.where(finite, values, float("nan"))


def truncation_objective(objective: Objective, losses: tf.Tensor, initial_loss: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """The mean over the finite steps among the first `steps`, and over the instances, []."""
    values = step_objectives(objective, losses, initial_loss)
    counted = tf.math.is_finite(values) & (tf.range(losses.shape[0])[:, None] < steps)
    total = tf.reduce_sum(tf.where(counted, values, 0.0))
    return total / tf.maximum(tf.reduce_sum(tf.cast(counted, tf.float32)), 1.0)


def run_objective(objective: Objective, losses: tf.Tensor, initial_loss: tf.Tensor) -> tf.Tensor:
    """The mean over all steps of a whole run, [K, I] -> [I]; the steps a diverged instance did not make count as `DIVERGED`."""
    values = step_objectives(objective, losses, initial_loss)
    worst = DIVERGED if objective.log else tf.exp(DIVERGED)
    return tf.reduce_mean(tf.where(tf.math.is_finite(values), tf.minimum(values, worst), worst), axis=0)
