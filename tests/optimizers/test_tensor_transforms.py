"""Steps changed by what each tensor is, against numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers.elementwise import Sgd
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.transforms import AdamWForVectors, FanIn, Orthogonalized, Schedule, TrustRatio

SHAPES = {
    "kernel": (6, 4),
    "bias": (4,),
    "filters": (2, 2, 3, 5),
    "embedding": (6, 4),
    "scale": (),
    "row": (1, 7),
    "wide": (3, 8),
    "other": (6, 4),
    "zero": (3, 8),
}
LAYOUTS = {"few": Layout.of({name: SHAPES[name] for name in ("kernel", "bias", "embedding", "wide")}), "many": Layout.of(SHAPES)}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def layout(request):
    return request.param


def moved(optimizer, layout, seed=0):
    """{name: (params, gradient, step)} of one instance."""
    rng = np.random.default_rng(seed)
    params, gradients = rng.standard_normal((2, 2, layout.parameters)).astype(np.float32)
    parts = [slice(start, start + size) for start, size in zip(layout.offsets, layout.sizes, strict=True)]
    if "zero" in layout.names:
        gradients[:, parts[layout.names.index("zero")]] = 0.0
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, layout, 2, 0)
    new, _ = optimizer.update(weights, state, params, gradients, np.ones(2), np.zeros(2, np.int32), layout)
    step = np.asarray(new) - params
    return {
        name: tuple(values[1, part].reshape(shape).astype(float) for values in (params, gradients, step))
        for name, shape, part in zip(layout.names, layout.shapes, parts, strict=True)
    }


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_steps_of_matrices_are_divided_by_their_fan_in(layout, power):
    fan_in = {"kernel": 6, "filters": 12, "row": 1, "wide": 3, "other": 6, "zero": 3}
    for name, (_, gradient, step) in moved(FanIn(Sgd(0.5), base=3, power=power), layout).items():
        factor = (3 / fan_in[name]) ** power if name in fan_in else 1.0
        np.testing.assert_allclose(step, -0.5 * factor * gradient, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("normalize", [False, True])
def test_steps_go_with_the_size_of_the_params(layout, normalize):
    for name, (params, gradient, step) in moved(TrustRatio(Sgd(1.0), 0.9, normalize, 0.5), layout).items():
        length = 0.5 * max(np.sqrt((params**2).mean()), 0.9)
        if normalize:
            length /= np.sqrt((gradient**2).mean() + 1e-16)
        np.testing.assert_allclose(step, -length * gradient, rtol=1e-4, atol=1e-6, err_msg=name)


def test_steps_of_matrices_become_orthogonal_and_keep_their_length(layout):
    for name, (_, gradient, step) in moved(Orthogonalized(Sgd(0.1)), layout).items():
        if name in ("bias", "embedding", "scale", "row", "zero"):
            np.testing.assert_allclose(step, -0.1 * gradient, rtol=1e-5, atol=1e-6, err_msg=name)
            continue
        matrix, given = (values.reshape(-1, values.shape[-1]) for values in (step, gradient))
        left, _, right = np.linalg.svd(-given, full_matrices=False)
        singular = np.linalg.svd(matrix, compute_uv=False)
        assert singular.min() > 0.55 * singular.max(), name  # Newton-Schulz ends between 0.7 and 1.2
        cosine = (matrix * (left @ right)).sum() / np.linalg.norm(matrix) / np.linalg.norm(left @ right)
        assert cosine > 0.97, name
        assert np.linalg.norm(matrix) == pytest.approx(0.1 * np.linalg.norm(given), rel=0.25)


def test_the_derivative_of_an_orthogonalized_step_is_finite_where_there_is_no_gradient():
    layout = Layout.of({"kernel": (4, 3), "bias": (3,)})
    optimizer = Orthogonalized(Sgd())
    gradients = tf.zeros([1, layout.parameters])
    with tf.GradientTape() as tape:
        tape.watch(gradients)
        weights = {name: tf.constant(value) for name, value in optimizer.init_weights(0).items()}
        new, _ = optimizer.update(weights, {}, tf.ones_like(gradients), gradients, tf.ones([1]), tf.zeros([1], tf.int32), layout)
        total = tf.reduce_sum(tf.sin(new))
    assert np.isfinite(tape.gradient(total, gradients)).all()


def test_they_go_around_each_other():
    layout = LAYOUTS["few"]
    around = Schedule(FanIn(Orthogonalized(Sgd(0.1)), base=3), kind="linear", steps=10)
    plain, full = moved(Orthogonalized(Sgd(0.1)), layout), moved(around, layout)
    np.testing.assert_allclose(full["kernel"][2], plain["kernel"][2] * 3 / 6, rtol=1e-4, atol=1e-6)


def test_vectors_and_embeddings_move_as_by_keras_adamw_and_matrices_by_the_optimizer_inside(layout):
    hyperparameters = {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3}
    optimizer = AdamWForVectors(Sgd(0.1), **hyperparameters)
    rng = np.random.default_rng(0)
    params, *gradients = rng.standard_normal((4, 1, layout.parameters)).astype(np.float32)
    weights = optimizer.init_weights(0)
    state = optimizer.init_state(weights, layout, 1, 0)
    parts = [slice(start, start + size) for start, size in zip(layout.offsets, layout.sizes, strict=True)]
    new = params
    for step, gradient in enumerate(gradients):
        new, state = optimizer.update(weights, state, new, gradient, np.ones(1), np.full(1, step, np.int32), layout)
    vectors = {"bias", "embedding", "scale"}
    for name, part in zip(layout.names, parts, strict=True):
        variable = keras.Variable(params[0, part])
        theirs = keras.optimizers.AdamW(**hyperparameters) if name in vectors else keras.optimizers.SGD(0.1)
        theirs.build([variable])
        for gradient in gradients:
            theirs.apply([tf.constant(gradient[0, part])])
        np.testing.assert_allclose(new[0, part], variable, rtol=1e-5, atol=1e-6, err_msg=name)
    count = sum(size for name, size in zip(layout.names, layout.sizes, strict=True) if name in vectors)
    assert {name: leaf.shape[-1] for name, leaf in state.items()} == {
        "adamw_for_vectors/mean": count,
        "adamw_for_vectors/square": count,
    }  # matrices cost no memory
