"""Experiment specs: YAML and command-line text <-> typed, documented, closed models.

What needs TensorFlow is imported when it is asked for, so that the command line can show the fields without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from l2o_cli.spec.comparison import ComparisonSpec, EvaluationSpec, from_texts
from l2o_cli.spec.estimators import Estimator
from l2o_cli.spec.faults import first_problem, unknown
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer, Schedule
from l2o_cli.spec.meta_training import MetaTraining, Rollback, Validation
from l2o_cli.spec.model import TransformSpec
from l2o_cli.spec.objectives import Objective, Term
from l2o_cli.spec.optimizers import OptimizerSpec
from l2o_cli.spec.problems import ProblemSpec, parse_problems
from l2o_cli.spec.text import parse_part, part_text, split_outside, to_yaml

if TYPE_CHECKING:
    from l2o_cli.spec.names import make_optimizer, make_problem, transformed
    from l2o_cli.spec.reading import read_meta_training, read_request

_WITH_TENSORFLOW = {
    "make_optimizer": "names",
    "make_problem": "names",
    "transformed": "names",
    "read_meta_training": "reading",
    "read_request": "reading",
}

__all__ = [
    "ComparisonSpec",
    "Estimator",
    "EvaluationSpec",
    "Lengths",
    "MetaOptimizer",
    "MetaTraining",
    "Objective",
    "OptimizerSpec",
    "ProblemSpec",
    "Rollback",
    "Schedule",
    "Term",
    "TransformSpec",
    "Validation",
    "first_problem",
    "from_texts",
    "make_optimizer",
    "make_problem",
    "parse_part",
    "parse_problems",
    "part_text",
    "read_meta_training",
    "read_request",
    "split_outside",
    "to_yaml",
    "transformed",
    "unknown",
]


def __getattr__(name: str) -> Any:
    if name not in _WITH_TENSORFLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WITH_TENSORFLOW[name]}"), name)
