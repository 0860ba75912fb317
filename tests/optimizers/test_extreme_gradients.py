"""Hand-designed optimizers stay finite, and so do their derivatives, whatever the gradients are."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.packing import Layout

HAND_DESIGNED = [name for name, cls in OPTIMIZERS.items() if not cls.learned]
LAYOUT = Layout.of({"kernel": (20, 30), "bias": (3,), "scalar": ()})
RUNS = {
    "zero": [0.0] * 4,
    "tiny": [1e-30] * 4,
    "huge": [1e30] * 20,
    "mixed": [0.0, 1e30, 1e-30, -1e30, 1.0, 0.0],
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_steps_and_meta_gradients_are_finite(name, run):
    optimizer = OPTIMIZERS[name]()
    weights = {key: tf.constant(value) for key, value in optimizer.init_weights(0).items()}
    state = {key: tf.constant(leaf) for key, leaf in optimizer.init_state(weights, LAYOUT, 1, 0).items()}
    pattern = np.random.default_rng(0).choice(np.float32([-1, 1, 0.5]), size=(1, LAYOUT.parameters))
    params = start = tf.ones([1, LAYOUT.parameters])
    for step, size in enumerate(RUNS[run]):
        gradients = tf.constant(pattern * np.float32(size))
        with tf.GradientTape() as tape:
            watched = [weights, state, params, gradients]
            tape.watch(watched)
            params, state = optimizer.update(weights, state, params, gradients, tf.ones([1]), tf.constant([step]), LAYOUT)
            total = tf.reduce_sum(params)
        slopes = tape.gradient(total, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for slope in tf.nest.flatten(slopes):
            assert np.isfinite(slope).all(), step
        for leaf in (params, *state.values()):
            assert np.isfinite(leaf).all(), step
    moved = np.abs(params - start).max()
    assert moved > 0 or run in ("zero", "tiny")


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_nan_is_not_hidden(name):
    """A gradient that is not a number must show, or a run would not be known to have diverged."""
    optimizer = OPTIMIZERS[name]()
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, LAYOUT, 1, 0)
    gradients = np.full((1, LAYOUT.parameters), np.nan, np.float32)
    params, _ = optimizer.update(weights, state, np.ones_like(gradients), gradients, np.ones(1), np.zeros(1, np.int32), LAYOUT)
    assert np.isnan(params).any()


def test_sums_of_huge_squares_stay_finite():
    optimizer, step = OPTIMIZERS["adagrad"](), np.zeros(1, np.int32)
    gradients = np.full((1, 2), 1e30, np.float32)
    state = {"sum": np.full((1, 1, 2), 3.4e38, np.float32)}
    _, state = optimizer.update(optimizer.init_weights(0), state, gradients, gradients, np.ones(1), step, Layout.of({"x": (2,)}))
    assert np.isfinite(state["sum"]).all()
