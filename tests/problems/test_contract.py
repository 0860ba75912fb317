"""What every problem owes its users, whatever it is."""

import numpy as np
import pytest
import tensorflow as tf

from problems.random import as_seed, fold
from problems.registry import PROBLEMS, TRANSFORMS

RESCALE, NOISE = TRANSFORMS["rescale"], TRANSFORMS["gradient_noise"]

CASES = {
    "quadratic": PROBLEMS["quadratic"](dimension=5),
    "rosenbrock": PROBLEMS["rosenbrock"](),
    "ackley": PROBLEMS["ackley"](),
    "logistic_regression": PROBLEMS["logistic_regression"](batch_size=20, samples=100),
    "separable": PROBLEMS["logistic_regression"](features=4, batch_size=20, samples=60, separable=True, l2=0.0),
    "random_mlp": PROBLEMS["random_mlp"](hidden=(8, 5), inputs=6, batch_size=10, samples=80, activation="relu"),
    "random_mlp_3": PROBLEMS["random_mlp"](hidden=(6,), inputs=4, classes=3, batch_size=10, samples=80),
    "cluster_mlp": PROBLEMS["cluster_mlp"](hidden=(6,), inputs=5, classes=3, batch_size=10, samples=80),
    "digits_mlp": PROBLEMS["digits_mlp"](hidden=(12,), batch_size=16),
    "mnist_mlp": PROBLEMS["mnist_mlp"](hidden=(8,), batch_size=8),
    "mnist_conv": PROBLEMS["mnist_conv"](channels=(2, 3), batch_size=4),
    "rescaled": RESCALE(PROBLEMS["random_mlp"](samples=50, batch_size=10), per="tensor"),
    "noisy": NOISE(RESCALE(RESCALE(PROBLEMS["quadratic"](dimension=4)), per="parameter"), deviation=0.5),
}


@pytest.fixture(params=CASES, name="problem")
def _problem(request):
    return CASES[request.param]


def draw(problem, seed, instances):
    task = problem.sample(fold(seed, 0), instances)
    return task, problem.initial_params(fold(seed, 1), task), problem.batch(fold(seed, 2), task, "train")


def joined(*leaves):
    return {name: tf.concat([leaf[name] for leaf in leaves], 0) for name in leaves[0]}


def test_every_registered_problem_is_a_case():
    assert set(PROBLEMS) <= set(CASES)


def test_shapes(problem):
    task, params, batch = draw(problem, 3, 4)
    assert {name: tuple(values.shape[1:]) for name, values in params.items()} == dict(problem.param_shapes)
    assert all(leaf.shape[0] == 4 for leaf in (*task.values(), *params.values(), *batch.values()))
    assert all(isinstance(leaf, tf.Tensor) for leaf in task.values())
    assert problem.loss(params, task, batch).shape == (4,)
    for split in ("validation", "test"):
        assert problem.loss(params, task, problem.batch(as_seed(0), task, split)).shape == (4,)


def test_is_described(problem):
    assert problem.name and problem.summary and problem.source
    assert "\n" not in problem.summary + problem.source
    assert hash(problem) == hash(problem)


def test_a_seed_gives_the_same_bits_and_another_seed_others(problem):
    first, again, other = (draw(problem, seed, 2) for seed in (11, 11, 12))
    for one, two in zip(tf.nest.flatten(first), tf.nest.flatten(again), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(problem.loss(first[1], first[0], first[2]), problem.loss(other[1], other[0], other[2]))


def test_starts_finite_for_two_hundred_seeds(problem):
    @tf.function(autograph=False)
    def start(seed):
        task, params, batch = draw(problem, seed, 1)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return loss, tape.gradient(loss, params)

    for seed in range(200):
        assert all(np.isfinite(leaf).all() for leaf in tf.nest.flatten(start(as_seed(seed)))), seed


def test_instances_together_are_what_they_are_alone(problem):
    draws = [draw(problem, seed, 1) for seed in (1, 2, 3)]
    alone = [problem.loss(params, task, batch)[0] for task, params, batch in draws]
    task, params, batch = (joined(*parts) for parts in zip(*draws, strict=True))
    np.testing.assert_allclose(problem.loss(params, task, batch), alone, rtol=2e-5, atol=1e-6)


def test_gradient_of_an_instance_does_not_reach_its_neighbors(problem):
    task, params, batch = draw(problem, 5, 3)
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)[1]
    for gradient in tape.gradient(loss, params).values():
        assert not np.any(gradient[0]) and not np.any(gradient[2])


def test_a_minibatch_does_not_depend_on_the_neighbors(problem):
    first, second = (problem.sample(as_seed(seed), 2) for seed in (1, 2))
    together = problem.batch(as_seed(9), joined(first, second), "train")
    alone = problem.batch(as_seed(9), second, "train")
    for name, leaf in alone.items():
        np.testing.assert_array_equal(together[name][2:], leaf)


def test_minibatches_change_with_the_seed_and_differ_between_instances(problem):
    task = problem.sample(as_seed(1), 2)
    batch, later = (problem.batch(as_seed(seed), task, "train") for seed in (1, 2))
    for name in batch.keys() & {"inputs"}:
        assert not np.array_equal(batch[name][0], later[name][0])
        assert not np.array_equal(batch[name][0], batch[name][1])


def test_held_out_splits_are_whole_and_whatever_the_seed(problem):
    task = problem.sample(as_seed(1), 2)
    for split in ("validation", "test"):
        one, two = (problem.batch(as_seed(seed), task, split) for seed in (1, 2))
        assert bool(one) == problem.held_out
        for name, leaf in one.items():
            np.testing.assert_array_equal(leaf, two[name])


def test_compiled_equals_eager(problem):
    def values(seed, task, params):
        batch = problem.batch(fold(seed, 2), task, "train")
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return batch, loss, problem.perturb(fold(seed, 3), tape.gradient(loss, params))

    task, params, _ = draw(problem, 4, 2)
    compiled = tf.function(values, jit_compile=True if problem.xla else None, autograph=False)
    eager, graph = values(as_seed(4), task, params), compiled(as_seed(4), task, params)
    for one, two in zip(tf.nest.flatten(eager), tf.nest.flatten(graph), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("quadratic", {"dimension": 0}, "dimension"),
        ("quadratic", {"dimension": 2.5}, "dimension"),
        ("logistic_regression", {"features": 1}, "features"),
        ("logistic_regression", {"separation": -1.0}, "separation"),
        ("logistic_regression", {"separation": 0.0, "separable": True}, "separation"),
        ("logistic_regression", {"l2": float("nan")}, "l2"),
        ("logistic_regression", {"label_noise": 1.5}, "label_noise"),
        ("random_mlp", {"hidden": ()}, "hidden"),
        ("random_mlp", {"hidden": (8, 0)}, "hidden[1]"),
        ("random_mlp", {"classes": 1}, "classes"),
        ("random_mlp", {"activation": "gelu"}, "activation"),
        ("random_mlp", {"samples": True}, "samples"),
        ("digits_mlp", {"batch_size": 0}, "batch_size"),
        ("mnist_mlp", {"activation": None}, "activation"),
        ("mnist_conv", {"kernels": (3,)}, "kernels"),
        ("mnist_conv", {"channels": (0, 8)}, "channels[0]"),
    ],
)
def test_wrong_options_are_named_in_one_line(name, options, field):
    with pytest.raises(ValueError) as caught:
        PROBLEMS[name](**options)
    assert field in str(caught.value) and "\n" not in str(caught.value)
