"""The data sets there are, and what is known of them without reading them."""

from __future__ import annotations

from l2o_problems.data.dataset import DataInfo
from l2o_problems.data.embedded import Embedded
from l2o_problems.data.idx import SystemPackage
from l2o_problems.data.prepared import Prepared

# title, side, channels, classes, peak, sources
DATA_SETS = {
    "digits": DataInfo("UCI handwritten digits 8x8", 8, 1, 10, 16, (Embedded("digits.npz"),)),
    "mnist": DataInfo("MNIST", 28, 1, 10, 255, (Prepared("mnist"), Embedded("mnist5k.npz", "5,000 embedded digits"))),
    "fashion_mnist": DataInfo(
        "Fashion-MNIST",
        28,
        1,
        10,
        255,
        (SystemPackage("fashion-mnist", "dataset-fashion-mnist"), Prepared("fashion_mnist")),
    ),
    "cifar10": DataInfo("CIFAR-10", 32, 3, 10, 255, (Prepared("cifar10"),)),
    "cifar100": DataInfo("CIFAR-100", 32, 3, 100, 255, (Prepared("cifar100"),)),
    "svhn": DataInfo("SVHN", 32, 3, 10, 255, (Prepared("svhn_cropped"),)),
    "imagenet16": DataInfo("ImageNet 16x16", 16, 3, 1000, 255, (Prepared("imagenet_resized/16x16", test="validation"),)),
    "imagenet32": DataInfo("ImageNet 32x32", 32, 3, 1000, 255, (Prepared("imagenet_resized/32x32", test="validation"),)),
}
