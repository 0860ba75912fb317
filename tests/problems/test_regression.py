"""Regression on a teacher and autoencoders of low-rank data: losses in numpy, and what is known of their least losses."""

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.random import as_seed
from l2o_problems.regression import LowRankAutoencoder, RegressionMlp


def outputs(problem, params, inputs):
    hidden, last = inputs, len(problem.hidden)
    for layer in range(last):
        hidden = np.tanh(hidden @ params[f"kernel{layer}"] + params[f"bias{layer}"])
    return hidden @ params[f"kernel{last}"] + params[f"bias{last}"]


def regression(problem, params, task, batch):
    return np.mean((outputs(problem, params, batch["inputs"]) - batch["targets"]) ** 2)


def autoencoder(problem, params, task, batch):
    return np.mean((outputs(problem, params, batch["inputs"]) - batch["inputs"]) ** 2)


CASES = {
    "regression": (RegressionMlp(hidden=(5, 3), inputs=4, targets=2, activation="tanh"), regression),
    "autoencoder": (LowRankAutoencoder(hidden=(5, 2, 4), inputs=6), autoencoder),
}


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", CASES)
def test_loss(name, split, check_loss):
    check_loss(*CASES[name], split)


@pytest.mark.parametrize("name", CASES)
def test_gradient_against_differences_in_float64(name, check_gradient):
    check_gradient(*CASES[name])


def whole(problem, task):
    return {leaf: task[leaf] for leaf in problem.example_leaves}


def test_the_least_squares_fit_of_a_linear_teacher_leaves_its_noise():
    problem = RegressionMlp(hidden=(), inputs=5, targets=2, teacher=(), noise=0.3, samples=2000, input_decades=1.0)
    task = problem.sample(as_seed(1), 3)
    kernels = []
    for inputs, targets in zip(task["inputs"].numpy().astype(np.float64), task["targets"].numpy(), strict=True):
        np.testing.assert_allclose(targets.var(0), 1 + 0.3**2, rtol=0.05)
        kernels.append(np.linalg.lstsq(np.append(inputs, np.ones((len(inputs), 1)), 1), targets, rcond=None)[0])
    fitted = tf.constant(np.stack(kernels), tf.float32)
    losses = problem.loss({"kernel0": fitted[:, :-1], "bias0": fitted[:, -1]}, task, whole(problem, task))
    np.testing.assert_allclose(losses, 0.3**2, rtol=0.05)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_targets_of_a_teacher_are_standardized_differ_and_are_no_linear_map(activation):
    problem = RegressionMlp(targets=3, teacher_activation=activation, noise=0.0)
    task = problem.sample(as_seed(1), 8)
    targets, inputs = task["targets"].numpy(), task["inputs"].numpy()
    np.testing.assert_allclose(targets.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(targets.std(1), 1, rtol=1e-4)
    for own, points in zip(targets, inputs, strict=True):
        line = np.linalg.lstsq(np.append(points, np.ones((len(points), 1)), 1), own, rcond=None)[1] / len(points)
        assert (line > 0.01).all()
    assert np.abs(targets[0] - targets[1]).mean() > 0.5


def test_low_rank_data_have_the_spectrum_that_is_asked_for():
    problem = LowRankAutoencoder(inputs=30, rank=3, condition=9.0, noise=0.0, samples=4000)
    inputs = problem.sample(as_seed(1), 6)["inputs"].numpy().astype(np.float64)
    np.testing.assert_allclose(inputs.var(), 1.0, rtol=0.2)
    # Directions are drawn, and neither orthogonal nor of one length, so that single values are near what is asked for.
    values = np.stack([np.linalg.svd(own, compute_uv=False) for own in inputs])
    assert (values[:, 3:] < 1e-3 * values[:, :1]).all()
    np.testing.assert_allclose((values[:, 0] / values[:, 2]).mean(), 9.0, rtol=0.3)


def test_the_least_loss_of_a_linear_autoencoder_is_that_of_the_principal_components():
    problem = LowRankAutoencoder(hidden=(2,), inputs=8, rank=4, noise=0.2, activation="linear", samples=400)
    task = problem.sample(as_seed(1), 3)
    inputs = task["inputs"].numpy().astype(np.float64)
    params = {name: [] for name in problem.param_shapes}
    least = []
    for own in inputs:
        values, vectors = np.linalg.eigh(np.cov(own.T, bias=True))
        basis, mean = vectors[:, -2:], own.mean(0)
        least.append(values[:-2].sum() / 8)
        own_params = {"kernel0": basis, "bias0": np.zeros(2), "kernel1": basis.T, "bias1": mean - basis @ basis.T @ mean}
        for name, value in own_params.items():
            params[name].append(value)
    stacked = {name: tf.constant(np.stack(values), tf.float32) for name, values in params.items()}
    np.testing.assert_allclose(problem.loss(stacked, task, whole(problem, task)), least, rtol=1e-4)
    assert min(least) > 0.2**2 / 2
