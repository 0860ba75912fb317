"""The per-tensor LSTM above an MLP against a second implementation: numpy, one instance, tensor and parameter after another."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import losses as loss_features
from l2o_cli.optimizers.lstm_mlp import LstmMlp
from l2o_cli.optimizers.packing import Layout
from tests.optimizers.convergence import meta_trained
from tests.optimizers.test_lstm import numpy_lstm, perturbed

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,), "scalar": (), "filters": (1, 2, 1, 2)})
INSTANCES, STEPS = 2, 6
SMALL = {"hidden": (5, 3), "units": 4, "values": 3}
AGES = (3, 10, 30, 100, 300, 1000, 3000, 10000, 300000)


class NumpyLosses:
    """Features of the losses of one instance."""

    def __init__(self):
        self.initial = None

    def features(self, losses):
        if self.initial is None:
            self.initial, self.fast, self.slow = np.copy(losses), np.copy(losses), np.copy(losses)
        self.fast = 0.9 * self.fast + 0.1 * losses
        self.slow = 0.99 * self.slow + 0.01 * losses
        floor = 1e-6 * abs(self.initial) + 1e-20

        def relative(a, b, floor):
            return np.arcsinh(10 * (a - b) / (abs(a) + abs(b) + floor))

        parts = [0.1 * np.log((abs(losses) + floor) / (abs(self.initial) + floor))]
        parts += [relative(losses, self.fast, floor), relative(self.fast, self.slow, floor)]
        if len(losses) == 2:
            parts.append(relative(self.fast[1:], self.fast[:1], floor[:1]))
        return np.concatenate(parts)


class NumpyReference:
    """One instance in float64."""

    def __init__(self, optimizer, weights):
        self.o, self.w = optimizer, {name: np.asarray(value, np.float64) for name, value in weights.items()}
        scales, tensors = len(optimizer.decays), len(LAYOUT.sizes)
        self.m, self.v = np.zeros((LAYOUT.parameters, scales)), np.zeros((LAYOUT.parameters, scales))
        self.h, self.c = np.zeros((tensors, optimizer.units)), np.zeros((tensors, optimizer.units))
        self.size, self.last, self.count, self.losses = np.zeros(tensors), np.zeros(tensors), 0, NumpyLosses()

    def update(self, theta, gradient, losses):
        seen = self.losses.features(losses) if len(losses) else []
        moves = [
            self.tensor(index, slice(start, start + size), theta, gradient, seen)
            for index, (start, size) in enumerate(zip(LAYOUT.offsets, LAYOUT.sizes, strict=True))
        ]
        self.count += 1
        return theta - np.concatenate(moves)

    def tensor(self, index, t, theta, gradient, seen):
        o, w = self.o, self.w
        g, value, d = gradient[t].copy(), theta[t], np.array(o.decays)
        if o.clip is not None:
            mean = (g**2).mean()
            if self.size[index] > 1e-18:
                running = self.size[index] / (1 - 0.99**self.count)
                g *= min(1, o.clip * np.sqrt(running / mean)) if mean > 0 else 1
            self.size[index] = 0.99 * self.size[index] + 0.01 * (g**2).mean()
        old = self.m[t].copy()
        self.m[t] = d * old + (1 - d) * g[:, None]
        self.v[t] = d * self.v[t] + (1 - d) * g[:, None] ** 2
        m, v = self.m[t], self.v[t]

        def log(x):
            return 0.1 * np.log(x + 1e-16)

        def rms(x):
            return np.sqrt((x**2).mean(0) + 1e-16)

        cosine = (g[:, None] * old).mean(0) / rms(g) / rms(old)
        size = log((value**2).mean())
        axes = len(LAYOUT.shapes[index])
        shape = [0.1 * np.log(len(g)), axes == 0, axes == 1, axes == 2, axes >= 3]
        age = np.tanh(self.count / np.array(AGES) - 1)
        statistics = [log((m**2).mean(0)) - log(v.mean(0)), log((g**2).mean()) - log(v.mean(0)), cosine]
        x = np.concatenate([*statistics, [size, log(self.last[index]) - size], shape, age, seen])
        assert len(x) == o.tensor_features
        self.h[index], self.c[index] = numpy_lstm(w, "lstm", x, self.h[index], self.c[index])
        values = w["values/matrix"] @ self.h[index] + w["values/bias"][:, 0, 0]

        rarity = 1 / np.sqrt(v / (v.mean(0) + 1e-16) + 1e-3)
        momenta = m / rms(m)
        outputs = []
        for p in range(len(g)):
            y = np.concatenate([[g[p] / rms(g), value[p] / rms(value)], momenta[p], rarity[p], momenta[p] * rarity[p], values])
            for layer in range(len(o.hidden) + 1):
                y = w[f"mlp/{layer}/matrix"] @ y + w[f"mlp/{layer}/bias"][:, 0, 0]
                y = np.maximum(y, 0) if layer < len(o.hidden) else y
            outputs.append(y)
        direction, exponent = np.transpose(outputs)
        if o.normalize_step:
            direction = direction / rms(direction)
        move = o.step_multiplier * direction * np.exp(o.exponent_multiplier * exponent)
        self.last[index] = (move**2).mean()
        return move


VARIANTS = {
    "default": {},
    "training loss": {"losses": "training"},
    "no losses": {"losses": "none"},
    "no clipping": {"clip": None},
    "tight clipping": {"clip": 1.5},
    "one layer, one decay": {"hidden": (5,), "decays": (0.9,)},
    "normalized, other multipliers": {"normalize_step": True, "step_multiplier": 0.3, "exponent_multiplier": 0.7},
}


def given_losses(optimizer, rng):
    """[I] or [2, I], as the rollout gives them; negative ones too."""
    shape = (2, INSTANCES) if optimizer.reads_validation_loss else (INSTANCES,)
    return (rng.standard_normal(shape) + 0.5).astype(np.float32)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_update_equals_numpy(options):
    optimizer = LstmMlp(**SMALL | options)
    weights = perturbed(optimizer)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=0)
    shapes = {name: leaf.shape for name, leaf in state.items()}
    references = [NumpyReference(optimizer, weights) for _ in range(INSTANCES)]
    rng = np.random.default_rng(1)
    params = rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32)
    expected = params.astype(np.float64)
    for step in range(STEPS):
        gradients = rng.standard_normal(params.shape).astype(np.float32) * 10.0 ** (step % 3 - 1)
        gradients[0, :6] = 0.0 if step < 2 else gradients[0, :6]  # a tensor whose gradients begin late
        loss = given_losses(optimizer, rng)
        params, state = optimizer.update(weights, state, params, gradients, loss, np.full(INSTANCES, step), LAYOUT)
        rows = {"none": np.zeros((INSTANCES, 0)), "training": loss[..., None], "both": loss.T}[optimizer.losses].astype(
            np.float64
        )
        expected = np.stack([r.update(*args) for r, *args in zip(references, expected, gradients, rows, strict=True)])
        assert np.isfinite(params).all()  # two NaNs would count as equal
        np.testing.assert_allclose(params, expected, rtol=1e-4, atol=1e-3 * optimizer.step_multiplier)
    assert {name: leaf.shape for name, leaf in state.items()} == shapes


def run(optimizer, weights, gradients, losses):
    """Params after given gradients [steps, I, P] and losses [steps, ...]."""
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=0)
    params = np.ones(gradients.shape[1:], np.float32)
    for step, (gradient, loss) in enumerate(zip(gradients, losses, strict=True)):
        params, state = optimizer.update(weights, state, params, gradient, loss, np.full(INSTANCES, step), LAYOUT)
    return np.asarray(params)


def test_a_multiple_of_the_loss_makes_the_same_steps():
    optimizer = LstmMlp(**SMALL)
    weights = perturbed(optimizer)
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((STEPS, INSTANCES, LAYOUT.parameters)).astype(np.float32)
    losses = np.stack([given_losses(optimizer, rng) for _ in range(STEPS)])
    expected = run(optimizer, weights, gradients, losses)
    for factor in np.float32([0.1, 1e4]):
        np.testing.assert_allclose(run(optimizer, weights, factor * gradients, factor * losses), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(run(optimizer, weights, gradients, losses[::-1]) - expected).max() > 1e-4  # so the losses count


def test_a_gradient_out_of_the_blue_is_scaled_down():
    quiet = np.ones((STEPS, INSTANCES, LAYOUT.parameters), np.float32)
    loud = quiet.copy()
    loud[3] *= 1e6
    clipped = quiet.copy()
    clipped[3] *= 10
    for clip, same in ((10.0, True), (None, False)):
        optimizer = LstmMlp(**SMALL, clip=clip, losses="none", step_multiplier=1.0)
        weights = perturbed(optimizer)
        ends = [run(optimizer, weights, gradients, np.ones((STEPS, INSTANCES), np.float32)) for gradients in (loud, clipped)]
        assert np.allclose(*ends, atol=1e-5) == same


def test_features_of_losses_by_hand():
    seen = [np.array([[[8.0]], [[2.0]]], np.float32), np.array([[[4.0]], [[2.0]]], np.float32)]
    averages = loss_features.initial_averages(2, 1)
    for index, losses in enumerate(seen):
        averages = loss_features.averaged(averages, losses, np.full((1, 1, 1), index == 0))
    np.testing.assert_allclose(np.ravel(averages), [8, 2, 7.6, 2, 7.96, 2], rtol=1e-6)
    result = np.ravel(loss_features.loss_features(averages, seen[1]))
    relative = [(4 - 7.6) / 11.6, 0, (7.6 - 7.96) / 15.56, 0, (2 - 7.6) / 9.6]
    np.testing.assert_allclose(result, [0.1 * np.log(0.5), 0, *np.arcsinh(10 * np.array(relative))], rtol=1e-4, atol=1e-6)


def test_features_of_extreme_losses_are_finite_and_so_are_their_derivatives():
    for initial in (0.0, 1e-30, 1.0, 1e30, np.inf):
        for latest in (0.0, 1e-30, -1.0, 1e30, np.inf, -np.inf):
            first, last = (tf.constant([[[value]], [[value]]], tf.float32) for value in (initial, latest))
            with tf.GradientTape() as tape:
                tape.watch((first, last))
                averages = loss_features.averaged(loss_features.initial_averages(2, 1), first, np.full((1, 1, 1), True))
                averages = loss_features.averaged(averages, last, np.full((1, 1, 1), False))
                result = loss_features.loss_features(averages, last)
            assert np.isfinite(result).all() and np.abs(result).max() < 12
            assert all(np.isfinite(slope).all() for slope in tape.gradient(result, (first, last)))


@pytest.mark.parametrize(
    "options",
    [{"hidden": ()}, {"units": 0}, {"values": 0}, {"decays": (1.0,)}, {"losses": "all"}, {"clip": 0.5}, {"step_multiplier": 0.0}],
    ids=lambda options: next(iter(options)),
)
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must"):
        LstmMlp(**options)


def test_it_asks_for_the_losses_that_it_reads():
    assert [LstmMlp(losses=losses).reads_validation_loss for losses in ("none", "training", "both")] == [False, False, True]
    assert [LstmMlp(losses=losses).tensor_features for losses in ("none", "training", "both")] == [28, 31, 35]
    assert LstmMlp().features == 14


def test_compiled_equals_eager():
    optimizer = LstmMlp(**SMALL)
    weights = {name: tf.constant(value) for name, value in perturbed(optimizer).items()}
    state = {name: tf.constant(leaf) for name, leaf in optimizer.init_state(weights, LAYOUT, INSTANCES, 0).items()}
    values = tf.constant(np.random.default_rng(0).standard_normal((2, INSTANCES, LAYOUT.parameters)), tf.float32)
    arguments = (weights, state, values[0], values[1], tf.ones([2, INSTANCES]), tf.zeros([INSTANCES], tf.int32))
    eager = optimizer.update(*arguments, LAYOUT)
    compiled = tf.function(lambda *a: optimizer.update(*a, LAYOUT), jit_compile=True, autograph=False)(*arguments)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), eager, compiled)


@pytest.mark.slow
def test_meta_training_makes_it_better():
    settings = {"dimension": 4, "steps": 20, "meta_steps": 60, "learning_rate": 1e-2, "xla": False, "instances": 8}
    options = {"hidden": (8,), "units": 4, "values": 3, "decays": (0.9,), "step_multiplier": 0.1}
    assert meta_trained("lstm_mlp", options, truncation={"distribution": "constant", "maximum": 10}, **settings).ratio < 0.5


@pytest.mark.slow
def test_two_minutes_of_meta_training_are_worth_a_factor_of_a_hundred():
    assert meta_trained("lstm_mlp", meta_steps=500, minutes=2.0).ratio < 0.01
