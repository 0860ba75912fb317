"""The test functions: their formulas, where they are least and where they start."""

import math

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.random import as_seed
from l2o_problems.transforms.sharing import AnyTestFunction
from l2o_problems.two_dimensional import (
    FUNCTIONS,
    Ackley,
    Beale,
    Booth,
    Branin,
    LogSumExp,
    Matyas,
    Michalewicz,
    Rosenbrock,
    Saddle,
    StyblinskiTang,
    Valley,
)

# The functions in float64, as they stand in the literature, on numbers and arrays alike.
DEFINITIONS = {
    Rosenbrock(): lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    Ackley(): lambda x, y: (
        -20 * np.exp(-0.2 * np.sqrt(0.5 * (x**2 + y**2)))
        - np.exp(0.5 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)))
        + np.e
        + 20
    ),
    Beale(): lambda x, y: sum((c - x * (1 - y**i)) ** 2 for i, c in enumerate((1.5, 2.25, 2.625), start=1)),
    Booth(): lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2,
    Branin(): lambda x, y: (
        (y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10
    ),
    LogSumExp(): lambda x, y: np.log(np.exp(x + 3 * y - 0.1) + np.exp(x - 3 * y - 0.1) + np.exp(-x - 0.1) + 1),
    Matyas(): lambda x, y: 0.26 * (x**2 + y**2) - 0.48 * x * y,
    Michalewicz(): lambda x, y: 2 - sum(np.sin(v) * np.sin(i * v**2 / np.pi) ** 10 for i, v in enumerate((x, y), start=1)),
    StyblinskiTang(): lambda x, y: 80 + sum(v**4 - 16 * v**2 + 5 * v for v in (x, y)) / 2,
    Valley(): lambda x, y: (x - y) ** 2 / 2,
    Saddle(): lambda x, y: x**2 - y**2,
}
RANGES = {
    Rosenbrock(): ((-5, 10), (-5, 10)),
    Ackley(): ((-32.768, 32.768), (-32.768, 32.768)),
    Beale(): ((-4.5, 4.5), (-4.5, 4.5)),
    Booth(): ((-10, 10), (-10, 10)),
    Branin(): ((-5, 10), (0, 15)),
    Matyas(): ((-10, 10), (-10, 10)),
    Michalewicz(): ((0, np.pi), (0, np.pi)),
    StyblinskiTang(): ((-5, 5), (-5, 5)),
}
BOUNDED = [problem for problem in DEFINITIONS if problem.minimizer]
# In its start range; see the test of what lies outside.
LEAST = {problem: problem.minimum for problem in BOUNDED} | {Michalewicz(): 0.1933771146528049}


def name_of(problem):
    return problem.name


def defined(problem, params, task, batch):
    return DEFINITIONS[problem](*params["x"])


def loss_at(problem, points):
    return problem.loss({"x": tf.constant(points, tf.float32)}, problem.sample(as_seed(0), len(points)), {}).numpy()


@pytest.mark.parametrize("problem", DEFINITIONS, ids=name_of)
def test_loss_and_gradient(problem, check_loss, check_gradient):
    check_loss(problem, defined)
    check_gradient(problem, defined)


@pytest.mark.parametrize("problem", DEFINITIONS, ids=name_of)
def test_loss_on_a_grid(problem):
    low, high = np.transpose(RANGES.get(problem, ((-4, 4), (-4, 4))))
    points = (low + (high - low) * np.random.default_rng(0).uniform(size=(500, 2))).astype(np.float32)
    expected = DEFINITIONS[problem](*points.astype(np.float64).T)
    np.testing.assert_allclose(loss_at(problem, points), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("problem", [problem for problem in BOUNDED if problem != Valley()], ids=name_of)
def test_least_value_in_float64(problem):
    """A search of its own finds the value and, if there is but one, the point."""
    function = DEFINITIONS[problem]
    (low_x, high_x), (low_y, high_y) = RANGES.get(problem, ((-5, 5), (-5, 5)))
    x, y = np.meshgrid(np.linspace(low_x, high_x, 801), np.linspace(low_y, high_y, 801), indexing="ij")
    best = np.unravel_index(function(x, y).argmin(), x.shape)
    point, width = np.array([x[best], y[best]]), max(high_x - low_x, high_y - low_y) / 400
    moves = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2, indexing="ij")).reshape(2, -1)
    while width > 1e-9:
        around = point[:, None] + width * moves
        closest = around[:, function(*around).argmin()]
        width, point = (width / 2, point) if np.array_equal(closest, point) else (width, closest)
    np.testing.assert_allclose(function(*point), LEAST[problem], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(function(*problem.minimizer), LEAST[problem], rtol=1e-12, atol=1e-14)
    if problem != Branin():
        np.testing.assert_allclose(point, problem.minimizer, atol=1e-6)


@pytest.mark.parametrize("problem", BOUNDED, ids=name_of)
def test_least_value_has_no_slope(problem):
    params = {"x": tf.constant([problem.minimizer, problem.minimizer], tf.float32)}
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, problem.sample(as_seed(0), 2), {})
    exact = LEAST[problem] == 0
    np.testing.assert_allclose(loss, LEAST[problem], rtol=0 if exact else 1e-5)
    np.testing.assert_allclose(tape.gradient(loss, params)["x"], 0, atol=0 if exact else 1e-4)


@pytest.mark.parametrize("problem", BOUNDED, ids=name_of)
def test_never_below_its_least_value_near_it(problem):
    offsets = np.random.default_rng(0).normal(size=(20000, 2)) * np.logspace(-9, 0, 20000)[:, None]
    exact = LEAST[problem] == 0
    assert loss_at(problem, problem.minimizer + offsets).min() >= (0 if exact else LEAST[problem] - 2e-5)


def test_michalewicz_comes_as_close_to_zero_as_one_likes_far_outside():
    function, problem = DEFINITIONS[Michalewicz()], Michalewicz()
    assert problem.minimum == 0
    ridges = np.pi * np.sqrt(np.arange(10_000_000) + 0.5)  # where the first factor is 1
    values = function(ridges, np.pi / 2)
    assert values.min() < 1e-6 and values[7:200].min() < 0.01 < values[:3].min() - 0.18
    points = np.random.default_rng(0).normal(size=(20000, 2)) * 100
    assert loss_at(problem, points).min() >= 0


@pytest.mark.parametrize("problem", RANGES, ids=name_of)
def test_starts_all_over_its_range(problem):
    start = problem.initial_params(as_seed(1), problem.sample(as_seed(0), 20000))["x"].numpy()
    for values, (low, high) in zip(start.T, RANGES[problem], strict=True):
        margin = 0.01 * (high - low)
        assert low <= values.min() < low + margin and high - margin < values.max() <= np.float32(high)
        np.testing.assert_allclose(values.mean(), (low + high) / 2, atol=2 * margin)
    assert abs(np.corrcoef(start.T)[0, 1]) < 0.03


@pytest.mark.parametrize("problem", DEFINITIONS.keys() - RANGES.keys(), ids=name_of)
def test_others_start_standard_normal(problem):
    start = problem.initial_params(as_seed(1), problem.sample(as_seed(0), 20000))["x"].numpy()
    np.testing.assert_allclose(start.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(start.T), np.eye(2), atol=0.04)


def test_all_functions_are_tested():
    assert {type(problem) for problem in BOUNDED} == {type(problem) for problem in DEFINITIONS} - {Saddle}
    assert Saddle().minimum is None and loss_at(Saddle(), [[0, 0], [0, 100]]).tolist() == [0, -10000]


def test_the_valley_is_least_on_a_line():
    points = np.random.default_rng(0).normal(size=(100, 1)).repeat(2, axis=1)
    assert not loss_at(Valley(), points).any() and loss_at(Valley(), points + np.array([0, 0.1])).min() > 0.004


def test_log_sum_exp_does_not_overflow():
    np.testing.assert_allclose(loss_at(LogSumExp(), [[0, 1000], [-500, 0]]), [2999.9, 499.9], rtol=1e-6)
    assert math.isclose(LogSumExp().minimum, 1.2695545395615329)


def test_any_of_them_by_its_number():
    problems = [AnyTestFunction(number) for number in range(len(FUNCTIONS))]
    assert len({problem.structure for problem in problems}) == 1
    tasks = [problem.sample(as_seed(1), 3) for problem in problems]
    params = [problem.initial_params(as_seed(2), task) for problem, task in zip(problems, tasks, strict=True)]
    together = {name: tf.concat([task[name] for task in tasks], 0) for name in tasks[0]}
    points = {"x": tf.Variable(tf.concat([own["x"] for own in params], 0))}
    with tf.GradientTape() as tape:
        losses = problems[0].loss(points, together, {})
    slopes = tape.gradient(losses, points["x"])
    for index, function in enumerate(FUNCTIONS):
        own, rows = {"x": tf.Variable(params[index]["x"])}, slice(3 * index, 3 * index + 3)
        with tf.GradientTape() as tape:
            loss = function().loss(own, function().sample(as_seed(1), 3), {})
        np.testing.assert_array_equal(own["x"], function().initial_params(as_seed(2), tasks[index])["x"])
        np.testing.assert_allclose(losses[rows], loss, rtol=1e-6)
        np.testing.assert_allclose(slopes[rows], tape.gradient(loss, own["x"]), rtol=1e-5)
        assert problems[index].minimum == function().minimum
