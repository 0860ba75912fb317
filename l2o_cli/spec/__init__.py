"""Experiment specs: YAML and command-line text <-> typed, documented, closed models."""

from l2o_cli.spec.meta_training import (
    Estimator,
    Lengths,
    MetaOptimizer,
    MetaTraining,
    Objective,
    OptimizerSpec,
    Schedule,
    Validation,
    read_meta_training,
)
from l2o_cli.spec.names import first_problem, make_optimizer, make_problem, unknown
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
    "Schedule",
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
