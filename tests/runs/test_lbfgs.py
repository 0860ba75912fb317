"""L-BFGS as a contender: known minima, evaluations as steps, the same starts as others, and where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_cli.comparison.plan import make_plan
from l2o_cli.comparison.run import carry_out
from l2o_cli.errors import BadInput
from l2o_cli.runs.contenders import batches_of, check_fits, contender
from l2o_cli.runs.lbfgs import Lbfgs, minimize
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, parse_problems
from l2o_cli.spec.names import make_problem
from l2o_cli.spec.reading import read_request
from l2o_cli.stages import Stages


def runs(problem, steps, seeds, one=None, **options):
    made = make_problem(problem)
    return batches_of(problem, made, one or Lbfgs(), steps=steps, xla=False, **options).run([{}], seeds)


def test_quadratic_reaches_its_minimum():
    """0.5 ||A x - b||^2, whose least value and place least squares tell; float64, no rounding in between."""
    rng = np.random.default_rng(0)
    matrix, target = rng.normal(size=(8, 5)), rng.normal(size=8)
    solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
    least = 0.5 * np.sum((matrix @ solution - target) ** 2)
    seen = []

    def loss_and_gradient(x):
        seen.append(x.copy())
        residual = matrix @ x - target
        return 0.5 * residual @ residual, matrix.T @ residual

    losses, seconds = minimize(loss_and_gradient, np.zeros(5), 60)
    assert losses.shape == seconds.shape == (60,) and len(seen) <= 60
    assert losses[0] == pytest.approx(0.5 * target @ target) and losses[-1] == pytest.approx(least, rel=1e-6)
    assert min(np.linalg.norm(x - solution) for x in seen) < 1e-5
    assert (np.diff(losses) <= 0).all() and (np.diff(seconds) >= 0).all()


def test_a_run_has_as_many_evaluations_as_steps():
    seen = []

    def loss_and_gradient(x):
        seen.append(x)
        return float(np.sum(x**4)), 4 * x**3

    whole, _ = minimize(loss_and_gradient, np.arange(1.0, 5.0), 50)
    seen.clear()
    short, _ = minimize(loss_and_gradient, np.arange(1.0, 5.0), 7)
    assert len(seen) == 7
    np.testing.assert_array_equal(short, whole[:7])


def test_points_without_a_loss_are_left():
    """x^2 - 5 x - log(1 - x) has no value from x = 1 on: the line search must come back from there."""

    def loss_and_gradient(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.sum(x**2 - 5 * x - np.log(1 - x))), 2 * x - 5 + 1 / (1 - x)

    losses, _ = minimize(loss_and_gradient, np.full(1, -3.0), 60)
    # 2 x - 5 + 1 / (1 - x) = 0 below 1.
    root = (7 - np.sqrt(49 - 32)) / 4
    assert losses[-1] == pytest.approx(root**2 - 5 * root - np.log(1 - root), abs=1e-5) and np.isfinite(losses).all()


def test_a_start_without_a_loss_ends_the_run():
    losses, seconds = minimize(lambda x: (np.nan, np.zeros_like(x)), np.zeros(2), 5)
    assert np.isnan(losses).all() and losses.shape == seconds.shape == (5,)


@pytest.mark.parametrize("problem", ["quadratic", "rosenbrock"])
def test_problems_are_solved(problem):
    both = runs(problem, 200, [0, 1])
    assert [run.seed for run in both] == [0, 1]
    for run in both:
        assert make_problem(problem).minimum == 0
        assert run.losses[-1] < 1e-5 * run.losses[0] and run.losses[-1] < 2e-4
        assert run.diverged_at is None and run.validation is None and run.hyperparameters == {}
        np.testing.assert_array_equal(run.mean_losses(run.every)[0], np.arange(101) * 2)
        assert run.seconds[0] == 0 and (np.diff(run.seconds) >= 0).all() and run.seconds[-1] > 0


def test_a_seed_means_the_same_start_as_for_others():
    [adam] = runs("quadratic", 2, [7], contender("adam"))
    [run] = runs("quadratic", 5, [7], every=2)
    assert run.losses[0] == pytest.approx(adam.losses[0], rel=1e-5)
    assert (run.every, run.optimizer, len(run.seconds)) == (2, Lbfgs.name, 4)


def test_stochastic_problems_are_refused():
    problems = {family.title: family.make() for text in ("quadratic", "digits_mlp") for family in parse_problems(text)}
    with pytest.raises(BadInput, match="'lbfgs' needs problems without minibatches and noise; 'digits_mlp' has them"):
        check_fits([contender("adam"), Lbfgs()], problems)
    check_fits([contender("adam")], problems)
    check_fits([Lbfgs()], {"quadratic": problems["quadratic"]})
    assert isinstance(batches_of("quadratic", problems["quadratic"], contender("adam"), steps=1), RuleBatches)


DETERMINISTIC = (
    "quadratic",
    "rosenbrock",
    "quadratic+rescale+loss_transform(function=log)",
)
STOCHASTIC = (
    "digits_mlp",
    "random_mlp+rescale",
    "quadratic+gradient_noise",
    "quadratic+delayed_gradients+rescale",
    "quadratic+parameter_noise",
)


@pytest.mark.parametrize("text", [*DETERMINISTIC, *STOCHASTIC])
def test_which_problems_are_deterministic(text):
    [family] = parse_problems(text)
    assert family.make().deterministic == (text in DETERMINISTIC)


def test_a_sum_is_as_deterministic_as_its_parts():
    noisy = {"name": "quadratic", "options": {}, "transforms": [{"name": "gradient_noise", "options": {}}]}
    plain = {"name": "quadratic", "options": {}, "transforms": []}
    assert make_problem("sum", {"problems": [plain, plain]}).deterministic
    assert not make_problem("sum", {"problems": [plain, noisy]}).deterministic


def test_it_has_no_rate_to_tune():
    spec = read_request(ComparisonSpec, None, {"problems": ["quadratic"], "baselines": ["lbfgs"]})
    with pytest.raises(BadInput, match="'lbfgs' has no learning_rate to tune; name it with --optimizer"):
        make_plan(spec)


def test_beside_others_in_an_evaluation(tmp_path):
    fields = {"problems": ["rosenbrock"], "optimizers": ["lbfgs", "adam"], "steps": 60, "seeds": 2, "xla": False}
    outcome = carry_out(make_plan(read_request(EvaluationSpec, None, fields)), tmp_path, Stages(quiet=True))
    rows = {entry.summary.optimizer: entry.summary for entry in outcome.entries}
    assert rows["lbfgs"].trials == 0 and rows["lbfgs"].seeds == 2
    final = {label: row.medians["final_train_loss"] for label, row in rows.items()}
    assert final["lbfgs"] < 1e-3 < final["adam"]
    curves = (tmp_path / "curves.csv").read_text().splitlines()
    assert sum(line.startswith("rosenbrock,lbfgs,0,") for line in curves) == 2 * 61
