"""Adafactor and Muon, which treat matrices as matrices, against Keras's own, and what they do beyond Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.adafactor import Adafactor
from l2o_cli.optimizers.matrices import newton_schulz
from l2o_cli.optimizers.muon import Muon
from l2o_cli.optimizers.packing import Layout, unpack
from l2o_cli.rollout import compiled_update

SHAPES = {"kernel": (4, 3), "bias": (3,), "tall": (7, 2), "filter": (2, 2, 3, 4), "scale": (1,), "embedding": (5, 3)}
LAYOUT = Layout.of(SHAPES)
INSTANCES, STEPS = 2, 100
VARIANTS = {
    "adafactor": (Adafactor(learning_rate=0.05), lambda: keras.optimizers.Adafactor(0.05)),
    "adafactor, other options": (
        Adafactor(learning_rate=0.2, beta_2_decay=-0.6, clip_threshold=0.5, epsilon_2=0.3),
        lambda: keras.optimizers.Adafactor(0.2, beta_2_decay=-0.6, clip_threshold=0.5, epsilon_2=0.3),
    ),
    "muon": (Muon(learning_rate=0.02), lambda: keras.optimizers.Muon(0.02)),
    "muon, other options": (
        Muon(learning_rate=0.02, momentum=0.8, nesterov=False, ns_steps=3, rms_rate=0.3, weight_decay=0.5, adam_lr_ratio=2.0),
        lambda: keras.optimizers.Muon(
            0.02, momentum=0.8, nesterov=False, ns_steps=3, rms_rate=0.3, weight_decay=0.5, adam_lr_ratio=2.0
        ),
    ),
}


@pytest.fixture(params=VARIANTS)
def pair(request):
    return VARIANTS[request.param]


def given():
    """Params [I, P] and gradients [N, I, P] of sizes from 1e-3 to 10."""
    rng = np.random.default_rng(5)
    scale = 10.0 ** rng.uniform(-3, 1, size=(INSTANCES, LAYOUT.parameters))
    drift = np.linspace(1, -1, STEPS)[:, None, None]
    gradients = scale * (rng.normal(size=(STEPS, INSTANCES, LAYOUT.parameters)) + drift)
    return rng.normal(size=(INSTANCES, LAYOUT.parameters)).astype("float32"), gradients.astype("float32")


def follow(optimizer, update, weights, steps=STEPS):
    params, gradients = given()
    params = tf.constant(params)
    state = {name: tf.constant(leaf) for name, leaf in optimizer.init_state(weights, LAYOUT, INSTANCES, 0).items()}
    for step in range(steps):
        steps_made = tf.fill([INSTANCES], step)
        params, state = update(weights, state, params, gradients[step], tf.zeros([INSTANCES]), steps_made, LAYOUT)
    return params.numpy(), state


def test_update_equals_keras(pair):
    ours, theirs = pair
    params, _ = follow(ours, compiled_update(ours), ours.init_weights(0))
    start, gradients = given()
    for instance in range(INSTANCES):

        def named(packed, instance=instance):
            tensors = {name: value[0] for name, value in unpack(packed[instance : instance + 1], LAYOUT).items()}
            if isinstance(ours, Muon):  # Keras's takes kernels of convolutions for no matrices
                tensors["filter"] = np.reshape(tensors["filter"], (12, 4))
            return {name: np.asarray(value) for name, value in tensors.items()}

        variables = [keras.Variable(value, name=name) for name, value in named(start).items()]
        optimizer = theirs()
        optimizer.build(variables)
        apply = tf.function(optimizer.apply, autograph=False)
        for gradient in gradients:
            apply([tf.constant(value) for value in named(gradient).values()])
        for variable, (name, value) in zip(variables, named(params).items(), strict=True):
            np.testing.assert_allclose(value, variable.numpy(), rtol=2e-4, atol=2e-5, err_msg=name)
            assert np.abs(value - named(start)[name]).max() > 1e-2


def test_compiled_equals_eager(pair):
    ours, _ = pair
    eager, eager_state = follow(ours, ours.update, ours.init_weights(0), steps=8)
    compiled, compiled_state = follow(ours, compiled_update(ours), ours.init_weights(0), steps=8)
    np.testing.assert_allclose(compiled, eager, rtol=1e-4, atol=1e-5)
    for name, leaf in compiled_state.items():
        np.testing.assert_allclose(leaf, eager_state[name], rtol=1e-4, atol=1e-5)


def test_own_hyperparameters_equal_each_instance_alone(pair):
    ours, _ = pair
    weights = ours.init_weights(0)
    own = {name: np.float32([value, 0.7 * value]) for name, value in weights.items()}
    together, _ = follow(ours, ours.update, own, steps=8)
    for instance in range(INSTANCES):
        alone, _ = follow(ours, ours.update, {name: value[instance] for name, value in own.items()}, steps=8)
        np.testing.assert_allclose(together[instance], alone[instance], rtol=1e-4, atol=1e-5)


def test_state_is_as_small_as_the_factors_allow():
    state = Adafactor().init_state({}, LAYOUT, INSTANCES, 0)
    sizes = {"rows": 3 + 2 + 2 * 2 * 3 + 3, "columns": 4 + 7 + 2 * 2 * 4 + 5, "plain": 3 + 1}
    assert {name: leaf.shape for name, leaf in state.items()} == {name: (1, INSTANCES, size) for name, size in sizes.items()}
    assert set(Adafactor().init_state({}, Layout.of({"kernel": (4, 3)}), 1, 0)) == {"rows", "columns"}
    assert set(Adafactor().init_state({}, Layout.of({"bias": (4,)}), 1, 0)) == {"plain"}


def test_relative_step_is_the_limit_of_the_rate():
    """The paper's: without it the rate is what it is said to be; with it, 1 / sqrt(t) at most."""
    layout, gradient = Layout.of({"x": (2,)}), np.ones((1, 2), np.float32)
    for relative, expected in ((True, 0.1), (False, 0.5)):
        ours = Adafactor(learning_rate=0.5, relative_step=relative)
        state = ours.init_state({}, layout, 1, 0)
        state["plain"] += 1.0
        params, _ = ours.update(ours.init_weights(0), state, gradient, gradient, np.ones(1), np.int32([99]), layout)
        np.testing.assert_allclose(params, 1 - expected, rtol=1e-5)


def test_what_counts_as_a_matrix():
    state = Muon().init_state({}, LAYOUT, INSTANCES, 0)
    assert state["momentum"].shape[-1] == 12 + 14 + 48 and state["mean"].shape[-1] == state["square"].shape[-1] == 3 + 1 + 15
    assert Muon(exclude_embeddings=False).init_state({}, LAYOUT, 1, 0)["momentum"].shape[-1] == 12 + 14 + 48 + 15
    assert set(Muon().init_state({}, Layout.of({"kernel": (4, 3)}), 1, 0)) == {"momentum"}
    assert set(Muon().init_state({}, Layout.of({"bias": (4,)}), 1, 0)) == {"mean", "square"}
    with pytest.raises(ValueError, match="ns_steps must be at least 1"):
        Muon(ns_steps=0)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_newton_schulz_comes_near_to_the_orthogonal_factor(shape):
    matrices = np.random.default_rng(0).normal(size=(3, *shape))
    u, _, vt = np.linalg.svd(matrices, full_matrices=False)
    result = np.asarray(newton_schulz(tf.constant(matrices, tf.float32), 5), np.float64)
    inside = np.swapaxes(u, 1, 2) @ result @ np.swapaxes(vt, 1, 2)
    singular = np.diagonal(inside, axis1=1, axis2=2)
    assert (singular > 0.6).all() and (singular < 1.3).all()
    np.testing.assert_allclose(inside, singular[..., None] * np.eye(min(shape)), atol=1e-3)


def test_registered_by_name():
    for cls in (Adafactor, Muon):
        assert OPTIMIZERS[cls.name] is cls and cls.summary and not cls.learned
