"""Compiled graphs: found again whatever was traced before them, compiled once for all lengths, and the same without internals."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli import errors, graph, lean_graphs
from l2o_cli.graph import Graph
from l2o_cli.runs.keys import numerics

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


# A rollout and a meta-gradient, with and without XLA.
SMALL = """
from l2o_cli import runtime
runtime.set_environment()
import tensorflow as tf
from l2o_cli import graph
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import LearnedAdam
from l2o_cli.rollout import Rollout
from l2o_cli.spec import Estimator, Objective
from l2o_problems.convolutions import ImageConv
from l2o_problems.regression import RegressionMlp
rule = LearnedAdam(initial_rate=0.1)
weights = {name: tf.constant(value) for name, value in rule.init_weights(0).items()}
numbers = []
conv = ImageConv(data="digits", channels=(2,), kernels=(1,), strides=(2,), batch_size=4)
for problem in (RegressionMlp(hidden=(4,), samples=40), conv):
    run = Rollout(problem, rule, maximum=4)
    numbers += run(weights, run.start(weights, 0, 2), 4)[1].numpy().ravel().tolist()
estimate = ESTIMATORS["truncated_backpropagation"](problem, rule, MeasuredObjective(Objective(), problem), Estimator(), 4)
numbers += estimate(weights, estimate.start(weights, 0, 2), tf.constant(4), 0).gradient.numpy().tolist()
kind = graph.kind()
"""


@pytest.mark.slow
def test_the_public_interface_of_tensorflow_is_enough():
    script = f"{SMALL}\nimport sys\nprint('l2o_cli.lean_graphs' in sys.modules, kind, *numbers)"
    environment = os.environ | {"L2O_PLAIN_TENSORFLOW": "1"}
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lean, kind, *numbers = done.stdout.split()
    here = {}
    exec(SMALL, here)
    assert (lean, kind, here["kind"]) == ("False", "plain", "lean")
    assert len(numbers) == len(here["numbers"]) == 2 * 4 * 2 + 4 and np.all(np.isfinite(here["numbers"]))
    np.testing.assert_allclose(np.array(numbers, float), here["numbers"], rtol=1e-4, atol=1e-6)


def _double(value):
    return 2 * value


@pytest.mark.parametrize("missing", ["uid", "module"])
def test_another_tensorflow_without_the_internals_does(missing, monkeypatch, capsys):
    before = numerics()
    assert before["graphs"] == "lean"
    if missing == "uid":
        monkeypatch.setattr(lean_graphs, "ops", SimpleNamespace(gradient_registry=lean_graphs.ops.gradient_registry))
    else:
        monkeypatch.delattr("l2o_cli.lean_graphs")
        monkeypatch.setitem(sys.modules, "l2o_cli.lean_graphs", None)
    graph._internals.cache_clear()
    errors.warn_once.cache_clear()
    try:
        for xla in (False, True):
            doubled = Graph(_double, "double", xla)
            np.testing.assert_array_equal(doubled(tf.constant([1.0, 2.0])), [2.0, 4.0])
            np.testing.assert_array_equal(doubled(tf.constant([3.0])), [6.0])
        assert numerics() == {**before, "graphs": "plain"}
    finally:
        graph._internals.cache_clear()
    said = capsys.readouterr().err
    assert said.count("l2o: warning: this TensorFlow has other internals") == said.count("\n") == 1 and missing in said


def test_the_switch_is_1_or_0(l2o, monkeypatch):
    monkeypatch.setenv("L2O_PLAIN_TENSORFLOW", "yes")
    done = l2o("problems")
    assert done.returncode == 2 and done.stderr == "l2o: error: L2O_PLAIN_TENSORFLOW=yes: expected 1 or 0\n"


def test_one_file_reaches_into_tensorflow():
    internals = re.compile(r"\b(tensorflow|keras)\.(python|src)\b")
    sources = [file for package in ("l2o_cli", "problems") for file in (ROOT / package).rglob("*.py")]
    assert [file.name for file in sources if internals.search(file.read_text())] == ["lean_graphs.py"]
