"""What the tests of networks per parameter share: tensors of every kind, a run along given gradients, the network in numpy."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from l2o_cli.optimizers.base import Optimizer, State, Weights
from l2o_cli.optimizers.packing import Layout

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,), "scale": (), "square": (3, 3), "cube": (2, 4, 3), "filters": (2, 1, 3, 3)})
INSTANCES = 2


def tensors_of(layout: Layout) -> list[slice]:
    """Where each tensor lies in the packed axis."""
    return [slice(start, start + size) for start, size in zip(layout.offsets, layout.sizes, strict=True)]


def perturbed(optimizer: Optimizer, seed: int = 0) -> Weights:
    """Initial weights with noise on each of them, so that no zero hides a term."""
    rng = np.random.default_rng(seed)
    weights = optimizer.init_weights(seed)
    return {name: (value + 0.1 * rng.standard_normal(np.shape(value))).astype(np.float32) for name, value in weights.items()}


def given_run(steps: int = 6, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Params [I, P], and gradients of sizes from 1e-3 to 1e2, [steps, I, P]."""
    rng = np.random.default_rng(seed)
    params = rng.standard_normal((INSTANCES, LAYOUT.parameters)).astype(np.float32)
    sizes = 10.0 ** np.linspace(-3, 2, steps)[:, None, None]
    return params, (sizes * rng.standard_normal((steps, *params.shape))).astype(np.float32)


def follow(
    optimizer: Optimizer, weights: Weights, params: np.ndarray, gradients: np.ndarray, layout: Layout = LAYOUT
) -> tuple[list[np.ndarray], list[State]]:
    """The params and the states after each update."""
    state = optimizer.init_state(weights, layout, len(params), seed=3)
    points, states = [], []
    for step, gradient in enumerate(gradients):
        steps = np.full(len(params), step)
        params, state = optimizer.update(weights, state, params, gradient, np.ones(len(params), np.float32), steps, layout)
        points.append(np.asarray(params))
        states.append(state)
    return points, states


def numpy_normalized(column: np.ndarray) -> np.ndarray:
    """A feature of one tensor divided by its RMS."""
    return column / np.sqrt(np.mean(column**2) + 1e-5)


def numpy_network(optimizer, weights: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Inputs [P, F] of one tensor to steps [P]."""
    values = inputs
    for layer in range(len(optimizer.hidden) + 1):
        if layer:
            values = np.maximum(values, 0)
        values = values @ weights[f"mlp/{layer}/matrix"].T + weights[f"mlp/{layer}/bias"][:, 0, 0]
    direction, magnitude = values.T
    if optimizer.normalize_step:
        direction = direction / np.sqrt(np.mean(direction**2))
    return optimizer.step_multiplier * direction * np.exp(optimizer.exponent_multiplier * magnitude)


def check_finite(optimizer: Optimizer, *sizes: float) -> None:
    """After 10 gradients of each size, an instance each, some of them 0, params, state and all derivatives are finite."""
    weights = {name: tf.constant(value) for name, value in perturbed(optimizer).items()}
    params = tf.zeros([len(sizes), LAYOUT.parameters])
    gradients = tf.constant(np.where(np.arange(LAYOUT.parameters) % 5, np.array(sizes)[:, None], 0.0), tf.float32)
    losses = tf.ones([len(sizes)])
    with tf.GradientTape() as tape:
        tape.watch((weights, gradients))
        state = optimizer.init_state(weights, LAYOUT, len(sizes), seed=0)
        for step in range(10):
            steps = tf.fill([len(sizes)], step)
            params, state = optimizer.update(weights, state, params, gradients, losses, steps, LAYOUT)
        total = tf.reduce_sum(tf.sin(params))
    slopes = tape.gradient(total, (weights, gradients), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for leaf in tf.nest.flatten((params, state, slopes)):
        assert np.isfinite(leaf).all()


def check_meta_gradient(optimizer: Optimizer, steps: int = 3) -> None:
    """The derivative of a run's final loss by each leaf of the weights, along one direction, against finite differences."""
    rng = np.random.default_rng(0)
    weights = {name: tf.constant(value) for name, value in perturbed(optimizer).items()}
    start, target = (tf.constant(rng.standard_normal((1, LAYOUT.parameters)), tf.float32) for _ in range(2))
    curvature = tf.constant(10.0 ** rng.uniform(-1, 1, (1, LAYOUT.parameters)), tf.float32)

    def final_loss(weights):
        params, state = start, optimizer.init_state(optimizer.init_weights(0), LAYOUT, 1, seed=0)
        for step in range(steps):
            gradients = curvature * (params - target)
            params, state = optimizer.update(weights, state, params, gradients, tf.ones([1]), tf.constant([step]), LAYOUT)
        return tf.reduce_mean(0.5 * curvature * tf.square(params - target))

    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = final_loss(weights)
    slopes = tape.gradient(loss, weights)
    for name, value in weights.items():
        direction = tf.constant(rng.choice([-1.0, 1.0], value.shape), tf.float32)
        there, back = (final_loss({**weights, name: value + h * direction}) for h in (1e-3, -1e-3))
        derived = tf.reduce_sum(slopes[name] * direction)
        assert derived != 0
        np.testing.assert_allclose(derived, (there - back) / 2e-3, rtol=0.03, atol=1.5e-4, err_msg=name)
