"""The RNN per tensor against a second implementation: numpy, one instance, one tensor after another."""

from dataclasses import replace

import numpy as np
import pytest

from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.tensor_rnn import TensorRnn
from tests.optimizers.convergence import meta_trained_ratio
from tests.optimizers.hrnn_reference import numpy_gru
from tests.optimizers.per_parameter import check_finite, check_meta_gradient, perturbed
from tests.optimizers.test_lstm_mlp import NumpyLosses

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,), "embedding": (5, 2)})
FANS, AXES = [(3, 2), (1, 4), (5, 2)], [2, 1, 2]
INSTANCES = 2
SMALL = TensorRnn(hidden=(4, 3), momentum_decays=(0.7, 0.95), initial_rate=0.03, rate_limit=1.5)


class NumpyReference:
    """One instance in float64."""

    def __init__(self, optimizer, weights, horizon):
        self.o, self.horizon = optimizer, horizon
        self.w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.tensors = [slice(begin, begin + size) for begin, size in zip(LAYOUT.offsets, LAYOUT.sizes, strict=True)]
        self.m, self.v = np.zeros((2, LAYOUT.parameters)), np.zeros(LAYOUT.parameters)
        self.h, self.above, self.rate = np.zeros((3, 4)), np.zeros(3), np.zeros(3)
        self.count, self.losses, self.start, self.last = 0, NumpyLosses(), None, None

    def decays(self, given, name):
        logits = np.log(np.array(given) / (1 - np.array(given))) + 10 * self.w[name].ravel()
        return 1 / (1 + np.exp(-logits))

    def update(self, theta, gradient, loss):
        o, w, count = self.o, self.w, self.count
        decays, slow = self.decays(o.momentum_decays, "momentum_decays"), self.decays([o.square_decay], "square_decay")
        old, self.m = self.m, decays[:, None] * self.m + (1 - decays[:, None]) * gradient
        self.v = slow * self.v + (1 - slow) * gradient**2
        sizes = [np.sqrt((gradient[t] ** 2).mean()) for t in self.tensors]
        self.start = sizes if count == 0 else self.start
        share = min(count / self.horizon, 1.0) if self.horizon else 0.0
        numbers = [np.log(1 + count) - 4, np.log(LAYOUT.parameters) - 7, np.log(3) - 1.5]
        run = np.concatenate([self.losses.features(np.array([loss])), [self.horizon > 0, share], 0.25 * np.array(numbers)])
        new, moves, rates = np.zeros_like(self.h), [], []
        for index, t in enumerate(self.tensors):
            m, v, g = self.m[:, t], self.v[t], gradient[t]

            def cosine(a, b):
                return (a * b).mean() / np.sqrt((a**2).mean() * (b**2).mean() + 1e-30)

            with_gradient = [0.0 if count == 0 else cosine(g, old[s, t]) for s in range(2)]
            signal = [
                (m[s] ** 2).mean() / (1 - decays[s] ** (count + 1)) ** 2 / (v.mean() / (1 - slow[0] ** (count + 1)))
                for s in range(2)
            ]
            size, (fan_in, fan_out) = np.log(np.sqrt((theta[t] ** 2).mean())), FANS[index]
            fixed = [0.25 * (np.log(fan_in) - 3), 0.25 * (np.log(fan_out) - 3), 0.25 * (np.log(fan_in * fan_out) - 6)]
            sized = [size + 0.5 * np.log(fan_in), np.log(sizes[index] / self.start[index])]
            sized.append(0.0 if count == 0 else self.last[index] - size)
            x = np.concatenate(
                [
                    [*with_gradient, cosine(m[0], m[1])],
                    np.clip(0.25 * 0.5 * np.log(signal), -4, 4),
                    [0.25 * self.rate[index], 0.25 * (self.rate[index] - self.rate.mean())],
                    [*fixed, 0.5 * (AXES[index] - 1.5), index == 2],
                    np.clip(0.25 * np.array(sized), -4, 4),
                    run,
                    self.above,
                ]
            )
            if o.unevenness:
                x = np.append(x, np.clip(0.25 * np.log(np.sqrt(v).mean() ** 2 / v.mean()), -4, 4))
            new[index] = numpy_gru(w, "tensor", x, self.h[index], 0.0)
            out = w["readout"] @ new[index] + w["readout_bias"][:, 0, 0]
            rates.append(o.rate_limit * np.tanh(out[0] / o.rate_limit))
            scaled = m / np.sqrt(v + 1e-6 * v.mean())
            candidates = [each / np.sqrt((each**2).mean()) for each in (*m, *scaled)]
            direction = sum(c * each for c, each in zip(out[1:], candidates, strict=True))
            moves.append(o.initial_rate * np.exp(rates[-1]) * direction / np.sqrt((direction**2).mean() + 1e-16))
        self.above = numpy_gru(w, "global", np.concatenate([new.mean(0), run]), self.above, 0.0)
        self.h, self.rate, self.count = new, np.array(rates), count + 1
        self.last = [np.log(np.sqrt((move**2).mean())) for move in moves]
        return theta - np.concatenate(moves)


@pytest.mark.parametrize(("told", "uneven"), [(True, False), (False, False), (True, True)])
def test_update_equals_numpy(told, uneven):
    optimizer = replace(SMALL, unevenness=uneven)
    weights, horizons = perturbed(optimizer), np.array([5, 9]) * told
    references = [NumpyReference(optimizer, weights, horizon) for horizon in horizons]
    rng = np.random.default_rng(1)
    params = rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32)
    expected = params.astype(np.float64)
    state = optimizer.with_horizons(optimizer.init_state(weights, LAYOUT, INSTANCES, 0), horizons)
    for step in range(7):
        gradients = (10.0 ** (step - 3) * rng.standard_normal(params.shape)).astype(np.float32)
        loss = np.array([2.0 - 0.2 * step, 1.0 + step], np.float32)
        params, state = optimizer.update(weights, state, params, gradients, loss, np.full(INSTANCES, step), LAYOUT)
        expected = np.stack([r.update(*of) for r, *of in zip(references, expected, gradients, loss, strict=True)])
        np.testing.assert_allclose(params, expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(np.asarray(state["log_rate"])[0], [r.rate for r in references], rtol=1e-3, atol=1e-4)


def test_steps_do_not_change_with_the_scale_of_the_loss():
    weights, rng = perturbed(SMALL), np.random.default_rng(0)
    start, gradients = rng.standard_normal((1, LAYOUT.parameters)), rng.standard_normal((5, 1, LAYOUT.parameters))
    ends = []
    for scale in (1.0, 1e-3, 1e4):
        params, state = start.astype(np.float32), SMALL.init_state(weights, LAYOUT, 1, 0)
        for step, gradient in enumerate(gradients):
            given = (scale * gradient).astype(np.float32), np.array([scale * (3 - 0.4 * step)], np.float32)
            params, state = SMALL.update(weights, state, params, *given, np.array([step]), LAYOUT)
        ends.append(np.asarray(params))
    np.testing.assert_allclose(ends[1], ends[0], rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(ends[2], ends[0], rtol=2e-3, atol=2e-4)


def test_extreme_gradients_leave_everything_finite():
    check_finite(replace(SMALL, unevenness=True), 0.0, 1e-25, 1e-8, 1e12, 1e30)


def test_meta_gradient_equals_finite_differences():
    check_meta_gradient(replace(SMALL, initial_rate=0.3, unevenness=True))


def test_a_known_length_is_told():
    state = SMALL.over(30).init_state(SMALL.init_weights(0), LAYOUT, 2, 0)
    np.testing.assert_array_equal(state["horizon"], [[[30], [30]]])
    assert SMALL.over(30).with_horizons(state, np.array([3, 4])) is state


@pytest.mark.parametrize(
    ("options", "message"), [({"hidden": (4,)}, "two sizes"), ({"momentum_decays": ()}, "at least one"), ({"steps": 0}, "steps")]
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TensorRnn(**options)


@pytest.mark.slow
def test_meta_training_makes_it_better():
    assert meta_trained_ratio("tensor_rnn") < 0.2
