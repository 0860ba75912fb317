"""Losses and gradients of problems on images against definitions of their own, in numpy and float64.

The images are random, 6x6 pixels of three colours, and need no file.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from l2o_problems import data, images
from l2o_problems.convolutions import ImageConv, ImageResnet
from l2o_problems.data import DATA_SETS, DataInfo
from l2o_problems.images import ImageAutoencoder, ImageCompletion, ImageMlp

SIDE, CHANNELS, CLASSES = 6, 3, 5

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "linear": lambda x: x,
}


class Colours:
    remedy = None

    def find(self):
        return Path("colours")

    def describe(self, path):
        return "random", (60, 20, 20)

    def read(self, path):
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (100, SIDE, SIDE, CHANNELS), np.uint8), generator.integers(0, CLASSES, 100)


@pytest.fixture(autouse=True)
def _colours(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "colours", DataInfo("colours", SIDE, CHANNELS, CLASSES, 255, (Colours(),)))
    monkeypatch.setattr(data, "_loaded", {})
    images._constants.cache_clear()


def negative_log_likelihood(logits, labels):
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels])


def standardized(values, axes):
    return (values - values.mean(axes, keepdims=True)) / np.sqrt(values.var(axes, keepdims=True) + 1e-5)


def mlp(problem, params, task, batch):
    hidden = batch["inputs"]
    for index in range(len(problem.hidden)):
        hidden = hidden @ params[f"kernel{index}"]
        if problem.normalization == "none":
            hidden = hidden + params[f"bias{index}"]
        else:
            values = standardized(hidden, 0 if problem.normalization == "batch" else 1)
            hidden = params[f"scale{index}"] * values + params[f"offset{index}"]
        hidden = ACTIVATIONS[problem.activation](hidden)
    last = len(problem.hidden)
    return negative_log_likelihood(hidden @ params[f"kernel{last}"] + params[f"bias{last}"], batch["labels"])


def convolution(images, kernel, stride):
    """SAME padding as TensorFlow does it: outputs are ceil(side / stride), the odd zero goes behind. One output at a time."""
    size, side = kernel.shape[0], images.shape[1]
    outputs = math.ceil(side / stride)
    padding = max(0, (outputs - 1) * stride + size - side)
    before = padding // 2
    padded = np.pad(images, ((0, 0), (before, padding - before), (before, padding - before), (0, 0)))
    result = np.empty((len(images), outputs, outputs, kernel.shape[-1]))
    for row in range(outputs):
        for column in range(outputs):
            window = padded[:, row * stride : row * stride + size, column * stride : column * stride + size]
            result[:, row, column] = np.einsum("bijc,ijcd->bd", window, kernel)
    return result


def conv(problem, params, task, batch):
    hidden = batch["inputs"].reshape(-1, SIDE, SIDE, CHANNELS)
    for index, stride in enumerate(problem.strides or [1] * len(problem.channels)):
        hidden = convolution(hidden, params[f"kernel{index}"], stride) + params[f"bias{index}"]
        hidden = ACTIVATIONS[problem.activation](hidden)
    logits = hidden.reshape(len(hidden), -1) @ params["kernel_out"] + params["bias_out"]
    return negative_log_likelihood(logits, batch["labels"])


def resnet(problem, params, task, batch):
    activation = ACTIVATIONS[problem.activation]

    def layer(name, values, stride=1):
        values = convolution(values, params[f"kernel{name}"], stride)
        values = standardized(values, (0, 1, 2) if problem.normalization == "batch" else (1, 2, 3))
        return params[f"scale{name}"] * values + params[f"offset{name}"]

    hidden = activation(layer("_in", batch["inputs"].reshape(-1, SIDE, SIDE, CHANNELS)))
    index = 0
    for stage, _ in enumerate(problem.widths):
        for block in range(problem.blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            change = layer(f"{index}b", activation(layer(f"{index}a", hidden, stride)))
            if stride == 2:
                # A 1x1 kernel with stride 2 sees every other pixel.
                hidden = hidden[:, ::2, ::2] @ params[f"shortcut{index}"][0, 0]
            hidden = activation(change + hidden)
            index += 1
    logits = hidden.mean((1, 2)) @ params["kernel_out"] + params["bias_out"]
    return negative_log_likelihood(logits, batch["labels"])


def autoencoder(problem, params, task, batch):
    outputs = batch["inputs"]
    for index in range(len(problem.hidden) + 1):
        last = index == len(problem.hidden)
        outputs = outputs @ params[f"kernel{index}"] + params[f"bias{index}"]
        outputs = ACTIVATIONS["sigmoid" if last else problem.activation](outputs)
    if problem.criterion == "squared":
        return np.mean((outputs - batch["inputs"]) ** 2)
    return -np.mean(batch["inputs"] * np.log(outputs) + (1 - batch["inputs"]) * np.log(1 - outputs))


def completion(problem, params, task, batch):
    outputs = batch["inputs"]
    for index in range(len(problem.hidden) + 1):
        outputs = outputs @ params[f"kernel{index}"] + params[f"bias{index}"]
        outputs = outputs if index == len(problem.hidden) else ACTIVATIONS[problem.activation](outputs)
    return np.mean((outputs - batch["targets"]) ** 2)


CASES = {
    "mlp": (ImageMlp, {"hidden": (7,)}, mlp),
    "mlp batch": (ImageMlp, {"hidden": (7, 4), "normalization": "batch", "activation": "leaky_relu"}, mlp),
    "mlp layer": (ImageMlp, {"hidden": (7, 4), "normalization": "layer"}, mlp),
    "mlp linear": (ImageMlp, {"hidden": (7, 5, 4), "activation": "linear"}, mlp),
    "completion": (ImageCompletion, {"hidden": (7,), "activation": "tanh"}, completion),
    "conv": (ImageConv, {}, conv),
    "conv strides": (ImageConv, {"channels": (4, 3, 5), "kernels": (3, 2, 5), "strides": (2, 1, 3), "activation": "tanh"}, conv),
    "resnet": (ImageResnet, {"widths": (3, 4, 5)}, resnet),
    "resnet batch": (ImageResnet, {"widths": (3, 4), "blocks": 2, "normalization": "batch"}, resnet),
    "resnet equal widths": (ImageResnet, {"widths": (3, 3), "activation": "tanh"}, resnet),
    "autoencoder": (ImageAutoencoder, {"hidden": (8, 3, 8)}, autoencoder),
    "autoencoder entropy": (
        ImageAutoencoder,
        {"hidden": (8,), "criterion": "cross_entropy", "activation": "sigmoid"},
        autoencoder,
    ),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    family, options, reference = CASES[request.param]
    return family(data="colours", batch_size=7, **options), reference


@pytest.mark.parametrize("split", ["train", "validation"])
def test_loss(case, split, check_loss):
    check_loss(*case, split)


def test_gradient_against_differences_in_float64(case, check_gradient):
    check_gradient(*case)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalization_takes_away_the_scale_of_the_kernels(normalization):
    """Also that of each unit with "batch", which layer normalization sees."""
    from l2o_problems.random import as_seed

    for problem in (
        ImageMlp(data="colours", hidden=(6, 6), normalization=normalization),
        ImageResnet(data="colours", widths=(3, 3), normalization=normalization),
    ):
        task = problem.sample(as_seed(1), 2)
        params = problem.initial_params(as_seed(2), task)
        batch = problem.batch(as_seed(3), task, "train")
        first = next(iter(params))
        per_unit = np.linspace(1, 3, params[first].shape[-1], dtype=np.float32)
        loss = problem.loss(params, task, batch)
        scaled = problem.loss({**params, first: params[first] * 3}, task, batch)
        np.testing.assert_allclose(scaled, loss, rtol=2e-3)
        unequal = problem.loss({**params, first: params[first] * per_unit}, task, batch)
        assert np.allclose(unequal, loss, rtol=2e-3) == (normalization == "batch")
