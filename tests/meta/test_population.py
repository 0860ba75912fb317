import numpy as np
import tensorflow as tf

from l2o_cli.meta.population import Population, derive_seed
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.spec import Lengths
from problems.quadratics import Quadratic

LENGTHS = Lengths(distribution="log_uniform", minimum=10, maximum=1000)


def population():
    optimizer = HierarchicalRNN(hidden=(3, 2))
    weights = optimizer.init_weights(0)
    made = Population(Quadratic(3), optimizer, LENGTHS, instances=4, seed=5)
    made.begin(weights)
    return made, weights


def test_only_finished_and_diverged_instances_are_replaced():
    people, weights = population()
    old = people.carry._replace(step=tf.constant([20, 20, 20, 20]), diverged=tf.constant([-1, -1, 7, -1]))
    people.carry, people.horizon = old, np.array([21, 20, 30, 25], np.int32)
    assert people.replace_finished(weights, meta_step=1) == 2
    new = people.carry
    for kept in (0, 3):
        assert np.array_equal(new.params[kept], old.params[kept])
        assert np.array_equal(new.task["w"][kept], old.task["w"][kept])
        assert np.array_equal(new.state["log_rate"][:, kept], old.state["log_rate"][:, kept])
    for replaced in (1, 2):
        assert not np.array_equal(new.params[replaced], old.params[replaced])
        assert not np.array_equal(new.task["w"][replaced], old.task["w"][replaced])
    assert new.step.numpy().tolist() == [20, 0, 0, 20]
    assert new.diverged.numpy().tolist() == [-1, -1, -1, -1]
    assert people.horizon[[0, 3]].tolist() == [21, 25]


def test_replacements_depend_on_the_seed_and_the_meta_step_alone():
    (first, weights), (second, _) = population(), population()
    for people in (first, second):
        people.horizon[:] = 0
    first.replace_finished(weights, meta_step=3)
    second.replace_finished(weights, meta_step=3)
    tf.nest.map_structure(np.testing.assert_array_equal, first.carry, second.carry)
    second.horizon[:] = 0
    second.replace_finished(weights, meta_step=4)
    assert not np.array_equal(first.carry.params, second.carry.params)


def test_derived_seeds_differ_by_purpose():
    seeds = {derive_seed(seed, a, b) for seed in range(3) for a in range(4) for b in range(5)}
    assert len(seeds) == 60
