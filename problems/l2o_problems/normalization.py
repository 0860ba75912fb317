"""Batch and layer normalization, with a learned scale and offset, in the networks of `l2o_problems.networks`.

Batch normalization (Ioffe and Szegedy 2015) uses the statistics of the batch it is given, of each instance alone, and keeps no
averages: a whole split is normalized by its own. Layer normalization (Ba et al. 2016) uses those of each example alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

Normalization = Literal["none", "batch", "layer"]

_EPSILON = 1e-5  # added to the variance


def normalize(values: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """scale * (values - mean) / sqrt(variance + 1e-5) + offset, with mean and variance over `axes`."""
    centered = values - tf.reduce_mean(values, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axes, keepdims=True)
    return scale * (centered * tf.math.rsqrt(variance + _EPSILON)) + offset
