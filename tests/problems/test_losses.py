"""Losses and gradients against definitions of their own, in numpy and float64."""

import numpy as np
import pytest
from l2o_problems.registry import PROBLEMS

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def negative_log_likelihood(logits, labels):
    """Softmax cross-entropy of one instance: logits [B, C], labels [B]."""
    likelihood = np.exp(logits - logits.max(1, keepdims=True))
    likelihood /= likelihood.sum(1, keepdims=True)
    return -np.mean(np.log(likelihood[np.arange(len(labels)), labels]))


def quadratic(problem, params, task, batch):
    return 0.5 * np.linalg.norm(task["w"] @ params["x"] - task["y"]) ** 2


def rosenbrock(problem, params, task, batch):
    x, y = params["x"]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def ackley(problem, params, task, batch):
    x, y = params["x"]
    valley = -20 * np.exp(-0.2 * np.sqrt(0.5 * (x**2 + y**2)))
    return valley - np.exp(0.5 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y))) + np.e + 20


def logistic_regression(problem, params, task, batch):
    kernel = params["kernel"][:, 0]
    probability = 1 / (1 + np.exp(-(batch["inputs"] @ kernel + params["bias"][0])))
    likelihood = np.where(batch["labels"] == 1, probability, 1 - probability)
    return -np.mean(np.log(likelihood)) + problem.l2 * np.mean(kernel**2)


def mlp(problem, params, task, batch):
    hidden = batch["inputs"]
    for index in range(len(problem.hidden)):
        hidden = ACTIVATIONS[problem.activation](hidden @ params[f"kernel{index}"] + params[f"bias{index}"])
    last = len(problem.hidden)
    return negative_log_likelihood(hidden @ params[f"kernel{last}"] + params[f"bias{last}"], batch["labels"])


def same_convolution(images, kernel):
    """images [B, H, W, C], kernel [k, k, C, D], k odd: cross-correlation with zeros outside, [B, H, W, D]."""
    size, (height, width) = kernel.shape[0], images.shape[1:3]
    padded = np.pad(images, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    result = np.zeros((*images.shape[:3], kernel.shape[-1]))
    for row in range(size):
        for column in range(size):
            result += padded[:, row : row + height, column : column + width] @ kernel[row, column]
    return result


def conv(problem, params, task, batch):
    images = batch["inputs"].reshape(-1, 28, 28, 1)
    for index in range(len(problem.channels)):
        images = same_convolution(images, params[f"kernel{index}"]) + params[f"bias{index}"]
        images = ACTIVATIONS[problem.activation](images)
    logits = images.reshape(len(images), -1) @ params["kernel_out"] + params["bias_out"]
    return negative_log_likelihood(logits, batch["labels"])


CASES = {
    "quadratic": (PROBLEMS["quadratic"](dimension=7), quadratic),
    "rosenbrock": (PROBLEMS["rosenbrock"](), rosenbrock),
    "ackley": (PROBLEMS["ackley"](), ackley),
    "logistic_regression": (PROBLEMS["logistic_regression"](features=6, l2=0.5), logistic_regression),
    "separable": (PROBLEMS["logistic_regression"](separable=True, separation=0.5), logistic_regression),
    "mlp sigmoid": (PROBLEMS["random_mlp"](hidden=(8, 5, 3), inputs=7), mlp),
    "mlp clusters": (PROBLEMS["cluster_mlp"](hidden=(5,), inputs=6, classes=4), mlp),
    "softmax regression": (PROBLEMS["cluster_mlp"](hidden=()), mlp),
    "mlp leaky": (PROBLEMS["random_mlp"](hidden=(5,), activation="leaky_relu"), mlp),
    "mlp tanh": (PROBLEMS["random_mlp"](hidden=(4, 6), classes=4, activation="tanh"), mlp),
    "mlp relu": (PROBLEMS["random_mlp"](hidden=(32, 64), activation="relu"), mlp),
    "digits": (PROBLEMS["digits_mlp"](), mlp),
    "mnist": (PROBLEMS["mnist_mlp"](), mlp),
    "conv": (PROBLEMS["mnist_conv"](batch_size=6), conv),
    "conv tanh": (PROBLEMS["mnist_conv"](channels=(3, 2), kernels=(5, 3), activation="tanh", batch_size=6), conv),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    return CASES[request.param]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_loss(case, split, check_loss):
    check_loss(*case, split)


def test_gradient_against_differences_in_float64(case, check_gradient):
    check_gradient(*case)
