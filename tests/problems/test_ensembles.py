"""Named ensembles: what they hold, and that they share nothing."""

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.base import Problem
from l2o_problems.classifiers import MlpClassifier
from l2o_problems.ensembles import ENSEMBLES
from l2o_problems.images import ImageProblem
from l2o_problems.random import as_seed, fold
from l2o_problems.transforms import SumOfProblems, Transform, alike

from l2o_cli.spec import parse_problems

FAMILIES = {name: parse_problems(name) for name in ENSEMBLES}
TRAINING, RELEASED = "wichrowska2017", "wichrowska2017-released"


def innermost(problem: Problem) -> list[Problem]:
    if isinstance(problem, Transform):
        return innermost(problem.inner)
    if isinstance(problem, SumOfProblems):
        return [part for own in problem.problems for part in innermost(own)]
    return [problem]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_titles_are_different_and_weights_equal(name):
    assert len({family.title for family in FAMILIES[name]}) == len(FAMILIES[name])
    assert {round(family.weight * len(FAMILIES[name]), 6) for family in FAMILIES[name]} == {1.0}


def test_numbers_of_families():
    # The groups that the released code switches on by default, in the order of its flags.
    released = 4 + 3 + 8 + 8 + 18 + 12 + 10 + 6 + 9 + 6 + 8 + 6 + 3
    assert len(FAMILIES[RELEASED]) == released
    # Without the networks, and with four separable regressions and all groups that are off by default.
    assert len(FAMILIES[TRAINING]) == released - 12 - 3 + 4 + 2 + 10 + 10 + 5 + 10 + 5


def test_the_papers_ensemble_has_every_family_and_no_network():
    parts = [part for family in FAMILIES[TRAINING] for part in innermost(family.make())]
    assert not any(isinstance(part, MlpClassifier | ImageProblem) for part in parts)
    names = {part.name for part in parts}
    assert names >= {"quadratic", "bowl", "logistic_regression", "sparse_softmax", "norm", "matrix_multiplication"}
    assert names >= {"projection_quadratic", "sum_of_quadratics", "dependency_chain", "outward_snake", "min_max_well"}
    assert names >= {
        "ackley",
        "beale",
        "booth",
        "branin",
        "log_sum_exp",
        "matyas",
        "michalewicz",
        "rosenbrock",
        "styblinski_tang",
    }


def test_meta_validation_and_meta_test_share_no_problem_with_anything():
    made = {name: {family.make() for family in families} for name, families in FAMILIES.items()}
    training = made.pop(TRAINING) | made.pop(RELEASED)
    held_out = list(made.values())
    assert len(held_out) > 2 and all(held_out)
    for index, problems in enumerate(held_out):
        assert not problems & training
        assert not any(problems & other for other in held_out[index + 1 :])


def test_families_of_one_shape_share_a_compilation():
    problems = [family.make() for family in FAMILIES[TRAINING]]
    assert len(problems) == 132
    assert len({problem.structure for problem in problems}) == 99
    assert len({problem.structure for problem in alike(problems)}) == 69


STARTED = (TRAINING, RELEASED, "wichrowska2017-validation")


@pytest.mark.parametrize("name", STARTED)
def test_every_family_starts_finite_and_not_below_its_bound(name):
    before = {family.make() for earlier in STARTED[: STARTED.index(name)] for family in FAMILIES[earlier]}
    new = [family for family in FAMILIES[name] if family.make() not in before]
    assert new
    for family in new:
        problem = family.make()
        instances = 1 if family.instances else 3
        task = problem.sample(as_seed(1), instances)
        params, batch = problem.initial_params(fold(as_seed(1), 1), task), problem.batch(fold(as_seed(1), 2), task, "train")
        loss, bound = problem.loss(params, task, batch), problem.lower_bound(task)
        assert loss.shape == (instances,) and np.isfinite(loss).all() and np.all(loss >= bound), family.title
        assert sum(int(tf.size(leaf)) for leaf in task.values()) < 20e6, family.title
