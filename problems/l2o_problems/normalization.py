"""Batch and layer normalization, with a learned scale and offset, in the networks of `l2o_problems.networks`.

Batch normalization (Ioffe and Szegedy 2015) uses the statistics of the batch it is given, of each instance alone, and keeps no
averages: a whole split is normalized by its own. Layer normalization (Ba et al. 2016) uses those of each example alone.

Shape letters: I instances, B minibatch, C classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import tensorflow as tf

from l2o_problems.base import Params
from l2o_problems.networks import ACTIVATIONS, affine, he_deviation, initial_network, product

Normalization = Literal["none", "batch", "layer"]

_EPSILON = 1e-5  # added to the variance


def normalize(values: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """scale * (values - mean) / sqrt(variance + 1e-5) + offset, with mean and variance over `axes`."""
    centered = values - tf.reduce_mean(values, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axes, keepdims=True)
    return scale * (centered * tf.math.rsqrt(variance + _EPSILON)) + offset


def normalized_shapes(sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """As `networks.mlp_shapes`, with scale0 (out,) and offset0 (out,) in place of bias0 in all layers but the last."""
    shapes: dict[str, tuple[int, ...]] = {}
    last = len(sizes) - 2
    for index, (width_in, width_out) in enumerate(itertools.pairwise(sizes)):
        shapes[f"kernel{index}"] = (width_in, width_out)
        for name in ("scale", "offset") if index < last else ("bias",):
            shapes[f"{name}{index}"] = (width_out,)
    return shapes


def initial_normalized(
    seed: tf.Tensor,
    shapes: Mapping[str, tuple[int, ...]],
    instances: int,
    deviation: Callable[[Sequence[int]], float] = he_deviation,
) -> Params:
    """{name: [I, *shape]}: as `initial_network`, with scales (names that begin with "scale") 1."""
    params = initial_network(seed, shapes, instances, deviation)
    return {name: tf.ones_like(values) if name.startswith("scale") else values for name, values in params.items()}


def normalized_logits(
    params: Params, inputs: tf.Tensor, activation: str, normalization: str, residual: bool = False
) -> tf.Tensor:
    """The output of the MLP of `normalized_shapes`: inputs [I or 1, B, in] -> logits [I, B, C]; as `mlp_logits`."""
    axes = (1,) if normalization == "batch" else (2,)
    last = len(params) // 3
    for index in range(last):
        scale, offset = (params[f"{name}{index}"][:, None, :] for name in ("scale", "offset"))
        values = ACTIVATIONS[activation](normalize(product(inputs, params[f"kernel{index}"]), scale, offset, axes))
        inputs = inputs + values if residual and index > 0 else values
    return affine(inputs, params[f"kernel{last}"], params[f"bias{last}"])
