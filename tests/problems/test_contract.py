"""What every problem owes its users, whatever it is."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.base import SAMPLED, Problem
from l2o_problems.random import as_seed, fold
from l2o_problems.registry import PROBLEMS

from tests.problems.cases import CASES, VARIANTS, WITHOUT_MINIBATCHES


def cases(wanted):
    """The names of the cases for which `wanted(name, problem)` is true."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name
        for name, problem in CASES.items()
        if wanted(name, problem)
    ]


def of(wanted):
    """For a test of some cases alone, so that it never passes without having looked."""
    return pytest.mark.parametrize("problem", cases(wanted), indirect=True)


with_minibatches = of(lambda name, problem: name not in WITHOUT_MINIBATCHES)


@pytest.fixture(params=cases(lambda name, problem: True), name="problem")
def _problem(request):
    return CASES[request.param]


def drawn_anew(problem, seed, instances):
    task = problem.sample(fold(seed, 0), instances)
    return task, problem.initial_params(fold(seed, 1), task), problem.batch(fold(seed, 2), task, "train")


draw = functools.cache(drawn_anew)  # several tests look at one draw, which takes longer than to look


def joined(*leaves):
    return {name: tf.concat([leaf[name] for leaf in leaves], 0) for name in leaves[0]}


def test_every_registered_family_is_a_case():
    """Named problems are partials of a family; the images of some are not on every machine."""
    assert {getattr(make, "func", make) for make in PROBLEMS.values()} <= {type(problem) for problem in CASES.values()}


def test_shapes(problem):
    task, params, batch = draw(problem, 3, 4)
    assert {name: tuple(values.shape[1:]) for name, values in params.items()} == dict(problem.param_shapes)
    assert all(leaf.shape[0] == 4 for leaf in (*task.values(), *params.values(), *batch.values()))
    assert all(isinstance(leaf, tf.Tensor) for leaf in task.values())
    assert problem.loss(params, task, batch).shape == (4,)
    for split in ("validation", "test"):
        assert problem.loss(params, task, problem.batch(as_seed(0), task, split)).shape == (4,)


def test_is_described(problem):
    assert problem.name and problem.summary and problem.source
    assert "\n" not in problem.summary + problem.source
    again = dataclasses.replace(problem)
    assert again is not problem and again == problem and hash(again) == hash(problem)


def test_a_seed_gives_the_same_bits_and_another_seed_others(problem):
    first, again, other = draw(problem, 4, 2), drawn_anew(problem, 4, 2), drawn_anew(problem, 12, 2)
    for one, two in zip(tf.nest.flatten(first), tf.nest.flatten(again), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(problem.loss(first[1], first[0], first[2]), problem.loss(other[1], other[0], other[2]))


@pytest.mark.slow
def test_starts_finite_and_above_the_lower_bound_a_thousand_times(problem):
    @tf.function(autograph=False)
    def start(seed):
        task, params, batch = drawn_anew(problem, seed, 20)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return loss, problem.lower_bound(task), tape.gradient(loss, params)

    for seed in range(50):
        loss, bound, gradients = start(as_seed(seed))
        assert all(np.isfinite(leaf).all() for leaf in (loss, bound, *gradients.values())), seed
        assert bound.shape == (20,)
        # The saddle has no bound; see there.
        assert (loss.numpy() >= bound.numpy()).all() or problem.name == "saddle", seed


def with_options(problem, **options):
    """`problem` with fields that are not checked."""
    other = copy.copy(problem)
    for name, value in options.items():
        object.__setattr__(other, name, value)
    return other


def without_sampled_options(value):
    """A problem in which nothing can be done with a sampled option, nor with one of the problems within it."""
    if isinstance(value, tuple):
        return tuple(map(without_sampled_options, value))
    if not isinstance(value, Problem):
        return value
    options = {field.name: (field.metadata, getattr(value, field.name)) for field in dataclasses.fields(value)}
    return with_options(
        value,
        **{name: ... if metadata == SAMPLED else without_sampled_options(own) for name, (metadata, own) in options.items()},
    )


@of(lambda name, problem: without_sampled_options(problem) != problem)
def test_sampled_options_are_in_the_task_and_nowhere_else(problem):
    other = without_sampled_options(problem)
    assert other.structure == problem.structure
    task, params, batch = draw(problem, 4, 2)

    def values(problem):
        gradients, memory = problem.perturb(as_seed(1), task, params, problem.initial_memory(task, params))
        moved = problem.displace(as_seed(2), task, params, gradients)
        splits = [problem.batch(as_seed(3), task, split) for split in ("train", "validation")]
        return problem.loss(params, task, batch), problem.lower_bound(task), memory, moved, splits

    for one, two in zip(tf.nest.flatten(values(problem)), tf.nest.flatten(values(other)), strict=True):
        np.testing.assert_array_equal(one, two)


@of(lambda name, problem: dataclasses.fields(problem))
def test_every_other_option_is_part_of_the_structure(problem):
    for field in dataclasses.fields(problem):
        same = with_options(problem, **{field.name: ...}).structure == problem.structure
        assert same == (field.metadata == SAMPLED), field.name


def test_instances_together_are_what_they_are_alone(problem):
    draws = [draw(problem, seed, 1) for seed in (1, 2, 3)]
    alone = [problem.loss(params, task, batch)[0] for task, params, batch in draws]
    task, params, batch = (joined(*parts) for parts in zip(*draws, strict=True))
    np.testing.assert_allclose(problem.loss(params, task, batch), alone, rtol=2e-5, atol=1e-6)


def test_gradient_of_an_instance_does_not_reach_its_neighbors(problem):
    task, params, batch = draw(problem, 3, 4)
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)[1]
    gradients = tape.gradient(loss, params)
    assert any(np.any(gradient[1]) for gradient in gradients.values())
    for gradient in gradients.values():
        assert not np.any(gradient[0]) and not np.any(gradient[2:])


@with_minibatches
def test_a_minibatch_does_not_depend_on_the_neighbors(problem):
    first, second = (problem.sample(as_seed(seed), 2) for seed in (1, 2))
    together = problem.batch(as_seed(9), joined(first, second), "train")
    alone = problem.batch(as_seed(9), second, "train")
    assert alone and alone.keys() == together.keys()
    for name, leaf in alone.items():
        np.testing.assert_array_equal(together[name][2:], leaf)


def test_perturbations_do_not_depend_on_the_neighbors(problem):
    draws = [draw(problem, seed, 1)[:2] for seed in (1, 2)]
    task, params = (joined(*parts) for parts in zip(*draws, strict=True))
    gradients = {name: 1.0 + values for name, values in params.items()}

    def perturbed(task, params, gradients):
        memory = problem.initial_memory(task, params)
        for step in range(3):
            gradients, memory = problem.perturb(as_seed(step), task, gradients, memory)
        return gradients, memory, problem.displace(as_seed(7), task, params, gradients)

    together = perturbed(task, params, gradients)
    own = {name: leaf[1:] for name, leaf in gradients.items()}
    alone = perturbed(*draws[1], own)
    for one, two in zip(tf.nest.flatten(together), tf.nest.flatten(alone), strict=True):
        np.testing.assert_allclose(one[1:], two, rtol=1e-6, atol=1e-6)  # a gradient of 1 and its noise may cancel


@with_minibatches
def test_minibatches_change_with_the_seed_and_differ_between_instances(problem):
    task = problem.sample(as_seed(1), 2)
    batch, later = (problem.batch(as_seed(seed), task, "train") for seed in (1, 2))
    drawn = batch.keys() - {"weights"}
    assert any(name.rpartition("/")[2] == "inputs" for name in drawn)
    for name in drawn:
        assert not np.array_equal(batch[name][0], later[name][0])
        assert not np.array_equal(batch[name][0], batch[name][1])


@pytest.mark.parametrize("name", sorted(WITHOUT_MINIBATCHES))
def test_the_others_have_no_minibatches(name):
    problem = CASES[name]
    task = problem.sample(as_seed(1), 2)
    assert [problem.batch(as_seed(1), task, split) for split in ("train", "validation", "test")] == [{}, {}, {}]
    assert not problem.held_out and problem.input_leaves == ()


@with_minibatches
def test_held_out_splits_are_whole_and_whatever_the_seed(problem):
    task = problem.sample(as_seed(1), 2)
    for split in ("validation", "test"):
        one, two = (problem.batch(as_seed(seed), task, split) for seed in (1, 2))
        assert one and one.keys() == two.keys()
        for name, leaf in one.items():
            np.testing.assert_array_equal(leaf, two[name])


def test_compiled_equals_eager(problem):
    def values(seed, task, params):
        batch = problem.batch(fold(seed, 2), task, "train")
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        gradients, memory = problem.perturb(
            fold(seed, 3), task, tape.gradient(loss, params), problem.initial_memory(task, params)
        )
        return batch, loss, gradients, memory, problem.displace(fold(seed, 4), task, params, gradients)

    task, params, _ = draw(problem, 4, 2)
    compiled = tf.function(values, jit_compile=True if problem.xla else None, autograph=False)
    eager, graph = values(as_seed(4), task, params), compiled(as_seed(4), task, params)
    for one, two in zip(tf.nest.flatten(eager), tf.nest.flatten(graph), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(one).max()))
