"""Every problem in the one inner loop: Adam gets better, and meta-gradients are the slopes they should be."""

import numpy as np
import pytest
from l2o_problems.registry import PROBLEMS

from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.rollout import Rollout

# learning rate, steps, and the share of the initial loss that must be left at most
TRAINED = {
    "quadratic": (0.03, 200, 0.1),
    "bowl": (0.03, 200, 0.1),
    "norm": (0.03, 200, 0.5),
    "projection_quadratic": (0.03, 200, 0.1),
    "sum_of_quadratics": (0.03, 200, 0.1),
    "rosenbrock": (0.03, 400, 0.05),
    "ackley": (0.01, 400, 0.99),
    "beale": (0.03, 400, 0.5),
    "booth": (0.1, 400, 0.1),
    "branin": (0.1, 400, 0.5),
    "log_sum_exp": (0.03, 200, 0.9),
    "matyas": (0.1, 400, 0.5),
    "michalewicz": (0.01, 200, 0.999),
    "styblinski_tang": (0.03, 400, 0.9),
    "saddle": (0.03, 200, 0.0),
    "dependency_chain": (0.01, 200, 0.1),
    "outward_snake": (0.03, 200, 0.1),
    "min_max_well": (0.03, 200, 0.5),
    "matrix_multiplication": (0.03, 200, 0.5),
    "logistic_regression": (0.01, 200, 0.5),
    "random_mlp": (0.01, 200, 0.8),
    "cluster_mlp": (0.01, 200, 0.5),
    "regression_mlp": (0.01, 200, 0.3),
    "low_rank_autoencoder": (0.01, 200, 0.5),
    "markov_mlp": (0.03, 200, 0.8),
    "sparse_softmax": (0.03, 200, 0.9),
    "digits_mlp": (0.01, 100, 0.15),
    "mnist_mlp": (0.003, 60, 0.4),
    "mnist_conv": (0.01, 30, 0.8),
    "mnist_deep": (0.003, 60, 0.4),
    "mnist_deep_layer_norm": (0.003, 60, 0.4),
    "image_resnet": (0.01, 100, 0.5),
    "digits_autoencoder": (0.003, 200, 0.6),
    "mnist_autoencoder": (0.003, 40, 0.6),
    "image_completion": (0.003, 60, 0.5),
    "tabular_mlp": (0.003, 100, 0.3),
    "word_mlp": (0.01, 150, 0.85),
}

SMALLER = {"image_resnet": {"data": "digits", "widths": (4, 8)}}


# Compiling takes four times as long as all else; that problems are the same compiled is shown in test_contract.py.
COMPILED = {"rosenbrock", "digits_mlp"}


@pytest.mark.parametrize(
    ("name", "xla"),
    [
        *((name, name in COMPILED) for name in TRAINED),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in TRAINED if name not in COMPILED),
    ],
)
def test_adam_learns(name, xla):
    rate, steps, share = TRAINED[name]
    problem, optimizer = PROBLEMS[name](**SMALLER.get(name, {})), Adam(learning_rate=rate)
    loop = Rollout(problem, optimizer, maximum=steps, xla=xla)
    weights = optimizer.init_weights(0)
    carry = loop.start(weights, 1, 3)
    before = loop.held_out_loss(carry).numpy()
    carry, losses = loop(weights, carry, steps)
    assert np.isfinite(losses).all() and (carry.step.numpy() == steps).all()
    tail = losses.numpy()[-10:].mean(0)
    assert (tail < share * losses[0].numpy()).all(), tail / losses[0].numpy()
    if problem.held_out:
        assert (loop.held_out_loss(carry).numpy() < before).all()


SMOOTH = {
    "quadratic": {},
    "rosenbrock": {},
    "matrix_multiplication": {},
    "logistic_regression": {"samples": 100, "batch_size": 20},
    "random_mlp": {"samples": 100, "batch_size": 20, "hidden": (8,)},
}


@pytest.mark.parametrize(
    ("name", "xla"),
    [
        *((name, name == "random_mlp") for name in SMOOTH),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in SMOOTH if name != "random_mlp"),
    ],
)
def test_second_order_meta_gradient_is_the_slope_of_the_meta_loss(name, xla, check_meta_gradient):
    check_meta_gradient(PROBLEMS[name](**SMOOTH[name]), steps=8, xla=xla)
