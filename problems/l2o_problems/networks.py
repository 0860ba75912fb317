"""Networks and their losses, many instances at once.

Shape letters: I instances, B minibatch, C classes. Where all instances share the inputs, their leading axis is 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import tensorflow as tf

from l2o_problems.base import Params
from l2o_problems.normalization import normalize
from l2o_problems.random import fold, normal

Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "linear"]
ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "leaky_relu": lambda values: tf.maximum(values, 0.1 * values),
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "gelu": tf.nn.gelu,  # exact
    "linear": tf.identity,
}


def mlp_shapes(sizes: Sequence[int], normalized: bool = False) -> dict[str, tuple[int, ...]]:
    """The tensors of an MLP with layers of `sizes`, inputs first: kernel0 (in, out), bias0 (out,), ...

    If it is normalized, all layers but the last have scale0 (out,) and offset0 (out,) in place of bias0.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    last = len(sizes) - 2
    for index, (width_in, width_out) in enumerate(itertools.pairwise(sizes)):
        shapes[f"kernel{index}"] = (width_in, width_out)
        for name in ("scale", "offset") if normalized and index < last else ("bias",):
            shapes[f"{name}{index}"] = (width_out,)
    return shapes


def he_deviation(shape: Sequence[int]) -> float:
    """sqrt(2 / fan_in) of a kernel of `shape` (He et al. 2015)."""
    return math.sqrt(2 / math.prod(shape[:-1]))


def initial_network(
    seed: tf.Tensor,
    shapes: Mapping[str, tuple[int, ...]],
    instances: int,
    deviation: Callable[[Sequence[int]], float] = he_deviation,
) -> Params:
    """{name: [I, *shape]}: kernels normal with the deviation of their shape; of one axis, scales ("scale...") 1 and others 0."""
    params = {}
    for index, (name, shape) in enumerate(shapes.items()):
        if len(shape) > 1:
            params[name] = normal(fold(seed, index), [instances, *shape], deviation(shape))
        else:
            params[name] = tf.fill([instances, *shape], float(name.startswith("scale")))
    return params


def product(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """inputs [I or 1, B, in], kernel [I, in, out] -> [I, B, out]."""
    # One product for all instances: broadcasting would copy shared inputs (a whole split) for each of them.
    shared = inputs.shape[0] == 1 and kernel.shape[0] != 1
    return tf.einsum("bn,inm->ibm", inputs[0], kernel) if shared else tf.matmul(inputs, kernel)


def affine(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """inputs [I or 1, B, in], kernel [I, in, out], bias [I, out] -> [I, B, out]."""
    return product(inputs, kernel) + bias[:, None, :]


def mlp_logits(
    params: Params, inputs: tf.Tensor, activation: str, normalization: str = "none", residual: bool = False
) -> tf.Tensor:
    """The output of the MLP of `mlp_shapes`: inputs [I or 1, B, in] -> logits [I, B, C].

    With `residual` the hidden layers after the first, which must have its width, add what they compute to what they are given.
    """
    last = sum(name.startswith("kernel") for name in params) - 1
    for index in range(last):
        if normalization == "none":
            values = affine(inputs, params[f"kernel{index}"], params[f"bias{index}"])
        else:
            scale, offset = (params[f"{name}{index}"][:, None, :] for name in ("scale", "offset"))
            axes = (1,) if normalization == "batch" else (2,)
            values = normalize(product(inputs, params[f"kernel{index}"]), scale, offset, axes)
        values = ACTIVATIONS[activation](values)
        inputs = inputs + values if residual and index > 0 else values
    return affine(inputs, params[f"kernel{last}"], params[f"bias{last}"])


def squared_error(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The mean over examples and outputs of the squared error, both [I, B, out] -> [I]."""
    return tf.reduce_mean(tf.square(outputs - targets), axis=(1, 2))


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Mean negative log likelihood in nats: logits [I, B, C], labels int [I or 1, B] -> [I]; weighted by `weights` [I, B].

    Written with log_softmax, because TensorFlow's fused cross-entropies have no second derivative under XLA.
    """
    targets = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    losses = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)
    if weights is None:
        return tf.reduce_mean(losses, axis=-1)
    return tf.reduce_sum(weights * losses, axis=-1) / tf.reduce_sum(weights, axis=-1)
