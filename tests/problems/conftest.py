"""Checks of a problem's loss and gradient against a definition of its own, in numpy and float64, for all tests of problems.

A definition is `reference(problem, params, task, batch) -> float` of one instance, whose leaves have no instance axis.
"""

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.random import as_seed

from l2o_cli.carry import start
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.rollout import Stepping, backpropagation

INSTANCES = 3


def in_float64(leaves, instance):
    """The leaves of one instance in numpy; integers stay integers."""
    arrays = {name: leaf[min(instance, leaf.shape[0] - 1)].numpy() for name, leaf in leaves.items()}
    return {name: a if a.dtype.kind in "iu" else a.astype(np.float64) for name, a in arrays.items()}


def started(problem):
    """Somewhere near the start: biases are moved off 0, small kernels grown, so that no term of the loss hides."""
    task = problem.sample(as_seed(1), INSTANCES)
    params = problem.initial_params(as_seed(2), task)
    generator = np.random.default_rng(0)
    moved = {name: p + 0.1 * generator.normal(size=p.shape).astype(np.float32) for name, p in params.items()}
    return task, moved


@pytest.fixture(scope="session")
def check_loss():
    """`check_loss(problem, reference, split)`."""

    def check(problem, reference, split="train", rtol=5e-5):
        task, params = started(problem)
        batch = problem.batch(as_seed(3), task, split)
        if split != "train":
            batch = {name: leaf[:, :40] for name, leaf in batch.items()}
        expected = [reference(problem, *(in_float64(leaves, i) for leaves in (params, task, batch))) for i in range(INSTANCES)]
        np.testing.assert_allclose(problem.loss(params, task, batch), expected, rtol=rtol, atol=1e-6, equal_nan=False)

    return check


@pytest.fixture(scope="session")
def check_gradient():
    """`check_gradient(problem, reference)`: the gradient against central differences of the reference."""

    def check(problem, reference, step=1e-7, tolerance=1e-3):
        task, params = started(problem)
        batch = problem.batch(as_seed(3), task, "train")
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        gradients = tape.gradient(loss, params)
        generator = np.random.default_rng(1)
        for instance in range(INSTANCES):
            own, own_task, own_batch = (in_float64(leaves, instance) for leaves in (params, task, batch))
            for name in own:
                gradient = gradients[name][instance].numpy().astype(np.float64)
                size = np.linalg.norm(gradient)
                # A random direction alone is all but orthogonal to the gradient of many parameters.
                direction = generator.normal(size=gradient.shape)
                direction = direction / np.linalg.norm(direction) + gradient / size
                ends = [{**own, name: own[name] + sign * step * direction} for sign in (1, -1)]
                plus, minus = (reference(problem, end, own_task, own_batch) for end in ends)
                error = abs(np.sum(gradient * direction) - (plus - minus) / (2 * step))
                assert size > 0 and error < tolerance * size, (instance, name)

    return check


@pytest.fixture(scope="session")
def check_meta_gradient():
    """`check_meta_gradient(problem, steps, xla)`: backpropagated to Adam's learning rate, against differences."""

    def check(problem, steps, xla=True, width=5e-4):
        optimizer = Adam(learning_rate=0.01)
        weights = {key: tf.constant(value) for key, value in optimizer.init_weights(0).items()}
        carry = start(problem, optimizer, weights, 2, 2)

        def value(losses, after):
            return tf.reduce_mean(tf.math.log(losses[:, 0] + 1e-6), axis=0)

        @tf.function(jit_compile=xla or None, autograph=False)
        def meta(rate):
            now = {**weights, "learning_rate": rate}
            result = backpropagation(Stepping(problem, optimizer), now, carry, steps, steps, value)
            return tf.reduce_sum(result.values), result.gradient["learning_rate"]

        rate = 0.01
        slope = (meta(tf.constant(rate + width))[0] - meta(tf.constant(rate - width))[0]) / (2 * width)
        np.testing.assert_allclose(meta(tf.constant(rate))[1], slope, rtol=0.01, equal_nan=False)

    return check
