"""The combination of evolution strategies and reparameterization."""

import dataclasses

import numpy as np
import tensorflow as tf

from l2o_cli.meta.estimators import inverse_variance_mean
from l2o_cli.optimizers import Sgd
from l2o_cli.optimizers.base import per_instance
from l2o_cli.spec import Objective
from tests.meta.test_estimators import HORIZON, RATE, Parabola, estimator


@dataclasses.dataclass(frozen=True)
class Ragged(Sgd):
    """Gradient descent with a weight that the objective depends on in steep little waves."""

    def init_weights(self, seed):
        return super().init_weights(seed) | {"phase": np.float32(0.3)}

    def update(self, weights, state, params, gradients, loss, step, layout):
        params, state = super().update(weights, state, params, gradients, loss, step, layout)
        return params + 0.02 * tf.sin(500 * per_instance(weights["phase"])), state


def test_combination_has_the_smaller_variance():
    # Along the rate, which is smooth, derivatives vary less; along the phase, differences do.
    problem, optimizer = Parabola(1), Ragged(learning_rate=RATE)
    weights = {name: tf.constant(value) for name, value in optimizer.init_weights(0).items()}
    variances = {}
    for name in ("es", "reparameterization", "combined"):
        objective = Objective.model_validate({"scale": "loss"})
        estimate = estimator(problem, optimizer, HORIZON, objective, name=name, sigma=0.05)
        particles = estimate.start(weights, 0, 16)
        samples = [estimate(weights, particles, tf.constant(HORIZON), seed).gradient for seed in range(60)]
        variances[name] = np.var(samples, axis=0).sum()
    assert variances["combined"] < 0.7 * min(variances["es"], variances["reparameterization"])


def test_inverse_variance_mean_by_hand():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1.0, 2.0, (50, 3)), rng.normal(1.0, 0.5, (50, 3))
    mean, share = inverse_variance_mean(tf.constant(first), tf.constant(second))
    v_first, v_second = first.var(axis=0, ddof=1) + 1e-8, second.var(axis=0, ddof=1) + 1e-8
    expected = (first.mean(axis=0) / v_first + second.mean(axis=0) / v_second) / (1 / v_first + 1 / v_second)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    np.testing.assert_allclose(share, (1 / v_first) / (1 / v_first + 1 / v_second), rtol=1e-6)
