"""Problems in specs and on the command line: ensembles, draws from distributions, text."""

import numpy as np
import pytest
from l2o_problems.quadratics import Quadratic
from l2o_problems.transforms import GradientNoise, Rescale

from l2o_cli.comparison.cell import make_problems
from l2o_cli.errors import BadInput
from l2o_cli.spec import parse_problems, split_outside, to_yaml
from l2o_cli.spec.reading import read_meta_training


@pytest.fixture
def read(tmp_path):
    def read(problems, seed=0):
        path = tmp_path / "spec.yaml"
        path.write_text(f"seed: {seed}\noptimizer: {{name: hrnn}}\nproblems:\n{problems}")
        return read_meta_training(path)

    return read


def test_an_ensemble_is_named_filtered_weighted_and_wrapped(read):
    spec = read(
        """
  - {name: quadratic, options: {dimension: 3}, weight: 2}
  - ensemble: wichrowska2017
    only: [quadratic*, ackley]
    without: ["*1024*", "*+gradient_noise*", "*rescale*", "*loss_transform*", "*sparse*"]
    weight: 3
    transforms: [{name: rescale, options: {low: 0.5}}]
"""
    )
    assert [entry.title for entry in spec.problems] == [
        "quadratic(dimension=3)",
        "quadratic(dimension=25)+rescale",
        "quadratic(dimension=784)+rescale",
        "quadratic(dimension=2048)+rescale",
        "ackley+rescale",
    ]
    assert [entry.weight for entry in spec.problems] == pytest.approx([2, 0.75, 0.75, 0.75, 0.75])
    assert [entry.instances for entry in spec.problems] == [None, None, 2, 2, None]
    assert spec.problems[1].make() == Rescale(Quadratic(25), low=0.5)


def test_a_resolved_spec_reads_back_the_same(read, tmp_path):
    spec = read(
        "  - {ensemble: wichrowska2017-validation}\n  - {name: quadratic, options: {dimension: {integer: [2, 99]}}, draws: 3}"
    )
    (tmp_path / "again.yaml").write_text(to_yaml(spec))
    assert read_meta_training(tmp_path / "again.yaml") == spec


def test_draws_are_families_that_share_the_weight_and_follow_the_seed(read):
    text = """
  - name: quadratic
    options: {dimension: {log_integer: [2, 200]}}
    transforms: [{name: rescale, options: {low: {log_uniform: [1e-3, 1e-1]}, per: {choice: [tensor, global]}}}]
    weight: 5
    draws: 40
"""
    spec, again, other = read(text), read(text), read(text, seed=1)
    assert spec.problems == again.problems and spec.problems != other.problems
    sizes = np.array([entry.options["dimension"] for entry in spec.problems])
    lows = np.array([entry.transforms[0].options["low"] for entry in spec.problems])
    assert sizes.min() >= 2 and sizes.max() <= 200 and np.median(sizes) < 60 and len(set(sizes)) > 15
    assert lows.min() >= 1e-3 and lows.max() <= 1e-1 and 3e-3 < np.median(lows) < 3e-2
    assert {entry.transforms[0].options["per"] for entry in spec.problems} == {"tensor", "global"}
    assert sum(entry.weight for entry in spec.problems) == pytest.approx(5)
    assert len({entry.title for entry in spec.problems}) == 40
    for entry in spec.problems[:5]:
        entry.make()


def test_labelled_draws_and_repeated_problems_have_titles_of_their_own(read):
    spec = read(
        """
  - {name: norm, label: norms, options: {power: {uniform: [1, 3]}}, draws: 2}
  - {name: ackley}
  - {name: ackley}
"""
    )
    assert [entry.title for entry in spec.problems] == ["norms 1", "norms 2", "ackley", "ackley #2"]
    assert 1 <= spec.problems[0].make().power <= 3


@pytest.mark.parametrize(
    ("problems", "complaint"),
    [
        ("  - {ensemble: wichrowska}", "problems.0: unknown ensemble 'wichrowska'; did you mean 'wichrowska2017'"),
        ("  - {name: ackley}\n  - {ensemble: wichrowska2017, onli: [x]}", "problems.1.onli: unknown field"),
        ("  - {ensemble: wichrowska2017, only: [quadratik*]}", "problems.0: .*no family 'quadratik\\*'"),
        ("  - {ensemble: wichrowska2017, without: ['*']}", "problems.0: .*no family is left"),
        ("  - {name: ackley, weigth: 2}", "problems.0.weigth: unknown field"),
        ("  - {name: ackley, weight: 0}", "problems.0.weight: .*greater than 0"),
        ("  - {name: ackley}\n  - {weight: 1}", "problems.1.name: .*required"),
        ("  - {name: quadratic, options: {dimension: {log_integer: [0, 5]}}}", "problems.0: .*log_integer.*not a distribution"),
        ("  - {name: quadratic, options: {dimension: {log_integer: [7]}}}", "problems.0: .*log_integer.*not a distribution"),
        ("  - {name: sum, options: {problems: [{name: ackle}]}}", "problems.0: .*problems.0: unknown problem 'ackle'"),
        ("  - {name: nowhere.py:Mine}", "problems.0: .*nowhere.py.* no file"),
        ("  - ackle", "problems.0: unknown problem 'ackle'"),
        ("  - quadratic(5)", "problems.0: .*'5' is not option=value"),
        ("  - 5", "problems.0: .*"),
        ("  ackley", "problems: .*"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(read, problems, complaint):
    with pytest.raises(BadInput, match=complaint) as error:
        read(problems)
    assert "spec.yaml" in str(error.value) and "\n" not in str(error.value)


def test_entries_may_be_texts(read):
    spec = read("  - wichrowska2017-validation\n  - quadratic(dimension=4)+rescale\n  - {name: ackley, weight: 2}")
    assert len(spec.problems) == 14 and spec.problems[12].make() == Rescale(Quadratic(4))
    assert [sum(entry.weight for entry in part) for part in (spec.problems[:12], spec.problems[12:])] == [pytest.approx(1), 3]


def test_problems_as_text():
    made = make_problems(["quadratic(dimension=7)+rescale(low=1e-2, per=tensor)+gradient_noise", "ackley"])
    assert list(made) == ["quadratic(dimension=7)+rescale(low=1e-2, per=tensor)+gradient_noise", "ackley"]
    assert next(iter(made.values())) == GradientNoise(Rescale(Quadratic(7), low=1e-2, per="tensor"))
    [network] = parse_problems("random_mlp(hidden=[8, 4], activation=tanh)")
    assert network.make().hidden == (8, 4)
    assert len(make_problems(["wichrowska2017-validation"])) == 12


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("quadratic(5)", "'5' is not option=value"),
        ("quadratic(dimension=[)", "expected NAME|not option=value"),
        ("quadratic(dimension=0)", "dimension must be"),
        ("quadratic)(", "expected NAME"),
        ("quadratic+rescal", "unknown transformation 'rescal'"),
        ("", "no problem is given"),
    ],
)
def test_wrong_texts_are_errors_of_one_line(text, complaint):
    with pytest.raises(BadInput, match=complaint) as error:
        make_problems([text])
    assert "\n" not in str(error.value)


def test_a_text_is_split_outside_brackets_alone():
    assert split_outside("a, b(c=[1,2],d={x,y}) ,, e", ",") == ["a", "b(c=[1,2],d={x,y})", "e"]
