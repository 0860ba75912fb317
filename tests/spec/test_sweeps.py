"""Sweeps in the spec of a comparison: what may be written, and what is wrong in one line."""

import pytest

from l2o_cli.errors import BadInput
from l2o_cli.spec import ComparisonSpec, to_yaml
from l2o_cli.spec.reading import read_request
from l2o_cli.spec.sweeps import VALUES, SweepSpec


@pytest.fixture
def read(tmp_path):
    def read(sweep):
        path = tmp_path / "spec.yaml"
        path.write_text(f"problems: []\nsweeps:\n  - {sweep}\n")
        return read_request(ComparisonSpec, path, {}).sweeps[0]

    return read


def test_defaults(read):
    sweep = read('{over: learning_rate, problem: "quadratic(dimension=20)"}')
    assert sweep.points == (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0) and sweep.title == "learning_rate-quadratic"
    assert sweep.problem.make().dimension == 20
    assert (sweep.optimizers, sweep.baselines, sweep.steps, sweep.seeds) == (None, None, None, None)
    assert read("{over: horizon, problem: quadratic}").points == (1, 2, 10)
    option = read("{over: option, option: power, problem: norm, values: [1, 3], name: powers, baselines: []}")
    assert (option.title, option.points, option.baselines) == ("powers", (1, 3), ())


def test_every_default_is_allowed():
    for over, values in VALUES.items():
        assert SweepSpec.model_validate({"over": over, "problem": "quadratic", "values": values}).points == values


def test_a_spec_that_was_written_reads_back_the_same(read, tmp_path):
    spec = ComparisonSpec(problems=(), sweeps=(read("{over: depth, problem: 'mnist_mlp(hidden=[8])+rescale', seeds: 2}"),))
    (tmp_path / "again.yaml").write_text(to_yaml(spec))
    assert read_request(ComparisonSpec, tmp_path / "again.yaml", {}) == spec


def test_a_problem_in_a_file_lies_beside_the_spec(read, tmp_path):
    (tmp_path / "own.py").write_text("from l2o_problems.quadratics import Quadratic\n")
    text = read("{over: option, option: dimension, values: [3], problem: 'own.py:Quadratic'}")
    mapping = read("{over: option, option: dimension, values: [3], problem: {name: 'own.py:Quadratic'}}")
    for sweep in (text, mapping):
        changed = sweep.problem_with({"dimension": 3})
        assert changed.make().dimension == 3 and changed.title == "own.py:Quadratic with dimension=3"
        assert sweep.title == "dimension-own.py-Quadratic"


@pytest.mark.parametrize(
    ("sweep", "complaint"),
    [
        ("{over: size, problem: quadratic}", "sweeps.0.over: "),
        ("{over: width}", "sweeps.0.problem: "),
        ("{over: width, problem: quadratic, value: [1]}", "sweeps.0.value: unknown field"),
        ("{over: width, problem: real-data}", "sweeps.0.problem: 'real-data' is an ensemble"),
        ("{over: width, problem: ''}", "sweeps.0.problem: no problem is given"),
        ("{over: width, problem: quadratic, values: [8, 2.5]}", "sweeps.0.values.1: expected a whole number above 0, found 2.5"),
        ("{over: step_time, problem: mnist_mlp, values: [0]}", "sweeps.0.values.0: expected a whole number above 0, found 0"),
        ("{over: horizon, problem: quadratic, values: [1, two]}", "sweeps.0.values.1: expected a number above 0, found 'two'"),
        ("{over: learning_rate, problem: quadratic, values: [1e-3, -1]}", "sweeps.0.values.1: expected a number above 0"),
        ("{over: horizon, problem: quadratic, values: [2, 2]}", "sweeps.0.values.1: 2 is there twice"),
        ("{over: option, problem: quadratic, values: [2]}", "sweeps.0.option: missing"),
        ("{over: option, option: dimension, problem: quadratic}", "sweeps.0.values: missing"),
        ("{over: width, option: hidden, problem: mnist_mlp}", "sweeps.0.option: only for over: option"),
        ("{over: training_problems, problem: quadratic}", "sweeps.0.checkpoints: missing"),
        ("{over: width, checkpoints: [hrnn], problem: mnist_mlp}", "sweeps.0.checkpoints: only for over: training_problems"),
        ("{over: training_problems, problem: quadratic, checkpoints: [hrnn], values: [1]}", "sweeps.0.values: the number"),
        ("{over: width, problem: mnist_mlp, name: 'a/b'}", "sweeps.0.name: "),
        ("{over: width, problem: mnist_mlp, seeds: 0}", "sweeps.0.seeds: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(read, sweep, complaint):
    with pytest.raises(BadInput) as caught:
        read(sweep)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)
