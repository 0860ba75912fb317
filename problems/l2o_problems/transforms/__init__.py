"""Problems around problems (Wichrowska et al. 2017, section 5.1, and later work), in any order and depth."""

from l2o_problems.transforms.base import Transform, layers
from l2o_problems.transforms.batches import ScaledInputs, SmallerBatches
from l2o_problems.transforms.gradients import DelayedGradients, GradientNoise, NormalizedGradients, SparseGradients
from l2o_problems.transforms.losses import LossTransform
from l2o_problems.transforms.params import ParameterNoise, RandomSubspace, ReducedPrecision, Rescale
from l2o_problems.transforms.sharing import alike
from l2o_problems.transforms.sum import SumOfProblems
