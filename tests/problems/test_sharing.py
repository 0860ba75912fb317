"""Transformations that do nothing, where they save compilations."""

import numpy as np
from l2o_problems.quadratics import Bowl, Quadratic
from l2o_problems.random import as_seed
from l2o_problems.transforms import DelayedGradients, GradientNoise, LossTransform, Rescale, SparseGradients, alike
from l2o_problems.transforms.sharing import AnyTestFunction
from l2o_problems.two_dimensional import FUNCTIONS, Ackley, Rosenbrock


def test_twins_with_and_without_noise_become_alike():
    plain, noisy, other = alike([Rosenbrock(), GradientNoise(Ackley(), deviation=2.0), Quadratic(3)])
    numbers = [FUNCTIONS.index(function) for function in (Rosenbrock, Ackley)]
    assert plain == GradientNoise(AnyTestFunction(numbers[0]), deviation=0.0)
    assert noisy == GradientNoise(AnyTestFunction(numbers[1]), deviation=2.0) and other == Quadratic(3)
    assert plain.structure == noisy.structure
    assert alike([Rosenbrock(), GradientNoise(Rosenbrock())])[0] == GradientNoise(Rosenbrock(), deviation=0.0)


def test_all_that_any_of_them_has_is_added_in_one_order():
    families = [Quadratic(4), SparseGradients(Quadratic(4), probability=0.9), Rescale(Quadratic(4), low=3.0, high=5.0)]
    shared = alike(families)
    assert len({problem.structure for problem in shared}) == 1
    assert shared[2] == SparseGradients(Rescale(Quadratic(4), low=3.0, high=5.0), probability=0.0)


def test_what_was_added_does_nothing():
    problem = SparseGradients(GradientNoise(Rescale(Quadratic(5), low=1.0, high=1.0), deviation=0.0), probability=0.0)
    task = problem.sample(as_seed(1), 3)
    inner = {name.removeprefix("inner/inner/inner/"): leaf for name, leaf in task.items()}
    params = problem.initial_params(as_seed(2), task)
    np.testing.assert_array_equal(params["x"], Quadratic(5).initial_params(as_seed(2), inner)["x"])
    np.testing.assert_array_equal(problem.loss(params, task, {}), Quadratic(5).loss(params, inner, {}))
    np.testing.assert_array_equal(problem.perturb(as_seed(3), task, params, {})[0]["x"], params["x"])


def test_families_stay_as_they_are_where_nothing_can_be_shared():
    alone = [Rosenbrock(), Quadratic(3), GradientNoise(Quadratic(4)), LossTransform(Bowl()), DelayedGradients(Bowl()), Bowl()]
    assert alike(alone) == alone
    # Another order, and scales of different shapes, are other computations.
    other_order = [Bowl(), Rescale(GradientNoise(Bowl()))]
    assert alike(other_order) == other_order
    scales = [Rescale(Bowl(), per="global"), Rescale(Bowl(), per="parameter"), Bowl()]
    assert alike(scales) == scales
