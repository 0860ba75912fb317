"""An update rule that reads the validation loss is given it, wherever the inner loop runs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from l2o_problems.classifiers import LogisticRegression
from l2o_problems.convolutions import ImageConv
from l2o_problems.examples import validation_minibatch
from l2o_problems.quadratics import Quadratic
from l2o_problems.random import as_seed
from l2o_problems.text import CharRnn
from l2o_problems.transforms.sum import SumOfProblems

from l2o_cli.carry import layout_of, start
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import Sgd
from l2o_cli.optimizers.base import Optimizer, per_instance
from l2o_cli.optimizers.imitation import Imitating
from l2o_cli.optimizers.packing import unpack
from l2o_cli.rollout import Rollout, Stepping, backpropagation, rollout
from l2o_cli.spec import Estimator, Objective

STEPS = 3


@dataclass(frozen=True)
class Reader(Optimizer):
    """Gradient descent with steps that grow by `mix` times the gap between the losses, which it keeps in its state."""

    name: ClassVar[str] = "reader"
    summary: ClassVar[str] = "for tests"
    learned: ClassVar[bool] = True

    @property
    def reads_validation_loss(self):
        return True

    def init_weights(self, seed):
        return {"rate": np.float32(0.1), "mix": np.float32(0.3)}

    def init_state(self, weights, layout, instances, seed):
        return {"seen": np.zeros((2, instances, 1), np.float32)}

    def update(self, weights, state, params, gradients, loss, step, layout):
        gap = ops.tanh(loss[1] - loss[0])[:, None]
        rate = per_instance(weights["rate"]) * ops.exp(per_instance(weights["mix"]) * gap)
        return params - rate * gradients, {"seen": loss[..., None]}


WEIGHTS = {name: tf.constant(value) for name, value in Reader().init_weights(0).items()}


def losses_of_each_example(problem, carry):
    """Of the validation split, at the carry's params: [N, I]; the penalty is in each."""
    whole = problem.batch(carry.seed, carry.task, "validation")
    params = unpack(carry.params, layout_of(problem))
    examples = range(next(iter(whole.values())).shape[1])
    return np.stack(
        [problem.loss(params, carry.task, {name: leaf[:, i : i + 1] for name, leaf in whole.items()}) for i in examples]
    )


def test_the_second_row_is_the_loss_of_a_minibatch_of_held_out_data():
    problem = LogisticRegression(samples=64, batch_size=2)
    loop = Rollout(problem, Reader(), maximum=1, xla=False)
    carry, shares = loop.start(WEIGHTS, 0, 3), []
    for _ in range(STEPS):
        each = losses_of_each_example(problem, carry)
        carry, losses = loop(WEIGHTS, carry, 1)
        training, validation = carry.state["seen"][..., 0].numpy()
        np.testing.assert_array_equal(training, losses[0])
        pairs = 0.5 * (each[:, None] + each[None])  # [16, 16, I]: every minibatch of two that there is
        wrong = np.abs(pairs - validation).max(axis=-1)
        assert wrong.min() < 1e-5
        shares.append(np.unravel_index(wrong.argmin(), wrong.shape))
    assert len(set(shares)) > 1  # another minibatch at each step


@pytest.mark.parametrize(
    "problem",
    [
        ImageConv(data="digits", channels=(2,), kernels=(3,), batch_size=4),
        CharRnn(hidden=3, embedding=2, length=4, batch_size=3),
        SumOfProblems((LogisticRegression(samples=40, batch_size=3), Quadratic(3))),
    ],
    ids=lambda problem: problem.name,
)
def test_minibatches_are_shaped_as_those_of_training(problem):
    carry = start(problem, Reader(), WEIGHTS, 0, 2)
    train = problem.batch(as_seed(1), carry.task, "train")
    held_out = validation_minibatch(problem, as_seed(2), carry.task, train)
    assert {name: leaf.shape for name, leaf in held_out.items()} == {name: leaf.shape for name, leaf in train.items()}
    for xla in (True, False) if problem.xla is False else (False,):
        carry, losses = Rollout(problem, Reader(), maximum=2, xla=xla)(WEIGHTS, carry, 2)
        seen = carry.state["seen"][..., 0].numpy()
        np.testing.assert_array_equal(seen[0], losses[-1])
        assert np.isfinite(seen).all() and (seen[0] != seen[1]).all()


def test_a_leaf_without_more_examples_stays_whole():
    problem = LogisticRegression(samples=8, batch_size=5)  # two examples are held out
    task = problem.sample(as_seed(0), 3)
    drawn = validation_minibatch(problem, as_seed(1), task, problem.batch(as_seed(2), task, "train"))
    whole = problem.batch(as_seed(0), task, "validation")
    assert drawn.keys() == whole.keys() and all(np.array_equal(drawn[name], whole[name]) for name in whole)


def test_the_training_loss_stands_in_where_nothing_is_held_out():
    carry = start(Quadratic(3), Reader(), WEIGHTS, 0, 2)
    after, losses = Rollout(Quadratic(3), Reader(), maximum=1, xla=False)(WEIGHTS, carry, 1)
    np.testing.assert_array_equal(after.state["seen"][..., 0], np.repeat(losses, 2, axis=0))


def test_a_frozen_instance_takes_harmless_losses():
    """The steps of an instance that is frozen leave no trace, and the other does not notice."""
    problem = LogisticRegression(samples=64, batch_size=4)
    carry = start(problem, Reader(), WEIGHTS, 0, 2)
    bad = carry._replace(params=tf.stack([carry.params[0] * np.nan, carry.params[1]]))
    result = backpropagation(
        Stepping(problem, Reader()), WEIGHTS, bad, STEPS, STEPS, lambda losses, after: after.params[:, 0] * [0.0, 1.0]
    )
    good = rollout(Stepping(problem, Reader()), WEIGHTS, carry, STEPS, STEPS)[0]
    assert result.carry.diverged.numpy().tolist() == [0, -1]
    np.testing.assert_array_equal(result.carry.params[1], good.params[1])


@pytest.mark.parametrize("measure", [1.0, 0.0], ids=["training", "validation"])
def test_the_meta_gradient_goes_through_both_losses(measure):
    problem = LogisticRegression(samples=64, batch_size=4)
    stepping = Stepping(problem, Reader())
    carry = start(problem, Reader(), WEIGHTS, 0, 2)
    carry = carry._replace(params=3 * carry.params)

    def value(losses, after):
        return after.state["seen"][int(measure), :, 0]

    gradient = backpropagation(stepping, WEIGHTS, carry, STEPS, STEPS, value).gradient
    for name, step in (("rate", 1e-2), ("mix", 3e-2)):
        ends = []
        for sign in (1, -1):
            moved = {**WEIGHTS, name: WEIGHTS[name] + sign * step}
            after, losses = rollout(stepping, moved, carry, STEPS, STEPS)
            ends.append(float(tf.reduce_sum(value(losses, after))))
        assert float(gradient[name]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02)
        assert abs(float(gradient[name])) > 1e-3


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator(name):
    problem = LogisticRegression(samples=64, batch_size=4)
    estimate = ESTIMATORS[name](
        problem, Reader(), MeasuredObjective(Objective(), problem), Estimator(name=name), STEPS, xla=False
    )
    particles = estimate.start(WEIGHTS, 0, 2)
    result = estimate(WEIGHTS, particles, tf.constant(STEPS), 0)
    assert np.isfinite(result.gradient).all() and (result.gradient != 0).numpy().all()


@pytest.mark.parametrize("pair", [(Reader(), Sgd()), (Sgd(0.1), Reader())], ids=["student", "teacher"])
def test_imitation_gives_each_what_it_reads(pair):
    both = Imitating(*pair)
    assert both.reads_validation_loss and not Imitating(Sgd(), Sgd()).reads_validation_loss
    problem = LogisticRegression(samples=64, batch_size=4)
    weights = both.init_weights(0)
    after, losses = Rollout(problem, both, maximum=1, xla=False)(weights, start(problem, both, weights, 0, 2), 1)
    (seen,) = (leaf for name, leaf in after.state.items() if name.endswith("seen"))
    np.testing.assert_array_equal(seen[0, :, 0], losses[0])
    assert (seen[1] != seen[0]).numpy().all()
    alone = Rollout(problem, pair[0], maximum=1, xla=False)(weights, start(problem, pair[0], weights, 0, 2), 1)[0]
    np.testing.assert_allclose(after.params, alone.params, rtol=1e-6)
