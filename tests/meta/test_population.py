import numpy as np
import tensorflow as tf

from l2o_cli.meta.population import Population, derive_seed
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.spec import Lengths
from problems.quadratics import Quadratic
from problems.transforms import GradientNoise

LENGTHS = Lengths(distribution="log_uniform", minimum=10, maximum=1000)


def population():
    optimizer = HierarchicalRNN(hidden=(3, 2))
    weights = optimizer.init_weights(0)
    return Population(GradientNoise(Quadratic(3)), optimizer, LENGTHS, instances=4, seed=5), weights


def test_only_finished_and_diverged_instances_are_replaced():
    people, weights = population()
    old = people.carry(weights, 0)._replace(step=tf.constant([20, 20, 20, 20]), diverged=tf.constant([-1, -1, 7, -1]))
    people.horizon = np.array([21, 20, 30, 25], np.int32)
    assert people.advance(old, weights, meta_step=1) == 2
    new = people.carry(weights, 1)
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
    first.carry(weights, 0), second.carry(weights, 0)
    for people in (first, second):
        people.horizon[:] = 0
        people.advance(people.carry(weights, 0), weights, meta_step=3)
    tf.nest.map_structure(np.testing.assert_array_equal, first.carry(weights, 3), second.carry(weights, 3))
    second.horizon[:] = 0
    second.advance(second.carry(weights, 3), weights, meta_step=4)
    assert not np.array_equal(first.carry(weights, 4).params, second.carry(weights, 4).params)


def test_a_snapshot_holds_no_task_and_restores_everything():
    people, weights = population()
    assert people.snapshot() == {}
    old = people.carry(weights, 2)
    people.horizon = np.array([9, 0, 9, 9], np.int32)
    people.advance(old._replace(step=tf.constant([5, 5, 5, 5])), weights, meta_step=7)
    leaves = people.snapshot()
    assert not any(name.startswith("task") for name in leaves)
    again, _ = population()
    again.restore(leaves)
    assert again.snapshot().keys() == leaves.keys()  # before it is asked for its instances
    tf.nest.map_structure(np.testing.assert_array_equal, again.carry(weights, 7), people.carry(weights, 7))
    np.testing.assert_array_equal(again.horizon, people.horizon)


def test_derived_seeds_differ_by_purpose():
    seeds = {derive_seed(seed, a, b) for seed in range(3) for a in range(4) for b in range(5)}
    assert len(seeds) == 60
