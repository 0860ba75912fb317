"""Losses and gradients against definitions of their own, in numpy and float64."""

import numpy as np
import pytest
import tensorflow as tf

from problems.random import as_seed
from problems.registry import PROBLEMS

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


def in_float64(leaves, instance):
    """The leaves of one instance in numpy; integers stay integers."""
    arrays = {name: leaf[min(instance, leaf.shape[0] - 1)].numpy() for name, leaf in leaves.items()}
    return {name: a if a.dtype.kind == "i" else a.astype(np.float64) for name, a in arrays.items()}


def started(problem, instances=3):
    """Somewhere near the start: biases are moved off 0, small kernels grown, so that no term of the loss hides."""
    task = problem.sample(as_seed(1), instances)
    params = problem.initial_params(as_seed(2), task)
    generator = np.random.default_rng(0)
    moved = {name: p + 0.1 * generator.normal(size=p.shape).astype(np.float32) for name, p in params.items()}
    return task, moved


@pytest.mark.parametrize("split", ["train", "validation"])
def test_loss(case, split):
    problem, reference = case
    task, params = started(problem)
    batch = problem.batch(as_seed(3), task, split)
    if split == "validation":
        batch = {name: leaf[:, :40] for name, leaf in batch.items()}
    expected = [reference(problem, *(in_float64(leaves, i) for leaves in (params, task, batch))) for i in range(3)]
    np.testing.assert_allclose(problem.loss(params, task, batch), expected, rtol=5e-5, atol=1e-6)


def test_gradient_against_differences_in_float64(case):
    problem, reference = case
    task, params = started(problem)
    batch = problem.batch(as_seed(3), task, "train")
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    gradients = tape.gradient(loss, params)
    generator, step = np.random.default_rng(1), 1e-7
    for instance in range(3):
        own, own_task, own_batch = (in_float64(leaves, instance) for leaves in (params, task, batch))
        for name in own:
            gradient = gradients[name][instance].numpy().astype(np.float64)
            size = np.linalg.norm(gradient)
            # A random direction alone is all but orthogonal to the gradient of many parameters.
            direction = generator.normal(size=gradient.shape)
            direction = direction / np.linalg.norm(direction) + gradient / size
            ends = [{**own, name: own[name] + sign * step * direction} for sign in (1, -1)]
            plus, minus = (reference(problem, end, own_task, own_batch) for end in ends)
            assert size > 0 and abs(np.sum(gradient * direction) - (plus - minus) / (2 * step)) < 1e-3 * size, (instance, name)
