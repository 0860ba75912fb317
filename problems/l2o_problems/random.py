"""Random numbers as a pure function of an integer seed, the same bits compiled and eager.

TensorFlow's own stateless floats differ between XLA and the ordinary kernels; its full-range integers do not, so everything
here is made from those. A seed is an int32 tensor of shape [2].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf


def as_seed(seed: int | Sequence[int] | tf.Tensor) -> tf.Tensor:
    """An int of at most 63 bits, a pair of ints or a seed -> a seed, int32 [2]; a tensor or array is a seed already."""
    if isinstance(seed, int):
        seed = (seed & 0x7FFFFFFF, seed >> 31)
    if isinstance(seed, Sequence):
        # Mixed, as `fold` counts in the second half: (3, 1) folded with 1 would be (3, 0) folded with 2.
        return bits(tf.convert_to_tensor(seed, tf.int32), [2])
    return tf.convert_to_tensor(seed, tf.int32)


def bits(seed: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Uniform int32 over its whole range."""
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")


def fold(seed: int | tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A new seed from a seed and an integer (a step, an index, a purpose)."""
    first, second = tf.unstack(as_seed(seed))
    return bits(tf.stack([first, second + tf.cast(data, tf.int32)]), [2])


def _unit(values: tf.Tensor) -> tf.Tensor:
    """Uniform int32 -> float32 in (0, 1): 24 bits, never exactly an end."""
    high = tf.bitwise.right_shift(tf.bitcast(values, tf.uint32), tf.constant(8, tf.uint32))
    # The sum rounds to even: of the greatest integer it would give exactly 1.
    return tf.minimum((tf.cast(tf.bitcast(high, tf.int32), tf.float32) + 0.5) * 2.0**-24, 1 - 2.0**-24)


def uniform(seed: tf.Tensor, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """Uniform float32 in (low, high): 24 random bits, never exactly an end of (0, 1)."""
    return low + (high - low) * _unit(bits(seed, shape))


def log_uniform(seed: tf.Tensor, shape: Sequence[int], low: float, high: float) -> tf.Tensor:
    return tf.exp(uniform(seed, shape, math.log(low), math.log(high)))


def normal(seed: tf.Tensor, shape: Sequence[int], deviation: float = 1.0) -> tf.Tensor:
    """Normal float32 with mean 0, by inverting the distribution function (so at most about 5.4 deviations)."""
    return deviation * tf.math.ndtri(uniform(seed, shape))


def integers(seed: tf.Tensor, shape: Sequence[int], bound: int) -> tf.Tensor:
    """Uniform int32 in [0, bound)."""
    return tf.random.stateless_uniform(shape, seed, maxval=bound, dtype=tf.int32, alg="philox")


def instance_keys(seed: tf.Tensor, instances: int) -> tf.Tensor:
    """[I] int32: one stream per instance for `instance_integers`, kept in its task."""
    return bits(seed, [instances])


def _mix(value: tf.Tensor) -> tf.Tensor:
    """The finalizer of MurmurHash3, a bijection of uint32."""
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        value = tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, tf.constant(shift, tf.uint32)))
        value = value * tf.constant(multiplier, tf.uint32)
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, tf.constant(16, tf.uint32)))


def instance_bits(seed: tf.Tensor, keys: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Uniform int32, [I, *shape]: a function of `seed` and an instance's own key [I], not of its neighbors.

    Shared random bits, mixed with each instance's key.
    """
    own = tf.reshape(keys, [-1, *[1] * len(shape)])
    return tf.bitcast(_mix(tf.bitcast(bits(seed, shape)[None] ^ own, tf.uint32)), tf.int32)


def instance_integers(seed: tf.Tensor, keys: tf.Tensor, count: int, bound: int) -> tf.Tensor:
    """Uniform int32 in [0, bound), [I, count]; see `instance_bits`."""
    value = tf.bitcast(instance_bits(seed, keys, [count]), tf.uint32)
    return tf.bitcast(value % tf.constant(bound, tf.uint32), tf.int32)


def instance_uniform(seed: tf.Tensor, keys: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Uniform float32 in (0, 1), [I, *shape]; see `instance_bits`."""
    return _unit(instance_bits(seed, keys, shape))


def instance_normal(seed: tf.Tensor, keys: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Standard normal float32, [I, *shape]; see `instance_bits`."""
    return tf.math.ndtri(instance_uniform(seed, keys, shape))
