"""Experiment specs: YAML and command-line text <-> typed, documented, closed models.

Without TensorFlow, so that the command line can show the fields at once; `names` and `reading` need it.
"""

from l2o_cli.spec.comparison import ComparisonSpec, EvaluationSpec, from_texts
from l2o_cli.spec.faults import first_problem, unknown
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer
from l2o_cli.spec.meta_training import Estimator, MetaTraining, Rollback, Validation
from l2o_cli.spec.model import TransformSpec
from l2o_cli.spec.objectives import Objective, Term
from l2o_cli.spec.optimizers import OptimizerSpec
from l2o_cli.spec.problems import ProblemSpec, parse_problems
from l2o_cli.spec.text import parse_part, part_text, split_outside, to_yaml
