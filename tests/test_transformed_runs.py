"""Transformed optimizers in runs: carries of low precision, meta-training, the length of a run, tuned baselines."""

import csv

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from l2o_problems.quadratics import Quadratic
from l2o_problems.two_dimensional import Rosenbrock

from l2o_cli.carry import concatenate, repeat, select
from l2o_cli.commands.compare import compare
from l2o_cli.commands.optimizers import optimizers
from l2o_cli.errors import BadInput
from l2o_cli.export.resolve import resolve
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.trainer import Trainer
from l2o_cli.meta.validation import Validator
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.transforms import LowPrecision, Schedule
from l2o_cli.portraits.trajectories import trajectories
from l2o_cli.rollout import Rollout
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.spec import Estimator, MetaTraining, Objective, OptimizerSpec, Validation, to_yaml
from l2o_cli.spec.reading import read_meta_training

HRNN = HierarchicalRNN(hidden=(2,), time_scales=2)
STEPS = 6


def tensors(weights):
    return {name: tf.constant(value) for name, value in weights.items()}


@pytest.mark.parametrize("xla", [False, True])
def test_carries_keep_the_low_precision(xla):
    optimizer = LowPrecision(HRNN, keep=("log_rate",))
    weights = tensors(HRNN.init_weights(0))
    rollout = Rollout(Quadratic(4), optimizer, maximum=STEPS, xla=xla)
    start = rollout.start(weights, 0, 3)
    kinds = {name: "float32" if name == "log_rate" else "bfloat16" for name in start.state}
    after, losses = rollout(weights, start, STEPS)
    joined = concatenate([repeat(start, 2), select(tf.constant([True, False, True]), after, start)])
    for carry in (start, after, joined):
        assert {name: leaf.dtype.name for name, leaf in carry.state.items()} == kinds
    full = Rollout(Quadratic(4), HRNN, maximum=STEPS, xla=False)
    _, expected = full(weights, full.start(weights, 0, 3), STEPS)
    np.testing.assert_allclose(losses, expected, rtol=0.02)
    assert np.any(losses[-1].numpy() != expected[-1].numpy())


def test_meta_gradients_through_low_precision():
    name, gradients = "truncated_backpropagation", []
    for optimizer in (HRNN, LowPrecision(HRNN)):
        objective = MeasuredObjective(Objective(), Quadratic(4))
        estimate = ESTIMATORS[name](Quadratic(4), optimizer, objective, Estimator(name=name), STEPS, xla=False)
        weights = tensors(HRNN.init_weights(1))
        first = estimate(weights, estimate.start(weights, 0, 3), tf.constant(STEPS), 0)
        again = estimate(weights, first.particles, tf.constant(STEPS), 1)
        gradients.append(np.asarray(again.gradient, np.float64))
    exact, rounded = gradients
    assert np.isfinite(rounded).all() and np.any(rounded != exact)
    cosine = exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded)
    assert cosine > 0.9


def test_evaluation_tells_schedules_the_length_of_the_run():
    text = "sgd(learning_rate=0.05)+schedule(warmup=0.2)"
    [run] = RuleBatches("q", Quadratic(4), resolve(text), steps=10, xla=False).run([{}], [3])
    [expected] = RuleBatches("q", Quadratic(4), resolve(f"{text[:-1]},steps=10)"), steps=10, xla=False).run([{}], [3])
    [other] = RuleBatches("q", Quadratic(4), resolve(f"{text[:-1]},steps=20)"), steps=10, xla=False).run([{}], [3])
    np.testing.assert_array_equal(run.losses, expected.losses)
    assert np.any(run.losses != other.losses)
    # The first step is 0, see Keras's warm-up.
    assert run.losses[1] == run.losses[0] and run.losses[-1] < run.losses[0]


def test_trajectories_tell_schedules_the_length_of_the_run():
    small = "hrnn(hidden=[2],time_scales=2):untrained"
    [found] = trajectories(Rosenbrock(), resolve(f"{small}+schedule"), "a", None, 4, 0)
    [expected] = trajectories(Rosenbrock(), resolve(f"{small}+schedule(steps=4)"), "a", None, 4, 0)
    np.testing.assert_array_equal(found.points, expected.points)


def test_meta_validation_tells_schedules_the_length_of_the_run():
    spec = Validation(problems=[{"name": "quadratic", "options": {"dimension": 3}}], steps=5, instances=2)
    weights = tensors(HRNN.init_weights(0))
    found, expected, other = (
        Validator(spec, Objective(), Schedule(HRNN, steps=steps), 0, False).scores(weights) for steps in (None, 5, 50)
    )
    assert found == expected != other


def test_the_rate_of_a_transformed_baseline_is_tuned(tmp_path):
    text = "adam+schedule(kind=cosine,warmup=0.2)+weight_decay(rate=0.001)"
    arguments = ["--problems", "quadratic", "--baselines", f"{text},sgd", "--optimizer", "hrnn:untrained+clipping(norm=1)"]
    sizes = ["--trials", "3", "--steps", "10", "--seeds", "1", "--tuning-seeds", "1", "--no-xla", "--no-report", "--quiet"]
    result = CliRunner().invoke(compare, [*arguments, *sizes, "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    rows = list(csv.DictReader((tmp_path / "tuning.csv").open()))
    rates = {float(row["learning_rate"]) for row in rows if row["optimizer"] == text}
    assert len(rates) >= 3
    contenders = {row["optimizer"] for row in csv.DictReader((tmp_path / "scores.csv").open())}
    assert contenders == {text, "sgd", "hrnn:untrained+clipping(norm=1)"}


def test_the_listing_of_transformations():
    text = CliRunner().invoke(optimizers, ["--transforms"], catch_exceptions=False).output
    assert "schedule" in text and "warmup=0" in text and "keep=" in text and "inner=" not in text


def test_meta_training_under_a_schedule_tells_each_instance_its_horizon(tmp_path):
    spec = {
        "meta_steps": 3,
        "optimizer": "learned_rate+schedule(kind=linear)",
        "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
        "horizon": {"distribution": "log_uniform", "minimum": 5, "maximum": 40},
        "phase": "aligned",
        "instances": 6,
        "horizon_told": 0.5,
    }
    trainer = Trainer.open(MetaTraining.model_validate(spec), tmp_path / "run", xla=False)
    trainer.run(lambda progress: None)
    (people,) = trainer.state.families.populations
    (carry,) = people.particles(trainer.state.weights.current, 3).carries
    told = carry.state["schedule/horizon"].numpy()[0, :, 0]
    assert 0 < np.count_nonzero(told) < 6
    np.testing.assert_array_equal(told[told > 0], people.horizon[told > 0])


def test_a_spec_of_a_transformed_optimizer(tmp_path):
    problems = "problems: [{name: quadratic, options: {dimension: 3}}]"
    transforms = "[{name: clipping, options: {norm: 1.0}}, {name: low_precision}]"
    written = f"optimizer: {{name: hrnn, options: {{hidden: [3]}}, transforms: {transforms}}}"
    short = "optimizer: hrnn(hidden=[3])+clipping(norm=1.0)+low_precision"
    specs = []
    for text in (written, short):
        path = tmp_path / "spec.yaml"
        path.write_text(f"{text}\n{problems}\n")
        specs.append(read_meta_training(path))
    assert specs[0] == specs[1]
    made = specs[0].optimizer.make()
    assert specs[0].optimizer.title == "hrnn(hidden=[3])+clipping(norm=1.0)+low_precision"
    assert OptimizerSpec.of(made).make() == made
    path.write_text(to_yaml(specs[0]))
    assert read_meta_training(path) == specs[0]

    for text, message in (
        ("optimizer: hrnn+schedule(steps=0)", "steps"),
        ("optimizer: hrnn+averaging+schedule(constant=0.5,warmup=0.6)", "more than all of it"),
        ("optimizer: adam+clipping(norm=1)", r"optimizer\.name: 'adam' has nothing to meta-train"),
        ("optimizer: hrnn+cliping", "unknown transformation 'cliping'; did you mean 'clipping'"),
        ("optimizer: {name: hrnn, transforms: [{nam: x}]}", r"optimizer\.transforms\.0\.name"),
    ):
        path.write_text(f"{text}\n{problems}\n")
        with pytest.raises(BadInput, match=f"spec.yaml: .*{message}"):
            read_meta_training(path)
