"""Optimizers around optimizers, hand-designed and learned, in any order and depth."""

from l2o_cli.optimizers.transforms.base import Transform, check_hyperparameter, layers, names_of
from l2o_cli.optimizers.transforms.gradients import Clipping, Regularization
from l2o_cli.optimizers.transforms.nominal import Nominal
from l2o_cli.optimizers.transforms.schedule import Schedule
from l2o_cli.optimizers.transforms.state import Averaging, LowPrecision
from l2o_cli.optimizers.transforms.steps import Decay, WeightDecay
from l2o_cli.optimizers.transforms.tensors import AdamWForVectors, FanIn, Orthogonalized, TrustRatio

__all__ = ["TRANSFORMS", "check_hyperparameter", "layers", "names_of"]

_OF_GRADIENTS, _OF_STATE = (Clipping, Regularization), (Averaging, LowPrecision)
_OF_STEPS = (WeightDecay, Decay, Schedule, FanIn, TrustRatio, Orthogonalized, AdamWForVectors)
TRANSFORMS: dict[str, type[Transform]] = {cls.name: cls for cls in (*_OF_GRADIENTS, *_OF_STEPS, *_OF_STATE, Nominal)}
