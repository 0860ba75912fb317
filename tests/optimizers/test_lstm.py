"""Coordinatewise LSTMs against Keras's cell and a second implementation: numpy, one parameter after another."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.lstm import Lstm
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.recurrent import init_lstm, lstm
from l2o_cli.optimizers.rnnprop import RnnProp
from tests.optimizers.convergence import meta_trained

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (1,)})
INSTANCES, STEPS = 2, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def perturbed(optimizer, seed=0):
    """Initial weights with noise on each of them, so that no zero hides a term."""
    rng = np.random.default_rng(seed)
    weights = optimizer.init_weights(seed)
    return {name: (value + 0.1 * rng.standard_normal(np.shape(value))).astype(np.float32) for name, value in weights.items()}


def numpy_lstm(weights, prefix, x, h, c):
    """x [F], h and c [K] -> h', c' [K]."""
    drive = weights[f"{prefix}/input"] @ x + weights[f"{prefix}/recurrent"] @ h + weights[f"{prefix}/bias"][:, 0, 0]
    i, f, a, o = np.split(drive, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(a)
    return sigmoid(o) * np.tanh(c), c


def test_cell_equals_that_of_keras():
    rng = np.random.default_rng(0)
    features, units, count = 3, 4, 5
    weights = init_lstm(rng, "cell", features, units)
    weights["cell/bias"] = weights["cell/bias"] + 0.1 * rng.standard_normal((4 * units, 1, 1)).astype(np.float32)
    inputs, hidden, cell = (rng.standard_normal((size, 1, count)).astype(np.float32) for size in (features, units, units))
    theirs = keras.layers.LSTMCell(units)
    theirs.build((count, features))
    theirs.set_weights([weights["cell/input"].T, weights["cell/recurrent"].T, weights["cell/bias"][:, 0, 0]])
    _, expected = theirs(inputs[:, 0].T, [hidden[:, 0].T, cell[:, 0].T])
    for ours, leaf in zip(lstm(weights, "cell", inputs, hidden, cell), expected, strict=True):
        np.testing.assert_allclose(ours[:, 0], np.transpose(leaf), rtol=1e-5, atol=1e-6)


def test_a_new_cell_has_the_bias_of_that_of_keras():
    theirs = keras.layers.LSTMCell(3)
    theirs.build((1, 2))
    np.testing.assert_array_equal(
        init_lstm(np.random.default_rng(0), "cell", 2, 3)["cell/bias"][:, 0, 0], theirs.get_weights()[2]
    )


class NumpyReference:
    """One parameter in float64."""

    def __init__(self, optimizer, weights):
        self.o, self.w = optimizer, {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.h, self.c = (
            [
                self.w[f"layer{layer}/initial_{part}"][:, 0, 0] if optimizer.learned_initial_state else np.zeros(optimizer.units)
                for layer in range(optimizer.layers)
            ]
            for part in ("hidden", "cell")
        )
        self.m = self.v = 0.0
        self.count = 0

    def inputs(self, g):
        o, w = self.o, self.w
        if isinstance(o, Lstm):
            p = o.preprocessing
            return np.array([np.log(abs(g)) / p, np.sign(g)] if abs(g) >= np.exp(-p) else [-1.0, np.exp(p) * g])
        self.count += 1
        self.m = o.beta_1 * self.m + (1 - o.beta_1) * g
        self.v = o.beta_2 * self.v + (1 - o.beta_2) * g**2
        root = np.sqrt(self.v / (1 - o.beta_2**self.count) + 1e-16)
        x = np.array([self.m / (1 - o.beta_1**self.count) / root, g / root])
        if not o.preprocessing_units:
            return x
        x = w["preprocessing/matrix"] @ x + w["preprocessing/bias"][:, 0, 0]
        return np.where(x > 0, x, np.expm1(x))

    def step(self, g):
        x = self.inputs(g)
        for layer in range(self.o.layers):
            x, self.c[layer] = numpy_lstm(self.w, f"layer{layer}", x, self.h[layer], self.c[layer])
            self.h[layer] = x
        out = (self.w["readout"] @ x + self.w["readout_bias"][:, 0, 0])[0]
        return self.o.output_scale * (out if isinstance(self.o, Lstm) else np.tanh(out))


VARIANTS = {
    "lstm": Lstm(units=4),
    "one layer": Lstm(units=4, layers=1, preprocessing=3.0, output_scale=0.5),
    "learned start": Lstm(units=4, learned_initial_state=True),
    "rnnprop": RnnProp(units=4, preprocessing_units=3),
    "no preprocessing": RnnProp(units=4, preprocessing_units=0, beta_1=0.9, beta_2=0.99, output_scale=0.5),
    "rnnprop with learned start": RnnProp(units=4, layers=3, learned_initial_state=True),
}


@pytest.mark.parametrize("optimizer", VARIANTS.values(), ids=VARIANTS)
def test_update_equals_numpy(optimizer):
    weights = perturbed(optimizer)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, 0)
    rng = np.random.default_rng(1)
    params = rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32)
    references = [[NumpyReference(optimizer, weights) for _ in row] for row in params]
    expected = params.astype(np.float64)
    for step in range(STEPS):
        gradients = (rng.standard_normal(params.shape) * 10.0 ** rng.uniform(-7, 2, params.shape)).astype(np.float32)
        gradients[0, 1] = 0.0
        params, state = optimizer.update(
            weights, state, params, gradients, np.ones(INSTANCES, np.float32), np.full(INSTANCES, step), LAYOUT
        )
        moves = [[one.step(float(g)) for one, g in zip(*pair, strict=True)] for pair in zip(references, gradients, strict=True)]
        expected = expected + np.array(moves)
        assert np.isfinite(params).all()  # two NaNs would count as equal
        np.testing.assert_allclose(params, expected, rtol=1e-5, atol=1e-5)
    assert all(leaf.shape[1] == INSTANCES for leaf in state.values())


@pytest.mark.parametrize("optimizer", [Lstm(), RnnProp()], ids=lambda optimizer: optimizer.name)
def test_compiled_equals_eager(optimizer):
    weights = {name: tf.constant(value) for name, value in perturbed(optimizer).items()}
    state = {name: tf.constant(leaf) for name, leaf in optimizer.init_state(weights, LAYOUT, INSTANCES, 0).items()}
    values = tf.constant(np.random.default_rng(0).standard_normal((2, INSTANCES, LAYOUT.parameters)), tf.float32)
    arguments = (weights, state, values[0], values[1], tf.ones([INSTANCES]), tf.zeros([INSTANCES], tf.int32))
    eager = optimizer.update(*arguments, LAYOUT)
    compiled = tf.function(lambda *a: optimizer.update(*a, LAYOUT), jit_compile=True, autograph=False)(*arguments)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), eager, compiled)


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("lstm", {"units": 0}, "units"),
        ("lstm", {"layers": 0}, "layers"),
        ("lstm", {"preprocessing": 0.0}, "preprocessing"),
        ("lstm", {"preprocessing": 100.0}, "preprocessing"),
        ("rnnprop", {"output_scale": 0.0}, "output_scale"),
        ("rnnprop", {"preprocessing_units": -1}, "preprocessing_units"),
        ("rnnprop", {"beta_1": 1.0}, "beta_1"),
        ("rnnprop", {"beta_2": -0.1}, "beta_2"),
    ],
)
def test_options_are_checked(name, options, field):
    with pytest.raises(ValueError, match=f"^{field} must"):
        OPTIMIZERS[name](**options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "rnnprop"])
def test_meta_training_makes_it_better(name):
    settings = {"dimension": 4, "steps": 20, "meta_steps": 60, "learning_rate": 1e-2, "xla": False, "instances": 8}
    truncation = {"distribution": "constant", "maximum": 10}
    assert meta_trained(name, {"units": 6, "layers": 1}, truncation=truncation, **settings).ratio < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "rnnprop"])
def test_two_minutes_of_meta_training_are_worth_a_factor_of_a_hundred(name):
    assert meta_trained(name, meta_steps=500, minutes=2.0).ratio < 0.01
