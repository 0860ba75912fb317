"""Compiled graphs: found again whatever was traced before them, and compiled once for all lengths."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.graph import Graph

ROOT = Path(__file__).parents[1]

# Truncations of several lengths of gradient descent on quadratics of two sizes, in the order of the command line.
TRUNCATIONS = """
import sys
from l2o_cli import runtime
runtime.set_environment()
import tensorflow as tf
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import Sgd
from l2o_cli.spec import Estimator, Objective
from l2o_problems.quadratics import Quadratic
weights = {"learning_rate": tf.constant(0.1)}
for dimension in map(int, sys.argv[1:]):
    problem = Quadratic(dimension)
    estimate = ESTIMATORS["truncated_backpropagation"](problem, Sgd(), MeasuredObjective(Objective(), problem), Estimator(), 6)
    particles = estimate.start(weights, 0, 2)
    print(dimension, *(float(estimate(weights, particles, tf.constant(steps), 0).norm) for steps in (2, 4, 6)))
"""


def truncations(cache, *dimensions):
    environment = os.environ | {"L2O_CACHE": str(cache)}
    environment.pop("TF_XLA_FLAGS", None)
    result = subprocess.run(
        [sys.executable, "-c", TRUNCATIONS, *map(str, dimensions)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return sorted(result.stdout.splitlines()), {path.name for path in Path(cache).glob("*/*/*.pb")}


@pytest.mark.slow
def test_the_cache_is_hit_in_any_order_and_for_any_length(tmp_path):
    printed, alone = truncations(tmp_path, 3)
    both, entries = truncations(tmp_path, 4, 3)
    # For each problem one entry for the truncation; the small ones (packing, means) are shared.
    assert alone < entries and len(entries - alone) == 1
    assert printed[0] in both


def test_a_graph_is_traced_once_for_each_shape():
    traces = []

    def double(value):
        traces.append(value.shape)
        return 2 * value

    graph = Graph(double, "double", xla=False)
    for values in ([1.0, 2.0], [3.0, 4.0], [5.0]):
        np.testing.assert_array_equal(graph(tf.constant(values)), 2 * np.array(values))
    assert [shape.as_list() for shape in traces] == [[2], [1]]


def test_many_gradients_are_added_up():
    def slope(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            total = value * 2 + value * value + tf.sin(value) + tf.exp(value)
        return tape.gradient(total, value)

    for xla in (False, True):
        actual = Graph(slope, "slope", xla)(tf.constant(0.5))
        np.testing.assert_allclose(actual, 2 + 1 + np.cos(0.5) + np.exp(0.5), rtol=1e-6)
