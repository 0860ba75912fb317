"""Minibatches of held-out data.

Shape letters: I instances, B minibatch, N examples of a split.
"""

from __future__ import annotations

import tensorflow as tf

from l2o_problems.base import Batch, Problem, Task
from l2o_problems.random import integers


def validation_minibatch(problem: Problem, seed: tf.Tensor, task: Task, like: Batch) -> Batch:
    """As many examples of the "validation" split, drawn with replacement, as the training minibatch `like` has.

    All instances get the same examples. A leaf that has no more examples than that, or no counterpart, stays whole.
    """

    def drawn(name: str, leaf: tf.Tensor) -> tf.Tensor:
        model = like.get(name)
        if model is None or leaf.shape.rank < 2 or leaf.shape[1] <= model.shape[1]:
            return leaf
        # Of the same seed: leaves with as many examples (inputs and labels) stay in line.
        part = tf.gather(leaf, integers(seed, [model.shape[1]], leaf.shape[1]), axis=1)
        # Some problems run instance after instance where the data have no instance axis.
        return tf.broadcast_to(part, [model.shape[0], *part.shape[1:]])

    return {name: drawn(name, leaf) for name, leaf in problem.batch(seed, task, "validation").items()}
