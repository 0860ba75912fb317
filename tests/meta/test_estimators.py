import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.meta.estimators import global_norm, truncated_backpropagation
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.rollout import Rollout, start
from l2o_cli.spec import Estimator, Objective
from problems.quadratics import Quadratic
from problems.test_functions import Rosenbrock

STEPS = 6


def setting(problem, instances=3, **options):
    """An optimizer with large steps, so that the objective depends visibly on every weight, and a carry at the start."""
    optimizer = HierarchicalRNN(hidden=(3, 3, 2), initial_rate=(3e-2, 1e-1), **options)
    rng = np.random.default_rng(0)
    weights = {
        name: tf.constant(value + 0.2 * rng.standard_normal(np.shape(value)), tf.float32)
        for name, value in optimizer.init_weights(0).items()
    }
    return optimizer, weights, start(problem, optimizer, weights, 0, instances)


def plain_estimate(problem, optimizer, maximum=STEPS, spec=None):
    """Without XLA: quick to build, and what it compiles to is compared with it below."""
    return truncated_backpropagation(problem, optimizer, Objective(), spec or Estimator(), maximum, xla=False)


def directional(estimate, weights, carry, direction, size):
    """Central difference of the meta-loss along `direction`."""

    def meta_loss(sign):
        moved = {name: value + sign * size * direction[name] for name, value in weights.items()}
        return float(estimate(moved, carry, tf.constant(STEPS)).meta_loss)

    return (meta_loss(1.0) - meta_loss(-1.0)) / (2 * size)


@pytest.mark.parametrize("carried", [False, True], ids=["from the start", "from a carried state"])
@pytest.mark.parametrize("attention", [False, True], ids=["plain", "attention"])
@pytest.mark.parametrize("problem", [Quadratic(4), Rosenbrock()], ids=lambda problem: problem.name)
def test_meta_gradient_equals_finite_differences(problem, attention, carried):
    optimizer, weights, carry = setting(problem, attention=attention)
    if carried:
        carry, _ = Rollout(problem, optimizer, maximum=4, xla=False)(weights, carry, 4)
    estimate = plain_estimate(problem, optimizer, maximum=STEPS + 2)
    gradient = estimate(weights, carry, tf.constant(STEPS)).gradient
    rng = np.random.default_rng(1)
    for _ in range(4):
        direction = {name: rng.standard_normal(value.shape).astype(np.float32) for name, value in weights.items()}
        expected = directional(estimate, weights, carry, direction, 2e-3)
        actual = sum(float(tf.reduce_sum(gradient[name] * direction[name])) for name in weights)
        scale = float(global_norm(gradient))
        assert actual == pytest.approx(expected, rel=0.03, abs=0.02 * scale)


def test_learned_initial_states_receive_a_gradient_only_at_the_start():
    problem = Quadratic(4)
    optimizer, weights, carry = setting(problem)
    estimate = plain_estimate(problem, optimizer)
    result = estimate(weights, carry, tf.constant(STEPS))
    assert float(tf.norm(result.gradient["parameter/initial"])) > 0
    later = estimate(weights, result.carry, tf.constant(STEPS))
    assert float(tf.norm(later.gradient["parameter/initial"])) == 0
    assert float(tf.norm(later.gradient["parameter/input"])) > 0


def test_second_derivatives_matter_and_can_be_left_out():
    problem = Quadratic(4)
    optimizer, weights, carry = setting(problem)
    results = []
    for second in (True, False):
        estimate = plain_estimate(problem, optimizer, spec=Estimator(second_derivatives=second))
        results.append(estimate(weights, carry, tf.constant(STEPS)))
    full, first_order = results
    assert float(full.meta_loss) == pytest.approx(float(first_order.meta_loss), rel=1e-6)
    # Directions are normalized, so only their turning tells of second derivatives: little, but far above rounding.
    assert not np.allclose(full.gradient["readout"], first_order.gradient["readout"], rtol=1e-3, atol=0)


def test_compiled_equals_eager_graph():
    problem = Quadratic(4)
    optimizer, weights, carry = setting(problem)
    compiled, plain = (
        truncated_backpropagation(problem, optimizer, Objective(), Estimator(), STEPS, xla)(weights, carry, tf.constant(STEPS))
        for xla in (True, False)
    )
    assert float(compiled.meta_loss) == pytest.approx(float(plain.meta_loss), rel=1e-4)
    scale = float(plain.norm)
    for name in weights:
        np.testing.assert_allclose(compiled.gradient[name], plain.gradient[name], atol=1e-3 * scale, err_msg=name)


def test_run_time_length_equals_a_smaller_bound():
    problem = Quadratic(4)
    optimizer, weights, carry = setting(problem)
    long, exact = (
        plain_estimate(problem, optimizer, maximum)(weights, carry, tf.constant(STEPS)) for maximum in (STEPS + 9, STEPS)
    )
    np.testing.assert_allclose(long.meta_loss, exact.meta_loss, rtol=1e-6)
    for name in weights:
        np.testing.assert_allclose(long.gradient[name], exact.gradient[name], rtol=1e-4, atol=1e-6 * float(exact.norm))


@dataclasses.dataclass(frozen=True)
class Cliff(Quadratic):
    """A quadratic whose instance 0 has infinite loss, and infinite gradients, from its first step on."""

    def sample(self, seed, instances):
        task = super().sample(seed, instances)
        return task | {"wall": tf.constant([0.0] + [1.0] * (instances - 1))}

    def loss(self, params, task, batch):
        return super().loss(params, task, batch) / task["wall"]


def test_an_instance_that_diverges_is_counted_and_leaves_the_gradient_finite():
    problem = Cliff(4)
    optimizer, weights, carry = setting(problem)
    estimate = plain_estimate(problem, optimizer)
    result = estimate(weights, carry, tf.constant(STEPS))
    assert int(result.diverged) == 1
    assert result.carry.diverged.numpy().tolist() == [0, -1, -1]
    assert result.carry.step.numpy().tolist() == [0, STEPS, STEPS]
    assert np.isfinite(float(result.meta_loss)) and np.isfinite(float(result.norm))
    # The first step of the instance is the only one that meets the wall; what it makes of the gradient is reported, not hidden.
    assert all(np.isfinite(entry).all() for entry in result.gradient.values())
    afterwards = estimate(weights, result.carry, tf.constant(STEPS))
    assert int(afterwards.nonfinite) == 0 and float(afterwards.norm) > 0
