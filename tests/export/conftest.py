"""A tiny learned optimizer and a small regression, shared by the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from l2o_cli import assets
from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.packing import spread, tensor_mean


@dataclass(frozen=True)
class Tiny(Optimizer):
    """Momentum divided by a running mean, per tensor, of the gradient's size; the initial state is random and learned."""

    name: ClassVar[str] = "tiny"
    summary: ClassVar[str] = "for tests"
    learned: ClassVar[bool] = True

    attention: bool = False
    sizes: tuple[int, ...] = (1, 2)
    loss_power: float = 0.0

    @property
    def evaluates_elsewhere(self):
        return self.attention

    def init_weights(self, seed):
        rng = np.random.default_rng(seed)
        mix = rng.uniform(0.5, 1.5, self.sizes).astype(np.float32)
        return {"rate": np.float32(0.02), "mix": mix, "start": np.full((1, 1, 1), 0.3, np.float32)}

    def init_state(self, weights, layout, instances, seed):
        noise = np.random.default_rng(seed).normal(size=(1, instances, layout.parameters)).astype(np.float32)
        return {
            "momentum": 0.1 * noise,
            "offset": 0.05 * noise * self.attention,
            "size": np.zeros((1, instances, layout.tensors), np.float32),
        }

    def refresh_state(self, weights, state, fresh):
        return {**state, "size": ops.where(ops.reshape(fresh, (1, -1, 1)), weights["start"], state["size"])}

    def evaluation_point(self, weights, state, params, layout):
        return params + state["offset"][0]

    def update(self, weights, state, params, gradients, loss, step, layout):
        momentum = 0.8 * state["momentum"] + gradients
        size = 0.9 * state["size"] + 0.1 * tensor_mean(ops.abs(gradients)[None], layout)
        move = weights["rate"] * weights["mix"][0, 0] * momentum / (spread(size, layout) + 0.1)
        move = move / (1 + 0.1 * ops.cast(step, "float32"))[None, :, None]
        if self.loss_power:
            move = move * (loss**self.loss_power)[None, :, None]
        return params - move[0], {"momentum": momentum, "size": size, "offset": -2 * move * self.attention}


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """`Tiny` is an optimizer by name, and checkpoints lie in a folder of the test's own."""
    monkeypatch.setitem(OPTIMIZERS, "tiny", Tiny)
    published = tmp_path / "published"
    published.mkdir()
    monkeypatch.setattr(assets, "checkpoints", lambda: published)
    return Tiny


@pytest.fixture
def load(tiny):
    """`load(**options)`: `Tiny` with weights that are not its initial ones."""

    def make(**options) -> LoadedOptimizer:
        optimizer = tiny(**options)
        return LoadedOptimizer("tiny", optimizer, optimizer.init_weights(7), {"meta": {"steps": 3}}, "test")

    return make


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype(np.float32)
    return x, np.sin(x.sum(axis=1, keepdims=True))


@pytest.fixture
def network():
    """`network()`: a new 3-4-1 tanh network, always with the same initial parameters."""

    def make() -> keras.Model:
        keras.utils.set_random_seed(1)
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])

    return make


@pytest.fixture
def train(network, data):
    """`train(optimizer, steps)`: a new network after that many steps on the whole data, in one epoch.

    `model`: goes on with that one; `callbacks` for `fit`, everything else for `compile`.
    """

    def run(optimizer, steps=10, model=None, callbacks=(), **compile) -> keras.Model:
        if model is None:
            model = network()
            model.compile(optimizer, "mse", **{"jit_compile": False, **compile})
        batches = tf.data.Dataset.from_tensors(data).repeat()
        model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=list(callbacks))
        return model

    return run


@pytest.fixture
def same():
    """`same(a, b, tolerance)`: two models, or lists of arrays, hold the same values (exactly, by default)."""

    def check(a, b, tolerance=0.0) -> None:
        a, b = (value.get_weights() if isinstance(value, keras.Model) else value for value in (a, b))
        for left, right in zip(a, b, strict=True):
            np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)

    return check
