"""The inner loop against numpy, and what every user of it relies on."""

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.classifiers import LogisticRegression
from l2o_problems.quadratics import Quadratic

from l2o_cli.carry import RUNNING, concatenate, repeat, select
from l2o_cli.optimizers import Adam, HierarchicalRNN, Sgd
from l2o_cli.rollout import Rollout


def weights_of(optimizer):
    return {name: tf.constant(value) for name, value in optimizer.init_weights(0).items()}


def test_gradient_descent_on_a_quadratic_equals_numpy():
    optimizer = Sgd(learning_rate=0.01)
    rollout = Rollout(Quadratic(5), optimizer, maximum=20)
    carry = rollout.start(weights_of(optimizer), seed=0, instances=3)
    after, losses = rollout(weights_of(optimizer), carry, 20)
    w, y = (carry.task[name].numpy().astype(np.float64) for name in ("w", "y"))
    x = carry.params.numpy().astype(np.float64)
    expected = []
    for _ in range(20):
        residual = np.einsum("imn,in->im", w, x) - y
        expected.append(0.5 * (residual**2).sum(-1))
        x = x - 0.01 * np.einsum("imn,im->in", w, residual)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_allclose(after.params, x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.initial_loss, expected[0], rtol=1e-5)
    assert after.step.numpy().tolist() == [20, 20, 20] and int(after.clock) == 20


@pytest.mark.parametrize(
    "optimizer", [Adam(0.1), HierarchicalRNN(hidden=(3, 2), attention=True)], ids=lambda optimizer: optimizer.name
)
@pytest.mark.parametrize("problem", [Quadratic(4), LogisticRegression()], ids=lambda problem: problem.name)
def test_compiled_equals_plain(problem, optimizer):
    results = []
    for xla in (True, False):
        rollout = Rollout(problem, optimizer, maximum=10, xla=xla)
        results.append(rollout(weights_of(optimizer), rollout.start(weights_of(optimizer), 0, 3), 10)[1].numpy())
    assert np.isfinite(results).all()  # two NaNs would count as equal
    np.testing.assert_allclose(results[0], results[1], rtol=1e-3, atol=1e-5)


def test_a_run_in_pieces_is_the_same_run():
    optimizer = HierarchicalRNN(hidden=(3, 2))
    weights = weights_of(optimizer)
    rollout = Rollout(LogisticRegression(), optimizer, maximum=12)
    carry = rollout.start(weights, 1, 2)
    whole, losses = rollout(weights, carry, 12)
    middle, first = rollout(weights, carry, 5)
    end, second = rollout(weights, middle, 7)
    np.testing.assert_array_equal(losses, np.concatenate([first, second]))
    tf.nest.map_structure(np.testing.assert_array_equal, whole, end)


def test_same_seed_same_bits_and_other_seed_other_bits():
    optimizer = Adam()
    runs = []
    for seed in (3, 3, 4):
        rollout = Rollout(LogisticRegression(), optimizer, maximum=10)
        runs.append(rollout(weights_of(optimizer), rollout.start(weights_of(optimizer), seed, 2), 10)[1].numpy())
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("xla", [True, False], ids=["xla", "plain"])
def test_a_diverging_instance_is_frozen_and_the_others_do_not_notice(xla):
    optimizer = Sgd()
    rollout = Rollout(Quadratic(4), optimizer, maximum=60, xla=xla)
    alone = rollout.start(weights_of(optimizer), 0, 1)
    rates = {"learning_rate": tf.constant([0.01, 1e3, 0.02])}
    after, losses = rollout(rates, repeat(alone, 3), 60)
    stopped = int(after.diverged[1])
    assert after.diverged.numpy().tolist() == [RUNNING, stopped, RUNNING]
    assert 0 < stopped < 60 and int(after.step[1]) == stopped
    assert np.isfinite(after.params).all()
    assert np.isfinite(losses[:stopped, 1]).all() and np.isnan(losses[stopped + 1 :, 1]).all()
    for index, rate in ((0, 0.01), (2, 0.02)):
        own, expected = rollout({"learning_rate": tf.constant([rate])}, alone, 60)
        np.testing.assert_allclose(losses[:, index], expected[:, 0], rtol=1e-4)
        assert int(own.diverged[0]) == RUNNING


def test_divergence_bound_stops_a_finite_explosion():
    optimizer = Sgd(learning_rate=0.7)
    rollout = Rollout(Quadratic(4), optimizer, maximum=30, divergence=100.0)
    after, losses = rollout(weights_of(optimizer), rollout.start(weights_of(optimizer), 0, 1), 30)
    stopped = int(after.diverged[0])
    assert losses[stopped, 0] > 100 * losses[0, 0] and np.isfinite(losses[stopped, 0])
    assert np.all(losses[:stopped, 0] <= 100 * losses[0, 0])


def test_instances_can_be_selected_joined_and_repeated():
    optimizer = HierarchicalRNN(hidden=(3, 2, 2))
    rollout = Rollout(Quadratic(3), optimizer, maximum=4)
    weights = weights_of(optimizer)
    one, two = rollout.start(weights, 0, 1), rollout.start(weights, 1, 1)
    both = concatenate([one, two])
    tf.nest.map_structure(np.testing.assert_array_equal, select(tf.constant([True, False]), both, concatenate([two, two])), both)
    pairs = repeat(both, 2)
    np.testing.assert_array_equal(pairs.params, np.asarray(both.params)[[0, 0, 1, 1]])
    np.testing.assert_array_equal(pairs.state["parameter"], np.asarray(both.state["parameter"])[:, [0, 0, 1, 1]])
    np.testing.assert_array_equal(pairs.task["w"], np.asarray(both.task["w"])[[0, 0, 1, 1]])


def test_more_steps_than_compiled_for_is_an_error():
    rollout = Rollout(Quadratic(2), Adam(), maximum=5)
    with pytest.raises(ValueError, match="at most 5"):
        rollout(weights_of(Adam()), rollout.start(weights_of(Adam()), 0, 1), 6)
