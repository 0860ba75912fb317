"""What every update rule must survive: long runs, gradients of any size, one number alone, very large and very many tensors."""

import os

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems.quadratics import Quadratic

from l2o_cli.benchmark.inner_loop import tensors
from l2o_cli.carry import RUNNING
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.packing import Layout
from l2o_cli.rollout import Rollout

LAYOUT = Layout.of({"kernel": (2, 3), "bias": (3,), "scale": ()})


class Run:
    """One instance of a rule, stepped with given gradients."""

    def __init__(self, name, layout, compiled=False):
        self.rule, self.layout = OPTIMIZERS[name](), layout
        self.update = tf.function(self.rule.update, jit_compile=True, autograph=False) if compiled else self.rule.update
        self.weights = tensors(self.rule.init_weights(0))
        state = self.rule.init_state(self.weights, layout, 1, 0)
        self.state = {leaf: tf.convert_to_tensor(value) for leaf, value in state.items()}
        self.params = tf.ones([1, layout.parameters])
        self.loss = tf.ones([2, 1] if self.rule.reads_validation_loss else [1])
        self.steps = 0

    def step(self, gradients):
        step = tf.fill([1], self.steps)
        self.params, self.state = self.update(self.weights, self.state, self.params, gradients, self.loss, step, self.layout)
        self.steps += 1

    def assert_finite(self):
        for leaf in (self.params, *self.state.values()):
            assert tf.reduce_all(tf.math.is_finite(leaf))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_of_any_size(name):
    sizes = [0.0, 0.0, 1e-30, 1e30, 1.0, -1e30, 0.0, 1e-30, 1e10]
    run = Run(name, LAYOUT)
    for size in sizes:
        run.step(tf.fill([1, LAYOUT.parameters], size))
        run.assert_finite()
    mixed = Run(name, LAYOUT)
    for start in range(3):
        mixed.step(tf.constant([(sizes * 3)[start : start + LAYOUT.parameters]]))
        mixed.assert_finite()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_number_alone(name):
    run = Run(name, Layout.of({"x": ()}))
    for _ in range(3):
        run.step(2 * run.params)
    run.assert_finite()
    assert abs(float(run.params[0, 0]) - 1) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_thousand_steps_of_a_quadratic(name):
    rule = OPTIMIZERS[name]()
    rollout = Rollout(Quadratic(5), rule, maximum=10_000)
    carry, losses = rollout(tensors(rule.init_weights(0)), rollout.start(rule.init_weights(0), 0, 3), 10_000)
    assert np.isfinite(losses).all() and (carry.diverged.numpy() == RUNNING).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "layout",
    [
        Layout.of({"large": (2500, 4000)}),
        Layout.of(
            {f"kernel{index}": (3, index % 40 + 1) for index in range(1000)} | {f"bias{index}": (4,) for index in range(1000)}
        ),
    ],
    ids=["ten million", "two thousand tensors"],
)
def test_large_and_many_tensors(name, layout):
    if name in ("lstm", "rnnprop") and layout.tensors == 1 and os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 24e9:
        pytest.skip("their states and gates of ten million parameters take 22 GB")
    run = Run(name, layout, compiled=True)
    for seed in range(2):
        run.step(tf.random.stateless_normal([1, layout.parameters], [seed, 0]))
    run.assert_finite()
    assert (np.abs(run.params.numpy() - 1) > 0).any()
