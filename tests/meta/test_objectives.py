import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.adam_table import AdamRow, Reference, adam_of
from l2o_problems.quadratics import Quadratic
from l2o_problems.random import as_seed

from l2o_cli.carry import RUNNING, layout_of, start
from l2o_cli.errors import BadInput
from l2o_cli.meta.objectives import DIVERGED, MeasuredObjective, disturbed, resample, scaled
from l2o_cli.optimizers import Sgd
from l2o_cli.optimizers.packing import unpack
from l2o_cli.rollout import Stepping, backpropagation, rollout
from l2o_cli.spec import Objective, Term
from l2o_cli.spec.names import make_problem

LOSSES = np.array([[4.0, 2.0], [2.0, 1.0], [1.0, np.nan], [7.0, 7.0]], np.float32)
INITIAL = np.array([4.0, 2.0], np.float32)
ZERO = np.zeros(2, np.float32)
ADAM = AdamRow("some", 1, 0.1, "", 5.0, 1.0, 1.0, 0.1, 0, 1000, 2, "some", "synthetic")


@dataclasses.dataclass(frozen=True)
class Bounded(Quadratic):
    """Not a problem to run: it only has a lower bound."""

    def lower_bound(self, task):
        return task["bound"]


def objective_of(steps, losses=LOSSES, bound=ZERO, count_diverged=False, adam=None, **fields):
    """The objective of each instance, of losses that are given."""
    problem = Bounded(2)
    carry = start(problem, Sgd(), {"learning_rate": 0.1}, 0, 2)
    carry = carry._replace(initial_loss=tf.constant(INITIAL + bound), task={"bound": tf.constant(bound)})
    measured = MeasuredObjective(Objective.model_validate(fields), problem, adam)
    losses = tf.constant(losses[:, None] + bound)
    return measured(losses, carry, tf.constant(steps), count_diverged).numpy()


def test_it_is_the_mean_log_ratio_over_the_finite_steps():
    expected = [np.mean(np.log([4 / 4, 2 / 4, 1 / 4])), np.mean(np.log([2 / 2, 1 / 2]))]
    np.testing.assert_allclose(objective_of(3), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scale": "ratio"}, [np.mean([1, 0.5, 0.25]), np.mean([1, 0.5])]),
        ({"scale": "loss"}, [7 / 3, 1.5]),
        ({"scale": "loss", "cap": 1.5}, [(1.5 + 1.5 + 1.0) / 3, 1.25]),
        ({"scale": "loss", "of": "minimum"}, [1.0, 1.0]),
        ({"scale": "loss", "of": "final"}, [1.0, 0.0]),  # the last step of the second was not made
        ({"scale": "adam"}, [np.mean([0.75, 0.25, 0.0]), np.mean([0.25, 0.0])]),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_other_measures_by_hand(fields, expected):
    np.testing.assert_allclose(objective_of(3, adam=Reference(ADAM), **fields), expected, rtol=1e-4, atol=1e-6)


def test_normalized_losses_stay_within_bounds():
    values = scaled(Term(scale="adam"), tf.constant([[-100.0, 100.0]]), INITIAL, ZERO, ADAM)
    np.testing.assert_array_equal(values, [[-2.0, 2.0]])


def test_terms_are_added_with_their_weights():
    both = objective_of(3, terms=[{"scale": "loss", "weight": 0.5}, {"scale": "loss", "of": "minimum", "weight": 2.0}])
    np.testing.assert_allclose(both, [0.5 * 7 / 3 + 2.0, 0.5 * 1.5 + 2.0], rtol=1e-6)


def test_steps_that_were_not_made_count_as_the_worst_where_they_are_to_count():
    actual = objective_of(4, count_diverged=True)
    assert actual[0] == pytest.approx(np.mean(np.log([1, 0.5, 0.25, 7 / 4])), rel=1e-4)
    assert actual[1] == pytest.approx(np.mean([0, np.log(0.5), DIVERGED, np.log(3.5)]), rel=1e-4)


def test_epsilon_bounds_the_reward_of_a_loss_of_zero():
    values = scaled(Term(epsilon=1e-3), tf.zeros([1, 2]), tf.ones([2]), ZERO, None)
    np.testing.assert_allclose(values, np.log(1e-3 / 1.001), rtol=1e-5)


def test_losses_are_measured_from_the_lower_bound():
    bound = np.array([-3.0, 1.0], np.float32)
    np.testing.assert_allclose(objective_of(3, bound=bound), objective_of(3), rtol=1e-5)


@pytest.mark.parametrize("scale", ["log", "ratio"])
def test_a_lower_loss_is_better_below_zero_too(scale):
    losses = tf.constant([[2.0], [1e-3], [1e-8], [0.0], [-1e-8], [-1e-3], [-5.0]])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        values = scaled(Term(scale=scale), losses, tf.constant([1.0]), tf.zeros([1]), None)
    assert np.all(np.diff(values.numpy()[:, 0]) < 0)
    slope = tape.gradient(values, losses).numpy()
    assert np.isfinite(slope).all() and (slope[losses.numpy() != 0] > 0).all()


def test_the_logarithm_is_continued_as_an_odd_function():
    values = scaled(Term(epsilon=0.5), tf.constant([[1.5, -1.5]]), tf.zeros([2]), ZERO, None)
    np.testing.assert_allclose(values, [[np.log(2.0 / 0.5), -np.log(2.0 / 0.5)]], rtol=1e-5)


def test_a_loss_that_is_not_finite_has_no_gradient():
    losses = tf.constant(LOSSES)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        values = scaled(Term(), losses, tf.constant(INITIAL), ZERO, None)
        value = tf.reduce_sum(tf.where(tf.math.is_finite(values), values, 0.0))
    expected = np.where(np.isfinite(LOSSES), 1 / LOSSES, 0.0)
    np.testing.assert_allclose(tape.gradient(value, losses), expected, rtol=1e-4)


def test_a_problem_without_a_row_cannot_be_normalized():
    with pytest.raises(BadInput, match="no reference for 'odd': not in the table of tuned Adam"):
        MeasuredObjective(Objective.model_validate({"scale": "adam"}), Quadratic(3), adam_of(Quadratic(3)), "odd")


def run(problem, fields, steps=4):
    """A rollout of gradient descent with the objective `fields`: its value, carry and rows of losses."""
    measured = MeasuredObjective(Objective.model_validate(fields), problem)
    optimizer = Sgd(learning_rate=0.5)
    weights = {"learning_rate": tf.constant(0.5)}
    measure = measured.measure if measured.measurements else None
    stepping = Stepping(problem, optimizer, measure=measure, measured=measured.measurements)
    carry = start(problem, optimizer, weights, 0, 2)
    after, losses = rollout(stepping, weights, carry, steps, steps)
    value = measured(losses, after, tf.constant(steps))
    gradient = backpropagation(
        stepping, weights, carry, tf.constant(steps), steps, lambda rows, end: measured(rows, end, tf.constant(steps))
    )
    return value.numpy(), after, losses.numpy(), gradient


def test_outer_data_are_other_data_than_the_inner_steps_see():
    problem = make_problem("digits_mlp", {"batch_size": 16})
    value, _, losses, result = run(problem, {"scale": "loss", "on": "validation", "batch_size": None})
    assert losses.shape == (4, 2, 2)
    np.testing.assert_allclose(value, losses[:, 1].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(result.values, value, rtol=1e-6)
    assert (result.carry.diverged.numpy() == RUNNING).all()
    # The whole split, whatever the seed: the first of these losses is that of the initial params.
    carry = start(problem, Sgd(), {"learning_rate": 0.5}, 0, 2)
    batch = problem.batch(as_seed(9), carry.task, "validation")
    expected = problem.loss(unpack(carry.params, layout_of(problem)), carry.task, batch)
    np.testing.assert_allclose(losses[0, 1], expected, rtol=1e-5)


def test_the_final_loss_on_validation_data_is_taken_after_the_last_update_and_differentiated():
    problem = make_problem("digits_mlp", {"batch_size": 16, "activation": "tanh"})
    fields = {"scale": "loss", "on": "validation", "of": "final", "batch_size": None}
    value, after, losses, result = run(problem, fields)
    assert losses.shape == (4, 1, 2)  # nothing is measured on the way
    batch = problem.batch(as_seed(9), after.task, "validation")
    np.testing.assert_allclose(value, problem.loss(unpack(after.params, layout_of(problem)), after.task, batch), rtol=1e-5)
    # More than nothing, and only through the last params: by differences along the rate.
    measured = MeasuredObjective(Objective.model_validate(fields), problem)

    def at(rate):
        weights = {"learning_rate": tf.constant(rate)}
        optimizer = Sgd(learning_rate=0.5)
        end, rows = rollout(Stepping(problem, optimizer), weights, start(problem, optimizer, weights, 0, 2), 4, 4)
        return float(tf.reduce_sum(measured(rows, end, tf.constant(4))))

    assert float(result.gradient["learning_rate"]) == pytest.approx((at(0.51) - at(0.49)) / 0.02, rel=0.02)
    assert after.step.numpy().tolist() == [4, 4]


def test_fresh_minibatches_are_averaged_and_disturbed():
    problem = make_problem("digits_mlp", {"batch_size": 16})
    _, _, one, _ = run(problem, {"scale": "loss", "on": "fresh"})
    _, _, many, _ = run(problem, {"scale": "loss", "on": "fresh", "batches": 8})
    _, _, noisy, _ = run(problem, {"scale": "loss", "on": "fresh", "noise": 3.0})
    assert not np.allclose(one[:, 1], one[:, 0]) and not np.allclose(one[:, 1], many[:, 1])
    np.testing.assert_array_equal(one[:, 0], noisy[:, 0])  # the inner run is the same
    assert noisy[:, 1].mean() > one[:, 1].mean()


def test_disturbed_inputs_by_their_moments():
    batch = {"inputs": tf.zeros([1, 2000, 5]), "labels": tf.ones([1, 2000], tf.int32)}
    new = disturbed(batch, as_seed(0), noise=0.5, shift=2.0)
    assert new["labels"] is batch["labels"]
    assert np.mean(new["inputs"]) == pytest.approx(2.0, abs=0.03) and np.std(new["inputs"]) == pytest.approx(0.5, rel=0.05)


def test_examples_are_drawn_together():
    rows = tf.range(50)
    batch = {"inputs": tf.cast(rows, tf.float32)[None, :, None], "labels": rows[None]}
    part = resample(batch, as_seed(1), 7)
    assert part["inputs"].shape == (1, 7, 1)
    np.testing.assert_array_equal(part["inputs"][0, :, 0], tf.cast(part["labels"][0], tf.float32))
    assert resample(batch, as_seed(1), 50) is batch
