"""Problems around problems (Wichrowska et al. 2017, section 5.1, and later work), in any order and depth."""

from problems.transforms.base import Transform
from problems.transforms.batches import ScaledInputs, SmallerBatches
from problems.transforms.gradients import DelayedGradients, GradientNoise, NormalizedGradients, SparseGradients
from problems.transforms.losses import LossTransform
from problems.transforms.params import ParameterNoise, RandomSubspace, ReducedPrecision, Rescale
from problems.transforms.sharing import alike
from problems.transforms.sum import SumOfProblems

__all__ = [
    "DelayedGradients",
    "GradientNoise",
    "LossTransform",
    "NormalizedGradients",
    "ParameterNoise",
    "RandomSubspace",
    "ReducedPrecision",
    "Rescale",
    "ScaledInputs",
    "SmallerBatches",
    "SparseGradients",
    "SumOfProblems",
    "Transform",
    "alike",
]
