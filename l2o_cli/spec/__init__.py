"""Experiment specs: YAML and command-line text <-> typed, documented, closed models."""

from l2o_cli.spec.comparison import ComparisonSpec, EvaluationSpec, named_problems, read_request
from l2o_cli.spec.estimators import Estimator
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer, Schedule
from l2o_cli.spec.meta_training import MetaTraining, Rollback, Validation, read_meta_training
from l2o_cli.spec.model import TransformSpec
from l2o_cli.spec.names import first_problem, make_optimizer, make_problem, transformed, unknown
from l2o_cli.spec.objectives import Objective, Term
from l2o_cli.spec.optimizers import OptimizerSpec
from l2o_cli.spec.problems import ProblemSpec, parse_problems
from l2o_cli.spec.text import parse_part, part_text, split_outside, to_yaml

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
    "make_optimizer",
    "make_problem",
    "named_problems",
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
