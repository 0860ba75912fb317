"""What meta-training minimizes, as a function of the losses of a truncation.

Shape letters: K the constant bound on the steps of a truncation, I instances.
"""

from __future__ import annotations

import tensorflow as tf

from l2o_cli.spec import Objective

DIVERGED = 10.0  # the objective of a step that a diverged instance did not make, e^10 times its initial loss


def _signed_log(loss: tf.Tensor, epsilon: float) -> tf.Tensor:
    """log((loss + epsilon) / epsilon), continued to negative values as an odd function: increasing everywhere."""
    return tf.sign(loss) * tf.math.log1p(tf.abs(loss) / epsilon)


def step_objectives(objective: Objective, losses: tf.Tensor, initial_loss: tf.Tensor, bound: tf.Tensor) -> tf.Tensor:
    """log((l_t + eps) / (l_0 + eps)), or without the logarithm (l_t + eps) / (l_0 + eps).

    Here l is the distance of the loss from the problem's lower bound. Should it be negative, because that bound is not one,
    the logarithm is continued as an odd function and the ratio is what it is. Where a loss is not finite the result is NaN
    and its gradient zero.

    Args:
        losses: [K, I].
        initial_loss, bound: [I].

    Returns:
        [K, I].
    """
    finite = tf.math.is_finite(losses)
    # A second `where`: the gradient of the branch not taken must be finite too.
    distance = tf.where(finite, losses, 1.0 + bound) - bound
    start = initial_loss - bound
    if objective.log:
        values = _signed_log(distance, objective.epsilon) - _signed_log(start, objective.epsilon)
    else:
        values = (distance + objective.epsilon) / (tf.abs(start) + objective.epsilon)
    return tf.where(finite, values, float("nan"))


def truncation_objective(
    objective: Objective, losses: tf.Tensor, initial_loss: tf.Tensor, bound: tf.Tensor, steps: tf.Tensor
) -> tf.Tensor:
    """The mean over the finite steps among the first `steps`, and over the instances, []."""
    values = step_objectives(objective, losses, initial_loss, bound)
    counted = tf.math.is_finite(values) & (tf.range(losses.shape[0])[:, None] < steps)
    total = tf.reduce_sum(tf.where(counted, values, 0.0))
    return total / tf.maximum(tf.reduce_sum(tf.cast(counted, tf.float32)), 1.0)


def run_objective(objective: Objective, losses: tf.Tensor, initial_loss: tf.Tensor, bound: tf.Tensor) -> tf.Tensor:
    """The mean over all steps of a whole run, [K, I] -> [I]; the steps a diverged instance did not make count as `DIVERGED`."""
    values = step_objectives(objective, losses, initial_loss, bound)
    worst = DIVERGED if objective.log else tf.exp(DIVERGED)
    return tf.reduce_mean(tf.where(tf.math.is_finite(values), tf.minimum(values, worst), worst), axis=0)
