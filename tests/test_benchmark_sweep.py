"""`l2o bench --sweep`: the Keras runs are of the same network on the same data, and as many of the same length."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from l2o_problems.convolutions import ImageConv
from l2o_problems.images import ImageMlp
from l2o_problems.random import as_seed

from l2o_cli import runtime
from l2o_cli.benchmark import sweep
from l2o_cli.benchmark.keras_fit import FitOptions, KerasFit, minibatches
from l2o_cli.commands.bench import bench
from l2o_cli.errors import BadInput

PLAIN = FitOptions(jit_compile=False, steps_per_execution=2, gathered=True)
DEFAULT = PLAIN._replace(steps_per_execution=1)
MLP = ImageMlp(data="digits", hidden=(9, 7), activation="leaky_relu", batch_size=16)
CONV = ImageConv(data="digits", channels=(3, 8), kernels=(3, 5), strides=(2, 1), activation="tanh", batch_size=16)


@pytest.mark.parametrize("problem", [MLP, CONV], ids=["mlp", "conv"])
def test_the_model_is_the_network_of_the_problem(problem):
    task = problem.sample(as_seed(0), 1)
    params = problem.initial_params(as_seed(1), task)
    fit = KerasFit(problem, PLAIN)
    for variable, (name, value) in zip(fit.model.trainable_variables, params.items(), strict=True):
        variable.assign(value[0] + (0.1 if len(problem.param_shapes[name]) == 1 else 0.0))  # biases that have a say
    params = {name: value + (0.1 if len(problem.param_shapes[name]) == 1 else 0.0) for name, value in params.items()}
    expected = problem.loss(params, task, problem.batch(as_seed(2), task, "validation"))
    np.testing.assert_allclose(fit.held_out_loss(), expected[0], rtol=1e-5)


@pytest.mark.parametrize("problem", [MLP, CONV], ids=["mlp", "conv"])
def test_initial_weights_are_drawn_as_those_of_the_problem(problem):
    params = problem.initial_params(as_seed(1), problem.sample(as_seed(0), 200))
    fit = KerasFit(problem, PLAIN)
    for variable, value in zip(fit.model.trainable_variables, params.values(), strict=True):
        variables = np.concatenate([np.ravel(fit._initial(variable.shape, seed)) for seed in range(200)])
        np.testing.assert_allclose(np.std(variables), np.std(value), rtol=0.1)


def test_each_run_begins_anew_and_makes_its_steps():
    fit = KerasFit(MLP, PLAIN)
    weights = {}
    for rate, seed in ((0.01, 0), (0.0, 0), (0.0, 1)):
        fit.fit(rate, seed, 6)
        assert int(fit.model.optimizer.iterations) == 6
        assert float(fit.model.optimizer.learning_rate) == pytest.approx(rate)
        weights[rate, seed] = fit.model.trainable_variables[0].numpy()
    np.testing.assert_array_equal(weights[0.0, 0], fit._initial(weights[0.0, 0].shape, 0))  # at rate 0 nothing moves
    assert (weights[0.01, 0] != weights[0.0, 0]).mean() > 0.5
    assert (weights[0.0, 1] != weights[0.0, 0]).all()


@pytest.mark.parametrize("gathered", [False, True])
def test_minibatches_have_each_example_once_in_an_epoch(gathered):
    numbers = np.arange(12, dtype=np.int32)
    batches = list(minibatches(numbers[:, None].astype(np.float32), numbers, 4, gathered).take(6))
    for inputs, labels in batches:
        np.testing.assert_array_equal(inputs[:, 0], labels)
    epochs = np.concatenate([labels for _, labels in batches]).reshape(2, 12)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), [numbers, numbers])


@pytest.mark.slow
def test_a_sweep_of_both_gets_similar_losses(monkeypatch):
    monkeypatch.setattr(sweep, "_time_ways", lambda problem, steps, tell: {PLAIN: (1.0, 0.1), DEFAULT: (1.0, 0.2)})
    lines = []
    (row,) = sweep.measure_sweeps(lines.append, ["digits_mlp"], steps=150, rates=3, seeds=2)
    assert 0 < row["compiled_seconds"] < row["seconds"]
    assert [side["steps_per_execution"] for side in row["keras"]] == [1, 2]
    for side in row["keras"]:
        assert side["ratio"] == row["seconds"] / side["seconds"]
        assert side["seconds"] > side["first_run_seconds"] + side["other_run_seconds"] > side["other_run_seconds"] > 0
    assert [entry["learning_rate"] for entry in row["losses"]] == pytest.approx([10**-3.5, 1e-3, 10**-2.5], rel=1e-6)
    for entry in row["losses"]:
        assert abs(math.log(entry["loss"] / entry["keras_loss"])) < 0.4
        assert entry["loss"] < 2.3
    assert row["losses"][2]["loss"] < 0.6 * row["losses"][0]["loss"]
    assert sum("0 of 6 runs" in line for line in lines) == 2


@pytest.fixture(name="made")
def _made(monkeypatch):
    """The runs of a stand-in for `KerasFit`, by a clock of its own: a model takes 64 s to build, and one way is fast."""
    made, clock = [], SimpleNamespace(now=0.0)

    class Fake:
        def __init__(self, problem, options):
            self.pause = 1.0 if options == PLAIN else 2.0
            clock.now += 64.0

        def fit(self, rate, seed, steps):
            made.append((rate, seed, steps))
            clock.now += self.pause * steps

        def held_out_loss(self):
            clock.now += 1024.0  # is not timed
            return float(len(made))

    monkeypatch.setattr(sweep, "KerasFit", Fake)
    monkeypatch.setattr(sweep, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return made


def test_the_fastest_way_is_found_among_all(made):
    ways = sweep._time_ways(MLP, 2, lambda line: None)
    assert len(ways) == 8 and {way.jit_compile for way in ways} == {False, True}
    assert ways == {way: (64.0 + (1.0 if way == PLAIN else 2.0) * way.steps_per_execution, 1.0 + (way != PLAIN)) for way in ways}
    assert sweep._fastest(ways)[-1] == PLAIN
    assert sweep._fastest({DEFAULT: (1.0, 0.1), PLAIN: (1.0, 0.2)}) == [DEFAULT]
    assert sweep._fastest({DEFAULT: (1.0, 0.12), PLAIN: (1.0, 0.1)}) == [PLAIN]  # hardly slower
    assert sweep._fastest({DEFAULT: (1.0, 0.4), PLAIN: (1.0, 0.1)}) == [DEFAULT, PLAIN]


def test_the_others_are_made_one_after_another(made):
    jobs = [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]
    beside = sweep._Beside(MLP, PLAIN, jobs, 7, lambda line: None)
    beside.make(2)
    assert beside.losses == [1.0, 2.0] and beside.seconds == [71.0, 7.0]
    beside.make(4)
    assert made == [(rate, seed, 7) for rate, seed in jobs]
    figures = {"seconds": 92.0, "first_run_seconds": 71.0, "other_run_seconds": 7.0}
    assert beside.figures == {**PLAIN.described(), **figures}


def test_the_command_prints_both_and_the_ratio(monkeypatch):
    way = {**PLAIN.described(), "first_call_seconds": 0.5, "step_milliseconds": 0.25}
    times = {"seconds": 32.0, "first_run_seconds": 1.0, "other_run_seconds": 0.4}
    row = {
        **{"problem": "digits_mlp", "steps": 1000, "rates": 15, "seeds": 5, "seconds": 4.0, "compiled_seconds": 2.5},
        **{"keras": [{**PLAIN.described(), **times, "ratio": 0.125}], "keras_ways": [way]},
        **{"losses": [{"learning_rate": 0.01, "loss": 0.2, "keras_loss": None}]},
    }
    monkeypatch.setattr(sweep, "measure_sweeps", lambda tell: [row])
    monkeypatch.setattr("l2o_cli.runtime.compile_anew", lambda: None)
    result = CliRunner().invoke(bench, ["--sweep"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.endswith("  0.01                             0.2   diverged\n")
    assert "l2o / Keras: 0.125; 75 runs of each" in result.output
    assert "jit_compile=False, steps_per_execution=2, minibatches gathered: 32.0 s" in result.output
    with pytest.raises(BadInput, match="exclude each other"):
        CliRunner().invoke(bench, ["--sweep", "--estimators"], catch_exceptions=False)


def test_compiling_anew_leaves_other_flags_alone(monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
    runtime.compile_anew()
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_auto_jit=2"
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/nowhere")
    runtime.compile_anew()
    assert "TF_XLA_FLAGS" not in os.environ
