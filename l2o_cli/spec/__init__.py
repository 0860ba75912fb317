"""Experiment specs: YAML and command-line text <-> typed, documented, closed models."""

from l2o_cli.spec.estimators import Estimator
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer, Schedule
from l2o_cli.spec.meta_training import MetaTraining, OptimizerSpec, Rollback, Validation, read_meta_training
from l2o_cli.spec.names import first_problem, make_optimizer, make_problem, unknown
from l2o_cli.spec.objectives import Objective, Term
from l2o_cli.spec.problems import ProblemSpec, TransformSpec, parse_problems, split_outside
from l2o_cli.spec.text import to_yaml, yaml_fault

__all__ = [
    "Estimator",
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
    "parse_problems",
    "read_meta_training",
    "split_outside",
    "to_yaml",
    "unknown",
    "yaml_fault",
]
