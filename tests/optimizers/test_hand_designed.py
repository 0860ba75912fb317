"""Hand-designed optimizers against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.adam import Adam
from l2o_cli.optimizers.momentum import Momentum
from l2o_cli.optimizers.rmsprop import RmsProp
from l2o_cli.optimizers.sgd import Sgd
from l2o_cli.rollout import Rollout, compiled_update, layout_of
from problems.quadratics import Quadratic

# Ours and Keras's, with rates that go somewhere in 100 steps of the quadratic.
PAIRS = {
    "sgd": (Sgd(learning_rate=0.01), lambda: keras.optimizers.SGD(0.01)),
    "momentum": (Momentum(learning_rate=0.002), lambda: keras.optimizers.SGD(0.002, momentum=0.9)),
    "nesterov": (
        Momentum(learning_rate=0.002, nesterov=True),
        lambda: keras.optimizers.SGD(0.002, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (RmsProp(learning_rate=0.01), lambda: keras.optimizers.RMSprop(0.01)),
    "adam": (Adam(learning_rate=0.05), lambda: keras.optimizers.Adam(0.05)),
}
STEPS = 100
PROBLEM = Quadratic(dimension=10)


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


def given_gradients():
    """[100, 3, 10]: noise around a drifting mean, of sizes from 1e-3 to 10, the same for ours and Keras's.

    Along a trajectory of their own, the normalised rules would amplify rounding near a zero of the gradient.
    """
    rng = np.random.default_rng(5)
    scale = 10.0 ** rng.uniform(-3, 1, size=(3, 10))
    return (scale * (rng.normal(size=(STEPS, 3, 10)) + np.linspace(1, -1, STEPS)[:, None, None])).astype("float32")


def follow(optimizer, update, weights):
    """Params [3, 10] and state after the given gradients."""
    layout = layout_of(PROBLEM)
    state = optimizer.init_state(weights, layout, 3, 0)
    state = {name: tf.constant(leaf) for name, leaf in state.items()}
    params = tf.ones([3, 10])
    for step, gradients in enumerate(given_gradients()):
        step = tf.fill([3], step)
        params, state = update(weights, state, params, tf.constant(gradients), tf.zeros([3]), step, layout)
    return params.numpy(), state


def test_update_equals_keras(pair):
    ours, theirs = pair
    params, _ = follow(ours, ours.update, ours.init_weights(0))
    variable = keras.Variable(np.ones((3, 10), np.float32))
    optimizer = theirs()
    optimizer.build([variable])
    for gradients in given_gradients():
        optimizer.apply([tf.constant(gradients)])
    assert np.abs(params - 1).max() > 1e-2
    np.testing.assert_allclose(params, variable.numpy(), rtol=1e-5, atol=1e-5)


def test_compiled_equals_eager(pair):
    ours, _ = pair
    eager, eager_state = follow(ours, ours.update, ours.init_weights(0))
    compiled, compiled_state = follow(ours, compiled_update(ours), ours.init_weights(0))
    np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-5)
    for name, leaf in compiled_state.items():
        assert leaf.shape == (1, 3, 10)
        np.testing.assert_allclose(leaf, eager_state[name], rtol=1e-5, atol=1e-6)


def test_rollout_equals_training_with_keras(pair):
    ours, theirs = pair
    weights = ours.init_weights(0)
    rollout = Rollout(PROBLEM, ours, maximum=STEPS)
    start = rollout.start(weights, seed=3, instances=3)
    end, losses = rollout(weights, start, STEPS)
    # These rules are elementwise, so one of Keras's variables may hold all instances.
    variable = keras.Variable(start.params)
    optimizer = theirs()
    optimizer.build([variable])

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            loss = PROBLEM.loss({"x": variable.value}, start.task, {})
        optimizer.apply([tape.gradient(loss, variable.value)])
        return loss

    expected = np.stack([train().numpy() for _ in range(STEPS)])
    # Later the normalised rules dance around the minimum, where rounding decides the way.
    np.testing.assert_allclose(losses[:30], expected[:30], rtol=1e-3, atol=1e-4)
    assert (losses[-1] < 0.7 * losses[0]).numpy().all() and (end.step == STEPS).numpy().all()


def test_sweep_equals_single_rates(pair):
    ours, _ = pair
    weights = ours.init_weights(0)
    rates = weights["learning_rate"] * np.float32([0.1, 0.5, 2.0])
    swept, _ = follow(ours, compiled_update(ours), {**weights, "learning_rate": rates})
    for instance, rate in enumerate(rates):
        single, _ = follow(ours, ours.update, {**weights, "learning_rate": rate})
        np.testing.assert_allclose(swept[instance], single[instance], rtol=1e-5, atol=1e-5)
        default, _ = follow(ours, ours.update, weights)
        assert not np.allclose(swept[instance], default[instance], atol=1e-3)


def test_every_numeric_option_may_be_swept(pair):
    """Each hyperparameter as [I], of equal values, gives what the scalar gives."""
    ours, _ = pair
    weights = ours.init_weights(0)
    scalar, _ = follow(ours, ours.update, weights)
    vector, _ = follow(ours, compiled_update(ours), {name: np.repeat(value, 3) for name, value in weights.items()})
    np.testing.assert_allclose(vector, scalar, rtol=1e-5, atol=1e-5)


def test_weights_are_the_numeric_options():
    assert Momentum(nesterov=True).init_weights(0) == {"learning_rate": np.float32(0.01), "momentum": np.float32(0.9)}
    assert set(Sgd(learning_rate=1).init_weights(0)) == {"learning_rate"}
    assert set(RmsProp().init_weights(0)) == {"learning_rate", "rho", "epsilon"}
    assert set(Adam().init_weights(0)) == {"learning_rate", "beta_1", "beta_2", "epsilon"}


def test_default_rates_are_those_of_keras():
    for cls, theirs in ((Sgd, keras.optimizers.SGD), (RmsProp, keras.optimizers.RMSprop), (Adam, keras.optimizers.Adam)):
        assert cls().learning_rate == pytest.approx(float(theirs().learning_rate))


def test_registered_by_name():
    for name, cls in (("sgd", Sgd), ("momentum", Momentum), ("rmsprop", RmsProp), ("adam", Adam)):
        assert OPTIMIZERS[name] is cls
        assert cls.summary and "\n" not in cls.summary and not cls.learned
