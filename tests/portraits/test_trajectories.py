"""What is drawn over a surface: the params of each step, starts, tuning, the range and its levels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.carry import draw
from l2o_cli.portraits.landscape import Landscape, grid_points, levels, minimizers, shown
from l2o_cli.portraits.portrait import parameter_names
from l2o_cli.portraits.surface_plot import run_label
from l2o_cli.portraits.trajectories import trajectories
from l2o_cli.rollout import Rollout
from l2o_cli.runs.update_rules import started
from l2o_cli.spec import parse_problems
from l2o_cli.spec.building import make_optimizer


def contender(name):
    optimizer = make_optimizer(name)
    return SimpleNamespace(label=name, optimizer=optimizer, weights=optimizer.init_weights(0), source="here")


def problem_of(text):
    return parse_problems(text)[0].make()


NOISY = "rosenbrock+delayed_gradients(delay=2)+gradient_noise(deviation=0.5)"


@pytest.mark.parametrize("name", ["adam", "hrnn"])
def test_points_are_the_params_of_a_longer_rollout(name):
    """With noise and a memory: the same seed, minibatches and noise as one compiled loop."""
    problem, one = problem_of(NOISY), contender(name)
    [run] = trajectories(problem, one, name, None, 12, seed=3)
    weights = one.weights if run.tuning is None else {**one.weights, "learning_rate": np.float32(run.tuning.rate)}
    rollout = Rollout(problem, one.optimizer, maximum=12)
    carry = started(rollout, weights, 3)
    assert run.points.shape == (13, 2) and run.diverged_at is None
    np.testing.assert_array_equal(run.points[0], carry.params[0])
    for step in (1, 5, 12):
        np.testing.assert_allclose(run.points[step], rollout(weights, carry, step)[0].params[0], rtol=1e-4)
    assert len(np.unique(run.points, axis=0)) == 13


def test_sgd_on_the_valley_against_numpy():
    """The best rate for each start, of those on the grid, and the way to the nearest minimum."""
    starts, steps = np.array([[2.0, 0.0], [0.0, -1.5]]), 8
    runs = trajectories(problem_of("valley"), contender("sgd"), "sgd", starts, steps, seed=0)
    for run, start in zip(runs, starts, strict=True):
        ways = {}
        for rate in run.tuning.rates:
            x = [start]
            for _ in range(steps):
                difference = x[-1][0] - x[-1][1]
                x.append(x[-1] - rate * difference * np.array([1, -1]))
            ways[rate] = np.array(x)
        best = min(ways, key=lambda rate: abs(ways[rate][-2, 0] - ways[rate][-2, 1]))
        assert len(run.tuning.rates) == 15 and run.tuning.rate == best
        np.testing.assert_allclose(run.points, ways[best], atol=1e-5)
        np.testing.assert_allclose(run.points[-1], start.mean(), atol=0.01)
    assert run_label(runs) == "sgd, learning rate 0.316, best of 15 on each start"


def test_a_diverged_run_ends_at_its_last_good_point(monkeypatch):
    monkeypatch.setattr("l2o_cli.portraits.trajectories.grid", lambda count, default: [1e30])
    [run] = trajectories(problem_of("rosenbrock"), contender("sgd"), "sgd", np.array([[2.0, 1.0]]), 20, seed=0)
    assert run.diverged_at is not None and len(run.points) == run.diverged_at + 1 < 21
    assert np.isfinite(run.points).all() and f"diverged at step {run.diverged_at}" in run_label([run])


def test_learned_optimizers_have_the_same_run_from_each_start_as_alone():
    problem, one = problem_of(NOISY), contender("hrnn")
    starts = np.array([[1.0, 2.0], [-1.0, 0.5]])
    together = trajectories(problem, one, "hrnn", starts, 6, seed=1)
    [alone] = trajectories(problem, one, "hrnn", starts[1:], 6, seed=1)
    np.testing.assert_allclose(together[1].points, alone.points, rtol=1e-4)
    assert not np.array_equal(together[0].points - starts[0], together[1].points - starts[1])


def landscape_of(text):
    problem = problem_of(text)
    return problem, Landscape(problem, draw(problem, 0, 1).task)


def test_the_surface_is_the_loss_without_noise():
    _, landscape = landscape_of(NOISY)
    x, y, points = grid_points(np.array([-2.0, 0.0]), np.array([1.0, 4.0]), 80)
    losses = landscape(points).reshape(80, 80)
    np.testing.assert_allclose(losses, (1 - x[None]) ** 2 + 100 * (y[:, None] - x[None] ** 2) ** 2, rtol=1e-3, atol=1e-3)


def test_the_surface_of_minibatches_is_a_fixed_mean_of_them():
    _, landscape = landscape_of("projection_quadratic(dimension=2,samples=30,batch_size=10)")
    points = np.random.default_rng(0).normal(size=(5, 2))
    losses = landscape(points)
    np.testing.assert_array_equal(losses, landscape(points))
    # A quadratic form: twice as far is four times the loss.
    np.testing.assert_allclose(landscape(2 * points), 4 * losses, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "low", "high", "expected"),
    [
        ("rosenbrock", (-5, -5), (10, 10), [(1, 1)]),
        ("ackley", (-8, -8), (10, 9), [(0, 0)]),
        ("branin", (-5, 0), (10, 15), [(-np.pi, 12.275), (np.pi, 2.275), (3 * np.pi, 2.475)]),
        ("styblinski_tang", (-5, -5), (5, 5), [(-2.903534, -2.903534)]),
        ("booth+rescale(low=10,high=10)", (-100, -100), (100, 100), [(10, 30)]),
        ("rosenbrock", (-5, -5), (0, 10), []),  # outside
        ("valley", (-1, -1), (1, 1), []),  # a line
        ("saddle", (-1, -1), (1, 1), []),  # unknown
    ],
)
def test_minimizers(text, low, high, expected):
    problem, landscape = landscape_of(text)
    found = minimizers(landscape, problem.minimum, np.array(low, float), np.array(high, float))
    order = np.argsort(found[:, 0])
    np.testing.assert_allclose(found[order], np.reshape(expected, (-1, 2)), atol=2e-2)


def test_the_range_contains_all_points_and_the_minima_nearby():
    points = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 3.0]
    near, far = np.array([2.0, 12.0]), np.array([300.0, 0.0])
    low, high, equal = shown(points, np.stack([near, far]))
    assert equal and (points > low).all() and (points < high).all()
    assert (near > low).all() and (near < high).all() and high[0] < 100
    np.testing.assert_allclose(high[0] - low[0], high[1] - low[1])
    low, high, equal = shown(points * [1.0, 1e4], np.empty((0, 2)))
    assert not equal and (points * [1.0, 1e4] > low).all() and (points * [1.0, 1e4] < high).all()
    for still in ([[1.0, 1.0]] * 3, [[0.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.1], [2.0, 0.1 + 1e-6]]):
        low, high, equal = shown(np.array(still), np.empty((0, 2)))
        assert equal and (still > low).all() and (still < high).all()


def test_levels_are_logarithmic_where_losses_are_positive_and_differ_much():
    values, logarithmic = levels(np.concatenate([np.geomspace(1e-3, 1e4, 5000), [0.0, 1e-30, np.inf, np.nan]]))
    assert logarithmic and values[-1] == pytest.approx(1e4) and 1e-3 <= values[0] < 1.1e-3
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(values[1] / values[0]))
    for losses in ([-1.0, 5.0], [2.0, 2.5], [3.0, 3.0], [0.0, 0.0]):
        values, logarithmic = levels(np.array(losses))
        assert not logarithmic and values[0] <= losses[0] and values[-1] >= losses[1] and (np.diff(values) > 0).all()


def test_parameters_are_named_in_packing_order():
    names = parameter_names(problem_of("logistic_regression(features=2)"))
    shapes = problem_of("logistic_regression(features=2)").param_shapes
    assert len(names) == sum(int(tf.reduce_prod(shape)) for shape in shapes.values())
    assert parameter_names(problem_of("valley")) == ["x[0]", "x[1]"]
    assert parameter_names(SimpleNamespace(param_shapes={"a": (), "k": (1, 2)})) == ["a", "k[0,0]", "k[0,1]"]
