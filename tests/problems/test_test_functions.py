"""Where the test functions are least and where they start."""

import numpy as np
import pytest
import tensorflow as tf

from problems.random import as_seed
from problems.test_functions import Ackley, Rosenbrock

CASES = [(Rosenbrock(), (1.0, 1.0), (-5, 10)), (Ackley(), (0.0, 0.0), (-32.768, 32.768))]


@pytest.mark.parametrize(("problem", "best", "bounds"), CASES)
def test_least_value_is_zero_with_no_slope(problem, best, bounds):
    params = {"x": tf.constant([best, best])}
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, {}, {})
    assert problem.minimum == 0
    np.testing.assert_array_equal(loss, 0)
    np.testing.assert_array_equal(tape.gradient(loss, params)["x"], 0)


@pytest.mark.parametrize(("problem", "best", "bounds"), CASES)
def test_never_below_its_least_value_near_it(problem, best, bounds):
    offsets = np.random.default_rng(0).normal(size=(20000, 2)) * np.logspace(-9, 0, 20000)[:, None]
    loss = problem.loss({"x": tf.constant(best + offsets, tf.float32)}, {}, {}).numpy()
    assert loss.min() >= 0


@pytest.mark.parametrize(("problem", "best", "bounds"), CASES)
def test_starts_all_over_its_range(problem, best, bounds):
    start = problem.initial_params(as_seed(1), problem.sample(as_seed(0), 20000))["x"].numpy()
    low, high = bounds
    assert low <= start.min() < low + 0.01 * (high - low) and high - 0.01 * (high - low) < start.max() <= high
    np.testing.assert_allclose(start.mean(0), (low + high) / 2, atol=0.02 * (high - low))
    assert abs(np.corrcoef(start.T)[0, 1]) < 0.03


def test_quadratic_is_zero_at_its_solution():
    from problems.quadratics import Quadratic

    problem = Quadratic(6)
    task = problem.sample(as_seed(0), 5)
    params = {"x": tf.constant(np.linalg.solve(task["w"], task["y"].numpy()[..., None])[..., 0])}
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, {})
    assert problem.minimum == 0
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, params)["x"], 0, atol=1e-3)
