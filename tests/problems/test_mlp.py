"""MLPs with normalization and skip connections, and the data that spoil their training, against numpy."""

import math

import numpy as np
import pytest
from l2o_problems.classifiers import ClusterMlp, RandomMlp
from l2o_problems.random import as_seed

ACTIVATIONS = {
    "gelu": np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
    "linear": lambda x: x,
    "tanh": np.tanh,
}


def outputs(problem, params, inputs):
    hidden = inputs
    for layer in range(len(problem.hidden)):
        values = hidden @ params[f"kernel{layer}"]
        if problem.normalization == "none":
            values = values + params[f"bias{layer}"]
        else:
            axis = {"batch": 0, "layer": 1}[problem.normalization]
            values = (values - values.mean(axis, keepdims=True)) / np.sqrt(values.var(axis, keepdims=True) + 1e-5)
            values = params[f"scale{layer}"] * values + params[f"offset{layer}"]
        values = ACTIVATIONS[problem.activation](values)
        hidden = hidden + values if problem.residual and layer else values
    last = len(problem.hidden)
    return hidden @ params[f"kernel{last}"] + params[f"bias{last}"]


def negative_log_likelihood(problem, params, task, batch):
    logits = outputs(problem, params, batch["inputs"])
    likelihood = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return -np.mean(np.log(likelihood[np.arange(len(logits)), batch["labels"]]))


SMALL = {"inputs": 6, "classes": 3, "batch_size": 20, "samples": 160}
CASES = {
    "gelu": RandomMlp(hidden=(5, 4), activation="gelu", **SMALL),
    "linear": ClusterMlp(hidden=(5, 4), activation="linear", **SMALL),
    "residual": ClusterMlp(hidden=(4, 4, 4), activation="gelu", residual=True, **SMALL),
    "residual as wide as the inputs": RandomMlp(hidden=(6, 6), activation="tanh", residual=True, **SMALL),
    "layer": RandomMlp(hidden=(5, 4), activation="tanh", normalization="layer", **SMALL),
    "batch, residual": ClusterMlp(hidden=(4, 4), activation="gelu", normalization="batch", residual=True, **SMALL),
    "layer, no hidden": ClusterMlp(hidden=(), normalization="layer", **SMALL),
}


@pytest.fixture(params=CASES, name="problem")
def _problem(request):
    return CASES[request.param]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_loss(problem, split, check_loss):
    check_loss(problem, negative_log_likelihood, split)


def test_gradient_against_differences_in_float64(problem, check_gradient):
    check_gradient(problem, negative_log_likelihood)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "layer"])
def test_second_order_meta_gradient_under_xla_is_the_slope_of_the_meta_loss(name, check_meta_gradient):
    check_meta_gradient(CASES[name], steps=5)


def test_layers_that_add_start_smaller_the_more_there_are():
    problem = ClusterMlp(hidden=(40,) * 5, inputs=40, residual=True, normalization="layer", initial_scale=0.5)
    params = problem.initial_params(as_seed(1), problem.sample(as_seed(2), 4))
    for layer in range(5):
        share = 1.0 if layer == 0 else 0.5
        np.testing.assert_allclose(np.std(params[f"kernel{layer}"]), 0.5 * share * math.sqrt(2 / 40), rtol=0.04)
        np.testing.assert_array_equal(params[f"scale{layer}"], 1.0)
        np.testing.assert_array_equal(params[f"offset{layer}"], 0.0)
    np.testing.assert_allclose(np.std(params["kernel5"]), 0.5 * math.sqrt(2 / 40), rtol=0.1)


@pytest.mark.parametrize("family", [RandomMlp, ClusterMlp])
def test_spoiled_inputs_are_the_same_inputs_times_a_factor_of_each_instance(family):
    plain = family(inputs=40, samples=40).sample(as_seed(1), 30)
    spoiled = family(inputs=40, samples=40, dead_inputs=0.25, input_decades=2.0).sample(as_seed(1), 30)
    np.testing.assert_array_equal(plain["labels"], spoiled["labels"])
    factors = spoiled["inputs"].numpy() / plain["inputs"].numpy()
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-5)
    factors = factors[:, 0]
    np.testing.assert_array_equal((factors == 0).sum(1), 10)
    exponents = np.log10(factors[factors > 0])
    assert -2 < exponents.min() < -1.9 and 1.9 < exponents.max() < 2
    np.testing.assert_allclose([exponents.mean(), exponents.std()], [0, 4 / math.sqrt(12)], atol=0.1)
    assert len({tuple(row == 0) for row in factors}) > 25  # each instance has dead inputs of its own


def test_an_input_is_left_however_many_are_dead():
    inputs = ClusterMlp(inputs=3, samples=8, dead_inputs=1.0).sample(as_seed(1), 5)["inputs"].numpy()
    np.testing.assert_array_equal((inputs > 0).all(1).sum(1), 1)


def test_label_noise_is_the_share_of_labels_drawn_anew():
    clean, noisy = (ClusterMlp(classes=4, samples=2000, label_noise=share).sample(as_seed(5), 5) for share in (0.0, 0.4))
    np.testing.assert_array_equal(clean["inputs"], noisy["inputs"])
    changed = clean["labels"].numpy() != noisy["labels"].numpy()
    for split in (slice(0, 2000), slice(2000, 3000)):
        assert abs(changed[:, split].mean() - 0.4 * 3 / 4) < 0.02
    assert set(noisy["labels"].numpy()[changed]) == {0, 1, 2, 3}
