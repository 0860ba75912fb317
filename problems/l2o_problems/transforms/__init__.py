"""Problems around problems (Wichrowska et al. 2017, section 5.1, and later work), in any order and depth."""

from l2o_problems.transforms.base import Transform, layers
from l2o_problems.transforms.batches import ScaledInputs, SmallerBatches
from l2o_problems.transforms.gradients import DelayedGradients, GradientNoise, NormalizedGradients, SparseGradients
from l2o_problems.transforms.losses import LossTransform
from l2o_problems.transforms.params import ParameterNoise, RandomSubspace, ReducedPrecision, Rescale
from l2o_problems.transforms.sharing import alike
from l2o_problems.transforms.sum import SumOfProblems

__all__ = ["TRANSFORMS", "SumOfProblems", "Transform", "alike", "layers"]

_OF_PARAMS = (Rescale, RandomSubspace, ParameterNoise, ReducedPrecision)
_OF_GRADIENTS = (GradientNoise, SparseGradients, NormalizedGradients, DelayedGradients)
_OF_BATCHES = (SmallerBatches, ScaledInputs)
TRANSFORMS: dict[str, type[Transform]] = {cls.name: cls for cls in (*_OF_PARAMS, *_OF_GRADIENTS, LossTransform, *_OF_BATCHES)}
