"""Problems by name."""

from collections.abc import Callable
from functools import partial

from l2o_problems.base import Problem
from l2o_problems.chains import DependencyChain, MinMaxWell, OutwardSnake
from l2o_problems.classifiers import ClusterMlp, LogisticRegression, RandomMlp, SparseSoftmax
from l2o_problems.convolutions import ImageConv, ImageResnet
from l2o_problems.images import ImageAutoencoder, ImageCompletion, ImageMlp
from l2o_problems.markov import MarkovMlp, MarkovRnn, MarkovTransformer
from l2o_problems.matmul import MatrixMultiplication
from l2o_problems.quadratics import Bowl, Norm, ProjectionQuadratic, Quadratic, SumOfQuadratics
from l2o_problems.regression import LowRankAutoencoder, RegressionMlp
from l2o_problems.tabular import TabularMlp
from l2o_problems.text import CharRnn
from l2o_problems.transformer import TransformerLm
from l2o_problems.transforms import SumOfProblems
from l2o_problems.two_dimensional import FUNCTIONS
from l2o_problems.words import WordMlp

_QUADRATICS = (Quadratic, Bowl, Norm, ProjectionQuadratic, SumOfQuadratics)
_CHAINS = (DependencyChain, OutwardSnake, MinMaxWell, MatrixMultiplication)
_CLASSIFIERS = (LogisticRegression, RandomMlp, ClusterMlp, SparseSoftmax, TabularMlp)
_REGRESSION = (RegressionMlp, LowRankAutoencoder)
_IMAGES = (ImageMlp, ImageConv, ImageResnet, ImageAutoencoder, ImageCompletion)
_MARKOV = (MarkovMlp, MarkovRnn, MarkovTransformer)
_TEXT = (CharRnn, TransformerLm, WordMlp)

# name: (summary, family with the options that make it)
_NAMED: dict[str, tuple[str, Callable[..., Problem]]] = {
    "digits_mlp": ("MLP on 8x8 handwritten digits", partial(ImageMlp, data="digits", hidden=(32,))),
    "digits_autoencoder": ("autoencoder of 8x8 handwritten digits", partial(ImageAutoencoder, data="digits", hidden=(32, 8, 32))),
    "mnist_mlp": ("MLP on MNIST", partial(ImageMlp, data="mnist", hidden=(64,))),
    "mnist_deep": (
        "MLP of six layers on MNIST, batch normalization",
        partial(ImageMlp, data="mnist", hidden=(64,) * 5, normalization="batch"),
    ),
    "mnist_deep_layer_norm": (
        "MLP of six layers on MNIST, layer normalization",
        partial(ImageMlp, data="mnist", hidden=(64,) * 5, normalization="layer"),
    ),
    "mnist_conv": ("small convolutional network on MNIST", partial(ImageConv, data="mnist")),
    "mnist_resnet": ("small residual network on MNIST", partial(ImageResnet, data="mnist")),
    "mnist_autoencoder": ("autoencoder of MNIST", partial(ImageAutoencoder, data="mnist")),
    "fashion_mlp": ("MLP on Fashion-MNIST", partial(ImageMlp, data="fashion_mnist", hidden=(64,))),
    "fashion_conv": ("small convolutional network on Fashion-MNIST", partial(ImageConv, data="fashion_mnist")),
    "cifar10_mlp": ("MLP on CIFAR-10", partial(ImageMlp, data="cifar10", hidden=(128,))),
    "cifar10_conv": ("small convolutional network on CIFAR-10", partial(ImageConv, data="cifar10")),
    "cifar10_resnet": ("small residual network on CIFAR-10", partial(ImageResnet, data="cifar10")),
    "cifar100_resnet": ("small residual network on CIFAR-100", partial(ImageResnet, data="cifar100")),
    "svhn_conv": ("small convolutional network on SVHN", partial(ImageConv, data="svhn")),
    "svhn_resnet": ("small residual network on SVHN", partial(ImageResnet, data="svhn")),
    "imagenet16_resnet": ("small residual network on ImageNet of 16x16 pixels", partial(ImageResnet, data="imagenet16")),
    "imagenet32_resnet": ("small residual network on ImageNet of 32x32 pixels", partial(ImageResnet, data="imagenet32")),
}

_GROUPS: tuple[tuple[type[Problem], ...], ...] = (
    *(_QUADRATICS, FUNCTIONS, _CHAINS, _CLASSIFIERS),
    *(_REGRESSION, _MARKOV, _IMAGES, _TEXT, (SumOfProblems,)),
)
PROBLEMS: dict[str, Callable[..., Problem]] = {family.name: family for group in _GROUPS for family in group}
PROBLEMS |= {name: make for name, (_, make) in _NAMED.items()}


def summary_of(name: str) -> str:
    """What the problem `name` is, in one line."""
    return _NAMED[name][0] if name in _NAMED else PROBLEMS[name].summary  # type: ignore[attr-defined]
