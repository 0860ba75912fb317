"""Hand-designed optimizers against Keras's own."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.quadratics import Quadratic

from l2o_cli.carry import layout_of
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.elementwise import Adagrad, Adam, AdamW, Lion, Momentum, NAdamW, Nesterov, RmsProp, Sgd
from l2o_cli.rollout import Rollout, compiled_update


class NumpyNAdamW:
    """Dozat's formula with a constant momentum, in float64 and the form of his paper; Keras's Nadam has a schedule of it."""

    def __init__(self, rate, weight_decay, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.rate, self.decay, self.betas, self.epsilon = rate, weight_decay, (beta_1, beta_2), epsilon

    def build(self, variables):
        [self.variable] = variables
        self.params = self.variable.numpy().astype(np.float64)
        self.mean, self.square, self.count = 0.0, 0.0, 0

    def apply(self, gradients):
        gradient = gradients[0].numpy().astype(np.float64)
        (beta_1, beta_2), self.count = self.betas, self.count + 1
        self.mean = beta_1 * self.mean + (1 - beta_1) * gradient
        self.square = beta_2 * self.square + (1 - beta_2) * gradient**2
        now, following = 1 - beta_1**self.count, 1 - beta_1 ** (self.count + 1)
        ahead = beta_1 * self.mean / following + (1 - beta_1) * gradient / now
        unbiased = np.sqrt(self.square / (1 - beta_2**self.count))
        epsilon = self.epsilon / np.sqrt(1 - beta_2**self.count)
        self.params = self.params - self.rate * (ahead / (unbiased + epsilon) + self.decay * self.params)
        self.variable.assign(self.params.astype(np.float32))


# Ours and another's, Keras's where it has the same, with rates that go somewhere in 100 steps of the quadratic.
PAIRS = {
    "sgd": (Sgd(learning_rate=0.01), lambda: keras.optimizers.SGD(0.01)),
    "momentum": (Momentum(learning_rate=0.002), lambda: keras.optimizers.SGD(0.002, momentum=0.9)),
    "momentum, nesterov": (
        Momentum(learning_rate=0.002, nesterov=True),
        lambda: keras.optimizers.SGD(0.002, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (RmsProp(learning_rate=0.01), lambda: keras.optimizers.RMSprop(0.01)),
    "adam": (Adam(learning_rate=0.05), lambda: keras.optimizers.Adam(0.05)),
    "nesterov": (Nesterov(learning_rate=0.002), lambda: keras.optimizers.SGD(0.002, momentum=0.9, nesterov=True)),
    "adagrad": (Adagrad(learning_rate=0.3), lambda: keras.optimizers.Adagrad(0.3)),
    "adamw": (AdamW(learning_rate=0.05, weight_decay=0.1), lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1)),
    "nadamw": (NAdamW(learning_rate=0.05, weight_decay=0.1), lambda: NumpyNAdamW(0.05, weight_decay=0.1)),
    "nadamw, not nesterov": (
        NAdamW(learning_rate=0.05, weight_decay=0.1, nesterov=0.0),
        lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1),
    ),
    "lion": (Lion(learning_rate=0.02, weight_decay=0.1), lambda: keras.optimizers.Lion(0.02, weight_decay=0.1)),
}
# Those whose losses come from the same compiled loop as Keras's; the others differ from them in the update alone.
LOOPS = ("sgd", "momentum", "momentum, nesterov", "rmsprop", "adam", "adamw", "lion")
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


@functools.cache
def eager(ours):
    """The run with the hyperparameters as they are."""
    return follow(ours, ours.update, ours.init_weights(0))


def test_update_equals_the_independent_one(pair):
    ours, theirs = pair
    params, _ = eager(ours)
    variable = keras.Variable(np.ones((3, 10), np.float32))
    optimizer = theirs()
    optimizer.build([variable])
    for gradients in given_gradients():
        optimizer.apply([tf.constant(gradients)])
    assert np.abs(params - 1).max() > 1e-2
    np.testing.assert_allclose(params, variable.numpy(), rtol=1e-5, atol=1e-5)


def test_compiled_equals_eager(pair):
    ours, _ = pair
    params, state = eager(ours)
    compiled, compiled_state = follow(ours, compiled_update(ours), ours.init_weights(0))
    np.testing.assert_allclose(compiled, params, rtol=1e-5, atol=1e-5)
    for name, leaf in compiled_state.items():
        assert leaf.shape == (1, 3, 10)
        np.testing.assert_allclose(leaf, state[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOOPS)
def test_rollout_equals_training_with_keras(name):
    ours, theirs = PAIRS[name]
    weights = ours.init_weights(0)
    rollout = Rollout(PROBLEM, ours, maximum=STEPS)
    start = rollout.start(weights, seed=3, instances=3)
    end, losses = rollout(weights, start, STEPS)
    # These rules are elementwise, so one of Keras's variables may hold all instances.
    variable = keras.Variable(start.params)
    optimizer = theirs()
    optimizer.build([variable])

    @tf.function(autograph=False)
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
    default, _ = eager(ours)
    for instance, rate in enumerate(rates):
        single, _ = follow(ours, ours.update, {**weights, "learning_rate": rate})
        np.testing.assert_allclose(swept[instance], single[instance], rtol=1e-5, atol=1e-5)
        assert not np.allclose(swept[instance], default[instance], atol=1e-3)


def test_every_numeric_option_may_be_swept(pair):
    """Each hyperparameter as [I], of equal values, gives what the scalar gives."""
    ours, _ = pair
    weights = ours.init_weights(0)
    scalar, _ = eager(ours)
    vector, _ = follow(ours, compiled_update(ours), {name: np.repeat(value, 3) for name, value in weights.items()})
    np.testing.assert_allclose(vector, scalar, rtol=1e-5, atol=1e-5)


def test_weights_are_the_numeric_options():
    assert Momentum(nesterov=True).init_weights(0) == {"learning_rate": np.float32(0.01), "momentum": np.float32(0.9)}
    assert set(Sgd(learning_rate=1).init_weights(0)) == {"learning_rate"}
    assert set(RmsProp().init_weights(0)) == {"learning_rate", "rho", "epsilon"}
    assert set(Adam().init_weights(0)) == {"learning_rate", "beta_1", "beta_2", "epsilon"}
    assert set(AdamW().init_weights(0)) == {*Adam().init_weights(0), "weight_decay"}
    assert set(NAdamW().init_weights(0)) == {*AdamW().init_weights(0), "nesterov"}


def test_kinds_of_nadamw_run_together():
    """Instances with and without Nesterov's momentum, each as alone."""
    ours = NAdamW(learning_rate=0.05)
    weights = ours.init_weights(0)
    together, _ = follow(ours, ours.update, {**weights, "nesterov": np.float32([0, 1, 0.5])})
    plain, _ = follow(ours, ours.update, {**weights, "nesterov": np.float32(0)})
    ahead, _ = eager(ours)
    np.testing.assert_allclose(together[:2], [plain[0], ahead[1]], rtol=1e-5)
    assert np.abs(plain[1] - ahead[1]).max() > 1e-3
    with pytest.raises(ValueError, match="nesterov must be at most 1"):
        NAdamW(nesterov=2.0)


def test_defaults_are_those_of_keras():
    theirs = {Sgd: keras.optimizers.SGD, RmsProp: keras.optimizers.RMSprop, Adam: keras.optimizers.Adam}
    theirs |= {Adagrad: keras.optimizers.Adagrad, AdamW: keras.optimizers.AdamW, Lion: keras.optimizers.Lion}
    for cls, other in theirs.items():
        config = other().get_config()
        for name, value in cls().init_weights(0).items():
            assert value == pytest.approx(config[name] or 0.0), (cls, name)


def test_registered_by_name():
    for cls in (Sgd, Momentum, RmsProp, Adam, Nesterov, Adagrad, AdamW, NAdamW, Lion):
        assert OPTIMIZERS[cls.name] is cls
        assert cls.summary and "\n" not in cls.summary and not cls.learned
