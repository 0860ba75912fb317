"""What holds for every optimizer with LSTMs: extreme gradients, derivatives, estimators."""

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.classifiers import LogisticRegression

from l2o_cli.carry import start
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers.lstm import Lstm
from l2o_cli.optimizers.lstm_mlp import LstmMlp
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.rnnprop import RnnProp
from l2o_cli.rollout import Stepping, backpropagation, rollout
from l2o_cli.spec import Estimator, Objective

LAYOUT = Layout.of({"kernel": (4, 3), "bias": (3,), "scalar": ()})
OPTIMIZERS = {
    "lstm": Lstm(units=3, learned_initial_state=True),
    "rnnprop": RnnProp(units=3, preprocessing_units=2),
    "lstm_mlp": LstmMlp(hidden=(4,), units=3, values=2, decays=(0.9, 0.99)),
}
RUNS = {
    "zero": [0.0] * 4,
    "tiny": [1e-30] * 4,
    "huge": [1e30] * 6,
    "mixed": [0.0, 1e30, 1e-30, -1e30, 1.0, 0.0],
    "dead half the time": [1.0, 0.0, 0.0, 1.0],
}
PROBLEM = LogisticRegression(features=2, samples=32, batch_size=4)
STEPS = 4


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def optimizer(request):
    return request.param


def noisy_weights(optimizer):
    rng = np.random.default_rng(0)
    initial = optimizer.init_weights(0).items()
    return {name: tf.constant(value + 0.1 * rng.standard_normal(np.shape(value)), tf.float32) for name, value in initial}


@pytest.mark.parametrize("run", RUNS)
def test_steps_and_meta_gradients_are_finite(optimizer, run):
    weights = noisy_weights(optimizer)
    state = {name: tf.constant(leaf) for name, leaf in optimizer.init_state(weights, LAYOUT, 1, 0).items()}
    pattern = np.random.default_rng(0).choice(np.float32([-1, 1, 0.5]), size=(1, LAYOUT.parameters))
    params = tf.zeros([1, LAYOUT.parameters])
    with tf.GradientTape() as tape:
        tape.watch((weights, params))
        end = params
        for step, size in enumerate(RUNS[run]):
            loss = tf.constant([[size], [-size]] if optimizer.reads_validation_loss else [size], tf.float32)
            gradients = tf.constant(pattern * np.float32(size)) + end * np.float32(size)
            end, state = optimizer.update(weights, state, end, gradients, loss, tf.constant([step]), LAYOUT)
    slopes = tape.gradient(end, (weights, params), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for leaf in tf.nest.flatten((end, state, slopes)):
        assert np.isfinite(leaf).all()
    assert np.abs(end).max() > 0


def test_nan_is_not_hidden(optimizer):
    """A gradient that is not a number must show, or a run would not be known to have diverged."""
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, LAYOUT, 1, 0)
    gradients = np.full((1, LAYOUT.parameters), np.nan, np.float32)
    loss = np.ones((2, 1) if optimizer.reads_validation_loss else 1, np.float32)
    params, _ = optimizer.update(weights, state, np.ones_like(gradients), gradients, loss, np.zeros(1, np.int32), LAYOUT)
    assert np.isnan(params).any()


@pytest.mark.parametrize("cls", [Lstm, RnnProp, LstmMlp])
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_an_untrained_optimizer_makes_short_steps(cls, size):
    optimizer = cls()
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, LAYOUT, 1, 0)
    params = np.ones((1, LAYOUT.parameters), np.float32)
    loss = np.ones((2, 1) if optimizer.reads_validation_loss else 1, np.float32)
    rng = np.random.default_rng(0)
    for step in range(20):
        old, gradients = params, (size * rng.standard_normal(params.shape)).astype(np.float32)
        params, state = optimizer.update(weights, state, params, gradients, loss, np.full(1, step), LAYOUT)
        assert 0 < np.abs(params - old).max() < 0.01


def test_the_meta_gradient_equals_finite_differences(optimizer):
    """Along a random direction in the space of all weights."""
    weights = noisy_weights(optimizer)
    rng = np.random.default_rng(1)
    direction = {name: tf.constant(rng.standard_normal(value.shape), tf.float32) for name, value in weights.items()}
    carry, stepping = start(PROBLEM, optimizer, weights, 0, 2), Stepping(PROBLEM, optimizer)

    def moved(distance):
        there = {name: value + distance * direction[name] for name, value in weights.items()}
        return float(tf.reduce_sum(rollout(stepping, there, carry, STEPS, STEPS)[0].params * [[1.0, -2.0, 3.0]]))

    result = backpropagation(
        stepping, weights, carry, STEPS, STEPS, lambda losses, after: tf.reduce_sum(after.params * [[1.0, -2.0, 3.0]], axis=1)
    )
    slope = sum(float(tf.reduce_sum(result.gradient[name] * direction[name])) for name in weights)
    assert all(np.any(entry != 0) for entry in result.gradient.values())
    size = 2e-3
    assert slope == pytest.approx((moved(size) - moved(-size)) / (2 * size), rel=0.02, abs=2e-4)


@pytest.mark.parametrize("name", [pytest.param("truncated_backpropagation", marks=pytest.mark.slow), "es", "pes"])
def test_estimators(optimizer, name):
    objective = MeasuredObjective(Objective(), PROBLEM)
    estimate = ESTIMATORS[name](PROBLEM, optimizer, objective, Estimator(name=name), STEPS, xla=False)
    weights = noisy_weights(optimizer)
    result = estimate(weights, estimate.start(weights, 0, 2), tf.constant(STEPS), 0)
    assert int(result.nonfinite) == 0 and float(result.norm) > 0
