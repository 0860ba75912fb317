import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.meta.objectives import DIVERGED, run_objective, step_objectives, truncation_objective
from l2o_cli.spec import Objective

LOSSES = np.array([[4.0, 2.0], [2.0, 1.0], [1.0, np.nan], [7.0, 7.0]], np.float32)
INITIAL = np.array([4.0, 2.0], np.float32)
ZERO = np.zeros(2, np.float32)


def test_truncation_objective_is_the_mean_log_ratio_over_finite_steps():
    expected = (np.log(4 / 4) + np.log(2 / 4) + np.log(1 / 4) + np.log(2 / 2) + np.log(1 / 2)) / 5
    actual = truncation_objective(Objective(), LOSSES, INITIAL, ZERO, tf.constant(3))
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_without_the_log_it_is_the_mean_ratio():
    actual = truncation_objective(Objective(log=False), LOSSES, INITIAL, ZERO, tf.constant(2))
    assert float(actual) == pytest.approx((1 + 0.5 + 1 + 0.5) / 4, rel=1e-5)


def test_epsilon_bounds_the_reward_of_a_loss_of_zero():
    values = step_objectives(Objective(epsilon=1e-3), tf.zeros([1, 2]), tf.ones([2]), ZERO)
    np.testing.assert_allclose(values, np.log(1e-3 / 1.001), rtol=1e-5)


def test_losses_are_measured_from_the_lower_bound():
    bound = tf.constant([-3.0, 1.0])
    shifted = step_objectives(Objective(), LOSSES + bound, INITIAL + bound, bound)
    np.testing.assert_allclose(shifted, step_objectives(Objective(), LOSSES, INITIAL, ZERO), rtol=1e-5)


@pytest.mark.parametrize("log", [True, False])
def test_a_lower_loss_is_better_below_zero_too(log):
    losses = tf.constant([[2.0], [1e-3], [1e-8], [0.0], [-1e-8], [-1e-3], [-5.0]])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        values = step_objectives(Objective(log=log), losses, tf.constant([1.0]), tf.zeros([1]))
    assert np.all(np.diff(values.numpy()[:, 0]) < 0)
    slope = tape.gradient(values, losses).numpy()
    assert np.isfinite(slope).all() and (slope[losses.numpy() != 0] > 0).all()


def test_the_logarithm_is_continued_as_an_odd_function():
    values = step_objectives(Objective(epsilon=0.5), tf.constant([[1.5, -1.5]]), tf.zeros([2]), ZERO)
    np.testing.assert_allclose(values, [[np.log(2.0 / 0.5), -np.log(2.0 / 0.5)]], rtol=1e-5)


def test_gradient_ignores_nonfinite_losses():
    losses = tf.constant(LOSSES)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = truncation_objective(Objective(), losses, tf.constant(INITIAL), ZERO, tf.constant(3))
    expected = np.array([[1 / 4, 1 / 2], [1 / 2, 1.0], [1.0, 0.0], [0.0, 0.0]]) / 5
    np.testing.assert_allclose(tape.gradient(value, losses), expected, rtol=1e-4)


def test_run_objective_counts_steps_not_made_as_the_worst():
    actual = run_objective(Objective(), LOSSES, INITIAL, ZERO).numpy()
    assert actual[0] == pytest.approx(np.mean(np.log([1, 0.5, 0.25, 7 / 4])), rel=1e-4)
    assert actual[1] == pytest.approx(np.mean([0, np.log(0.5), DIVERGED, np.log(3.5)]), rel=1e-4)
