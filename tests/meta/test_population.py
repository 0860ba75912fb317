import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.quadratics import Quadratic
from l2o_problems.transforms import GradientNoise

from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.population import Population, derive_seed
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.spec import Estimator, Lengths, Objective

LENGTHS = Lengths(distribution="log_uniform", minimum=10, maximum=1000)


def population(name="truncated_backpropagation", **options):
    problem, optimizer, spec = GradientNoise(Quadratic(3)), HierarchicalRNN(hidden=(3, 2)), Estimator(name=name)
    estimator = ESTIMATORS[name](problem, optimizer, MeasuredObjective(Objective(), problem), spec, 50, xla=False)
    weights = {name: tf.constant(value) for name, value in optimizer.init_weights(0).items()}
    return Population(problem, estimator, LENGTHS, instances=4, seed=5, **options), weights


def carry_of(people, weights, meta_step):
    (carry,) = people.particles(weights, meta_step).carries
    return carry


def hand_over(people, carry, weights, meta_step):
    """Let the population go on with `carry`."""
    particles = people.particles(weights, meta_step)._replace(carries=(carry,))
    return advance(people, particles, weights, meta_step)


def advance(people, particles, weights, meta_step):
    """The instances go on from what a truncation is said to have left; how many were replaced."""
    replaced, _ = people.plan(particles, meta_step - 1)
    people.advance(weights, meta_step)
    return replaced


def test_only_finished_and_diverged_instances_are_replaced():
    people, weights = population()
    old = carry_of(people, weights, 0)._replace(step=tf.constant([20, 20, 20, 20]), diverged=tf.constant([-1, -1, 7, -1]))
    people.horizon = np.array([21, 20, 30, 25], np.int32)
    assert hand_over(people, old, weights, 1) == 2
    new = carry_of(people, weights, 1)
    for kept in (0, 3):
        assert np.array_equal(new.params[kept], old.params[kept])
        assert np.array_equal(new.task["inner/w"][kept], old.task["inner/w"][kept])
        assert np.array_equal(new.state["log_rate"][:, kept], old.state["log_rate"][:, kept])
    for replaced in (1, 2):
        assert not np.array_equal(new.params[replaced], old.params[replaced])
        assert not np.array_equal(new.task["inner/w"][replaced], old.task["inner/w"][replaced])
    assert new.step.numpy().tolist() == [20, 0, 0, 20]
    assert new.diverged.numpy().tolist() == [-1, -1, -1, -1]
    assert people.horizon[[0, 3]].tolist() == [21, 25]


def test_replacements_depend_on_the_seed_and_the_meta_step_alone():
    (first, weights), (second, _) = population(), population()
    first.particles(weights, 0), second.particles(weights, 0)
    for people in (first, second):
        people.horizon[:] = 0
        advance(people, people.particles(weights, 0), weights, meta_step=3)
    tf.nest.map_structure(np.testing.assert_array_equal, first.particles(weights, 3), second.particles(weights, 3))
    second.horizon[:] = 0
    advance(second, second.particles(weights, 3), weights, meta_step=4)
    assert not np.array_equal(carry_of(first, weights, 4).params, carry_of(second, weights, 4).params)


@pytest.mark.parametrize("name", ["truncated_backpropagation", "pes"])
def test_a_snapshot_holds_no_task_and_restores_everything(name):
    people, weights = population(name)
    assert people.snapshot(1) == {}
    old = people.particles(weights, 2)
    people.horizon = np.array([9, 0, 9, 9], np.int32)
    carries = tuple(carry._replace(step=tf.constant([5, 5, 5, 5])) for carry in old.carries)
    advance(people, old._replace(carries=carries, drift=old.drift + 1.0), weights, meta_step=7)
    leaves = people.snapshot(1)
    assert not any("task" in leaf for leaf in leaves)
    again, _ = population(name)
    again.restore(leaves)
    assert again.snapshot(1).keys() == leaves.keys()  # before it is asked for its instances
    tf.nest.map_structure(np.testing.assert_array_equal, again.particles(weights, 7), people.particles(weights, 7))
    np.testing.assert_array_equal(again.horizon, people.horizon)


def test_an_instance_that_is_replaced_begins_without_perturbations():
    people, weights = population("pes")
    old = people.particles(weights, 0)
    people.horizon = np.array([9, 0, 9, 9], np.int32)
    advance(people, old._replace(drift=old.drift + 1.0), weights, meta_step=1)
    drift = people.particles(weights, 1).drift.numpy()
    assert drift.shape[1] == sum(int(tf.size(value)) for value in weights.values())
    assert (drift[1] == 0).all() and (drift[[0, 2, 3]] == 1).all()


def test_whole_runs_begin_anew_each_time():
    people, weights = population("full_es")
    people.horizon[:] = 1000
    assert advance(people, people.particles(weights, 0), weights, meta_step=1) == 4


def test_the_first_instances_are_out_of_phase_unless_they_are_not_to_be():
    whole, parted = (population(**options)[0] for options in ({}, {"shortest": 1}))
    _, weights = population()
    for people in (whole, parted):
        people.particles(weights, 0)
    assert (parted.horizon <= whole.horizon).all() and (parted.horizon < whole.horizon).any()


def test_horizons_of_the_first_instances_and_of_those_that_replace_them_are_told_once():
    people, weights = population()
    first = people.particles(weights, 3)
    people.horizon = np.array([9, 0, 9, 9], np.int32)
    for _ in range(2):  # as long as nothing is advanced, a truncation may be made again
        replaced, started = people.plan(first, meta_step=3)
        assert replaced == 1 and started[:-1] == (9, 0, 9, 9) and people.horizon[1] == 0
    people.advance(weights, meta_step=4)
    assert people.horizon[1] == started[-1] > 0
    assert people.plan(people.particles(weights, 4), meta_step=4) == (0, ())


def test_derived_seeds_differ_by_purpose():
    seeds = {derive_seed(seed, a, b) for seed in range(3) for a in range(4) for b in range(5)}
    assert len(seeds) == 60
