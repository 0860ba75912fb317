"""Problems and transformations by name."""

from problems.base import Problem
from problems.classifiers import ClusterMlp, LogisticRegression, RandomMlp
from problems.images import DigitsMlp, MnistConv, MnistMlp
from problems.quadratics import Quadratic
from problems.test_functions import Ackley, Rosenbrock
from problems.transforms import GradientNoise, Rescale, Transform

_TEST_FUNCTIONS = (Quadratic, Rosenbrock, Ackley)
_CLASSIFIERS = (LogisticRegression, RandomMlp, ClusterMlp)
_IMAGES = (DigitsMlp, MnistMlp, MnistConv)
PROBLEMS: dict[str, type[Problem]] = {cls.name: cls for cls in (*_TEST_FUNCTIONS, *_CLASSIFIERS, *_IMAGES)}
TRANSFORMS: dict[str, type[Transform]] = {cls.name: cls for cls in (Rescale, GradientNoise)}
