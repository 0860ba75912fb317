"""What a learned optimizer sees of the gradients: running averages and scale-free features (Wichrowska et al. 2017, section 3).

Shape letters: I instances, P parameters of one instance, S time scales. Arrays are feature-major, [F, I, P].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from l2o_cli.optimizers.packing import Array, Layout, constant, spread, tensor_mean

SQUARE_EPSILON = 1e-12  # added to every square that is averaged
ROOT_EPSILON = 1e-16  # added under every root
GRADIENT_LIMIT = 1e18  # larger gradients would have no finite square in float32
NORMALIZING_EPSILON = 1e-5  # added to the mean square by which a feature is divided (Metz et al. 2019)
MOMENT_EPSILON = 1e-6  # added to second moments under a root (Metz et al. 2019)
FEATURE_LIMIT = 1e15  # larger features would have no finite mean square in float32
ASINH_SERIES = (1.0, -1 / 6, 3 / 40, -5 / 112, 35 / 1152, -63 / 2816)  # of asinh(x) / x, in powers of x^2


def time_scale_exponents(scales: int) -> Array:
    """2^-s for s = 0..S-1, [S, 1, 1]: a decay to this power makes each average twice as slow as the one before."""
    return constant(0.5 ** np.arange(scales, dtype=np.float32))[:, None, None]


def average(old: Array, new: Array, log_decay: Array, without_history: Array) -> Array:
    """A running mean, old * d + new * (1 - d) with d = exp(log_decay), or 0 where there is no history to keep.

    The decay is given by its logarithm because roots of it are needed, whose derivative at d = 0 would be infinite.
    """
    decay = ops.where(without_history, 0.0, ops.exp(log_decay))
    return new + decay * (old - new)


@ops.custom_gradient
def asinh(values: Array) -> Array:
    """log(x + sqrt(x^2 + 1)) to about 3e-7 of itself, constant beyond 1e18; half the time of XLA's own on a CPU."""
    result, root = asinh_and_root(values)
    return result, lambda upstream: upstream / root


def asinh_and_root(values: Array) -> tuple[Array, Array]:
    """`asinh` and sqrt(x^2 + 1), by which its derivative divides."""
    size = ops.minimum(ops.abs(values), GRADIENT_LIMIT)
    square = ops.square(size)
    root = ops.sqrt(square + 1.0)
    series = ops.zeros_like(values)
    for coefficient in ASINH_SERIES[::-1]:
        series = coefficient + square * series
    # Near 0 the logarithm of what was rounded near 1 would be far off.
    return ops.where(size < 0.25, values * series, ops.sign(values) * ops.log(size + root)), root


def scaled(gradients: Array, squares: Array) -> Array:
    """asinh(g / sqrt(lambda)): the gradient in units of its own size, compressed where it is large."""
    return asinh(gradients * ops.rsqrt(squares + ROOT_EPSILON))


def relative_log(values: Array) -> Array:
    """log v_s - mean_s log v_s: [S, I, P] -> [S, I, P]; how the size of the gradient changes with the time scale."""
    logs = ops.log(values + ROOT_EPSILON)
    return logs - ops.mean(logs, axis=0, keepdims=True)


def bounded(values: Array) -> Array:
    """Clipped to +-1e15, of which even the sum of a hundred million squares is finite."""
    return ops.clip(values, -FEATURE_LIMIT, FEATURE_LIMIT)


def normalized(values: Array, layout: Layout) -> Array:
    """v / sqrt(mean v^2 + 1e-5), the mean over each tensor: [..., P] -> [..., P] (Metz et al. 2019); |v| at most 1e15."""
    return values * spread(ops.rsqrt(mean_square(values, layout) + NORMALIZING_EPSILON), layout)


def mean_square(values: Array, layout: Layout) -> Array:
    """The mean over each tensor of the squares: [..., P] -> [..., T]."""
    return tensor_mean(ops.square(values), layout)


def time_features(step: Array, time_scales: Sequence[float]) -> Array:
    """tanh(t / x - 1) for each x of the scales: step [I] -> [F, I, 1] (Metz et al. 2019)."""
    scales = constant(time_scales)[:, None, None]
    return ops.tanh(ops.cast(ops.convert_to_tensor(step), "float32")[None, :, None] / scales - 1.0)


def divided_by_tensor_rms(values: Array, layout: Layout) -> Array:
    """Every tensor of `values` [..., P] divided by its root mean square."""
    return values * spread(inverse_rms(values, layout), layout)


def inverse_rms(values: Array, layout: Layout) -> Array:
    """1 / root mean square of each tensor: [..., P] -> [..., T]."""
    return ops.rsqrt(tensor_mean(ops.square(values), layout) + ROOT_EPSILON)
