"""Optimizers around optimizers, hand-designed and learned, in any order and depth."""

from l2o_cli.optimizers.transforms.base import ScaledSteps, Transform, check_hyperparameter, layers, names_of
from l2o_cli.optimizers.transforms.gradients import Clipping, Regularization
from l2o_cli.optimizers.transforms.schedule import Schedule
from l2o_cli.optimizers.transforms.state import Averaging, LowPrecision
from l2o_cli.optimizers.transforms.steps import Decay, WeightDecay
from l2o_cli.optimizers.transforms.tensors import AdamWForVectors, FanIn, Orthogonalized, TrustRatio

__all__ = [
    "AdamWForVectors",
    "Averaging",
    "Clipping",
    "Decay",
    "FanIn",
    "LowPrecision",
    "Orthogonalized",
    "Regularization",
    "ScaledSteps",
    "Schedule",
    "Transform",
    "TrustRatio",
    "WeightDecay",
    "check_hyperparameter",
    "layers",
    "names_of",
]
