"""Named ensembles: lists of problem families with weights, in the form in which a spec writes them.

Sizes and settings of the `wichrowska2017` ensembles are those of the code released with the paper, section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Family = Mapping[str, Any]


@dataclass(frozen=True)
class Ensemble:
    """Problem families with a purpose."""

    summary: str
    families: tuple[Family, ...]


def _family(name: str, *transforms: Family, label: str | None = None, instances: int | None = None, **options: Any) -> Family:
    """An entry as in a spec; transformations innermost first."""
    entry: dict[str, Any] = {"name": name, "options": options, "transforms": list(transforms)}
    return entry | ({"label": label} if label else {}) | ({"instances": instances} if instances else {})


def _transform(name: str, **options: Any) -> Family:
    return {"name": name, "options": options}


def _noise(deviation: float) -> Family:
    return _transform("gradient_noise", deviation=deviation)


def _noisy(family: Family, deviation: float) -> Family:
    return {**family, "transforms": [*family["transforms"], _noise(deviation)]}


QUADRATICS = (
    _family("quadratic", _noise(0.5), dimension=20),
    _family("quadratic", dimension=25),
    _family("quadratic", _noise(1.0), dimension=50),
    _family("quadratic", _noise(2.0), dimension=100),
)
# The matrix of one instance takes up to 16 MB, and each step passes through it several times: few run together.
LARGE_QUADRATICS = tuple(_family("quadratic", dimension=size, instances=2) for size in (784, 1024, 2048))

_CALM_BOWLS = (
    *(_family("bowl", condition=condition) for condition in (0.1, 1.0, 5.0)),
    _family("bowl", condition=5.0, angle=math.pi / 4, label="bowl(condition=5.0,angle=pi/4)"),
)
_NOISY_BOWLS = tuple(
    {**_noisy(family, 0.1), **({"label": f"{family['label']}+gradient_noise(deviation=0.1)"} if "label" in family else {})}
    for family in _CALM_BOWLS
)
BOWLS = _CALM_BOWLS + _NOISY_BOWLS

_NAMES = ("ackley", "beale", "booth", "branin", "log_sum_exp", "matyas", "michalewicz", "rosenbrock", "styblinski_tang")
TEST_FUNCTIONS = (*map(_family, _NAMES), *(_family(name, _noise(1.0)) for name in _NAMES))

# features, batch size, separation, deviation of the noise of its twin
_LOGISTIC = ((10, 100, 2.0, 0.5), (100, 50, 1.0, 0.1), (200, 20, 1.5, 0.1), (256, 100, 1.5, 0.5))
LOGISTIC_REGRESSION = tuple(
    _family("logistic_regression", *noise, features=features, batch_size=batch_size, separation=separation)
    for features, batch_size, separation, deviation in _LOGISTIC
    for noise in ((), (_noise(deviation),))
)
# The paper's text: the least loss is 0, and approached at infinity. The released code has none of these.
SEPARABLE = tuple(
    _family("logistic_regression", features=features, batch_size=batch_size, separation=0.5, separable=True, l2=0.0)
    for features, batch_size, *_ in _LOGISTIC
)

SPARSE_SOFTMAX = (_family("sparse_softmax"), _family("sparse_softmax", one_hot=True))

NORMS = (
    *(_family("norm", dimension=size, power=power) for size, power in ((27, 1.0), (25, 2.0), (22, 3.0))),
    *(_family("norm", _noise(0.1), dimension=size, power=power) for size, power in ((19, 1.0), (26, 2.0), (23, 3.0))),
)

MATRIX_MULTIPLICATION = (
    *(_family("matrix_multiplication", size=2, products=products) for products in range(5, 9)),
    *(_family("matrix_multiplication", size=3, products=products) for products in range(19, 25)),
)

# dimension, samples of binary data, samples of symmetric data, batch size
_SETTINGS = (
    (20, 1000, 1000, 100),
    (12, 200, 100, 10),
    (56, 5000, 5000, 100),
    (64, 1000, 1000, 50),
    (13, 10000, 10000, 50),
    (20, 1000, 1000, 128),
    (12, 300, 100, 16),
    (56, 5000, 5000, 128),
    (64, 1000, 1000, 64),
    (13, 10000, 10000, 32),
)
MINIBATCH_QUADRATICS = tuple(
    _family(name, dimension=dimension, samples=samples, batch_size=batch_size)
    for name in ("projection_quadratic", "sum_of_quadratics")
    for dimension, _, samples, batch_size in _SETTINGS
)
# The released chains are given data too, and make no use of it: of its ten settings five are different.
DEPENDENCY_CHAINS = tuple(_family("dependency_chain", dimension=dimension) for dimension in (20, 12, 56, 64, 13))
OUTWARD_SNAKES = tuple(
    _family("outward_snake", dimension=dimension, samples=samples, batch_size=batch_size)
    for dimension, samples, _, batch_size in _SETTINGS
)
MIN_MAX_WELLS = tuple(_family("min_max_well", dimension=dimension) for dimension in (20, 12, 56, 64, 13))

_WRAPPED: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("quadratic", {"dimension": size}) for size in (20, 50, 100)),
    *(("bowl", {"condition": condition}) for condition in (0.1, 1.0, 5.0)),
)
LOGARITHMS = tuple(_family(name, _transform("loss_transform", function="log"), **options) for name, options in _WRAPPED)
SPARSE_GRADIENTS = tuple(_family(name, _transform("sparse_gradients", probability=0.99), **options) for name, options in _WRAPPED)


def _rescaled(scale: float, name: str, **options: Any) -> Family:
    return _family(name, _transform("rescale", low=scale, high=scale), **options)


# With power and scale, with dimension and scale.
RESCALED = (
    *(
        _rescaled(scale, "norm", dimension=18, power=power)
        for power, scale in ((2.5, 0.123), (1.5, 8.0), (2.0, 50.0), (3.0, 200.0), (1.0, 1000.0))
    ),
    *(
        _rescaled(scale, "quadratic", dimension=dimension)
        for dimension, scale in ((20, 0.1), (25, 10.0), (50, 350.0), (100, 132.0))
    ),
)


def _quadratics(*sizes: int, noise: float | None = None) -> list[Family]:
    return [_family("quadratic", *([_noise(noise)] if noise else []), dimension=size) for size in sizes]


_NINE = [
    _family(name)
    for name in ("rosenbrock", "log_sum_exp", "ackley", "beale", "booth", "styblinski_tang", "matyas", "branin", "michalewicz")
]
SUMS = (
    _family("sum", label="sum of 7 quadratics", problems=_quadratics(11, 3, 9, 7, 5, 13, 12)),
    _family(
        "sum",
        label="sum of norm, quadratic and rosenbrock",
        problems=[_family("norm", dimension=18, power=3.0), *_quadratics(25), _family("rosenbrock")],
    ),
    _family("sum", label="sum of 9 test functions", problems=_NINE),
    _family("sum", label="sum of 9 test functions and 2 quadratics", problems=[*_NINE, *_quadratics(5, 13)]),
    _family("sum", label="sum of 2 quadratics", problems=_quadratics(11, 3)),
    _family("sum", label="sum of 3 test functions", problems=_NINE[:3]),
    _family("sum", label="sum of 7 noisy quadratics", problems=_quadratics(11, 3, 9, 7, 5, 13, 12, noise=0.1)),
    _family(
        "sum",
        label="sum of 9 test functions and 2 quadratics, one noisy",
        problems=[*_NINE, *_quadratics(5), *_quadratics(13, noise=0.5)],
    ),
)

# inputs, hidden layers, batch size; 1,000 samples, two classes, sigmoid units
_NETWORKS = (
    (8, [8, 5], 10),
    (12, [8, 5, 3], 200),
    (5, [4, 4, 4, 4], 100),
    (11, [4, 5, 6], 64),
    (9, [8], 128),
    (7, [8, 5], 16),
    (8, [32, 64], 10),
    (12, [16, 8, 3], 200),
    (5, [8, 8, 8, 8], 100),
    (11, [10, 12, 12], 64),
    (9, [32], 128),
    (7, [32, 64], 16),
)
NETWORKS = tuple(
    _family("random_mlp", inputs=inputs, hidden=hidden, batch_size=batch_size) for inputs, hidden, batch_size in _NETWORKS
)
SPARSE_NETWORKS = tuple({**family, "transforms": [_transform("sparse_gradients", probability=0.99)]} for family in NETWORKS[:3])

_SHARED = (*QUADRATICS, *LARGE_QUADRATICS, *BOWLS, *TEST_FUNCTIONS, *LOGISTIC_REGRESSION, *NORMS, *MATRIX_MULTIPLICATION)
_WRAPPERS = (*LOGARITHMS, *RESCALED, *SUMS, *SPARSE_GRADIENTS)

# Other sizes, shapes and noises than those meta-trained on, to choose checkpoints by.
VALIDATION = (
    _family("quadratic", dimension=35),
    _family("quadratic", _noise(1.5), dimension=70),
    _family("bowl", condition=20.0, angle=0.5),
    _family("beale", _transform("rescale", low=0.01, high=100.0)),
    _family("ackley", _transform("loss_transform", function="square_root")),
    _family("logistic_regression", features=40, batch_size=32, separation=1.0),
    _family("norm", _noise(0.1), dimension=30, power=1.5),
    _family("dependency_chain", dimension=32),
    _family("outward_snake", dimension=32, samples=1000, batch_size=64),
    _family("random_mlp", inputs=16, hidden=[24, 12], classes=4, batch_size=32, activation="tanh"),
    _family("random_mlp", inputs=24, hidden=[40], classes=5, batch_size=64, activation="relu"),
    _family("cluster_mlp", inputs=40, hidden=[32], classes=10, batch_size=64, spread=1.5, activation="relu"),
)

# The held-out problems of the released code. Its Rosenbrock function, with and without noise, is one of those it trained on, and
# is left out for that.
TEST = (
    _family("quadratic", dimension=20),
    _family("quadratic", _noise(1.0), dimension=20),
    _family("logistic_regression", features=10, batch_size=100, separation=1.0, samples=10000),
    _family("logistic_regression", _noise(1.0), features=10, batch_size=100, separation=1.0, samples=10000),
    _family("random_mlp", inputs=10, hidden=[32, 64], classes=2, batch_size=100, samples=10000),
    _family("cluster_mlp", inputs=20, hidden=[32, 64], classes=10, batch_size=100, samples=10000, activation="sigmoid"),
    *(_family("mnist_mlp", activation=activation) for activation in ("sigmoid", "relu")),
    *(_family("mnist_conv", activation=activation, instances=4) for activation in ("sigmoid", "relu")),
)

# None of them is among the above.
REAL_DATA = (
    _family("digits_mlp"),
    _family("digits_autoencoder"),
    _family("mnist_autoencoder"),
    _family("mnist_deep"),
    _family("mnist_deep_layer_norm"),
    _family("mnist_resnet", instances=2),
    *(_family("char_rnn", cell=cell, instances=4) for cell in ("vanilla", "gru", "lstm")),
    _family("transformer", instances=4),
)

ENSEMBLES: dict[str, Ensemble] = {
    "wichrowska2017": Ensemble(
        "meta-training problems of the paper's text: every family and transformation, no neural network",
        (
            *_SHARED,
            *SEPARABLE,
            *SPARSE_SOFTMAX,
            *MINIBATCH_QUADRATICS,
            *DEPENDENCY_CHAINS,
            *OUTWARD_SNAKES,
            *MIN_MAX_WELLS,
            *_WRAPPERS,
        ),
    ),
    "wichrowska2017-released": Ensemble(
        "meta-training problems that the released code switches on by default: with small networks on random data",
        (*_SHARED, *NETWORKS, *_WRAPPERS, *SPARSE_NETWORKS),
    ),
    "wichrowska2017-validation": Ensemble("meta-validation: other sizes, scales, noises and networks than above", VALIDATION),
    "wichrowska2017-test": Ensemble("meta-test: the held-out problems of the released code, MNIST networks among them", TEST),
    "real-data": Ensemble("meta-test: networks on the embedded images and text", REAL_DATA),
}
