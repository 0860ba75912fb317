"""Problems and transformations by name."""

from problems.base import Problem
from problems.quadratics import Quadratic

PROBLEMS: dict[str, type[Problem]] = {cls.name: cls for cls in (Quadratic,)}
TRANSFORMS: dict[str, type[Problem]] = {}
