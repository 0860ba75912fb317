"""Problems and transformations by name."""

from problems.base import Problem
from problems.classifiers import LogisticRegression, RandomMlp
from problems.images import DigitsMlp, MnistConv, MnistMlp
from problems.quadratics import Quadratic
from problems.test_functions import Ackley, Rosenbrock
from problems.transforms import GradientNoise, Rescale, Transform

PROBLEMS: dict[str, type[Problem]] = {
    cls.name: cls for cls in (Quadratic, Rosenbrock, Ackley, LogisticRegression, RandomMlp, DigitsMlp, MnistMlp, MnistConv)
}
TRANSFORMS: dict[str, type[Transform]] = {cls.name: cls for cls in (Rescale, GradientNoise)}
