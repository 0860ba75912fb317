"""Learning rates that an update rule keeps in its state as logarithms, of each parameter or of each tensor.

Shape letters: I instances, P parameters of one instance, T tensors.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from l2o_cli.optimizers.packing import Array, Layout, tensor_mean

LIMIT = 33.0
EXTREMES = (float(np.log(1e-6)), 0.0)
TYPICAL = float(np.log(1e-3))


def initial(rng: np.random.Generator, ends: tuple[float, float], of_tensors: bool, instances: int, layout: Layout) -> np.ndarray:
    """Log-uniform between the ends: [1, I, T], or [1, I, P] with half of it drawn for each tensor, half for each parameter."""
    low, high = np.log(ends)
    per_tensor = rng.uniform(size=(1, instances, layout.tensors))
    if of_tensors:
        log_rate = low + (high - low) * per_tensor
    else:
        per_parameter = rng.uniform(size=(1, instances, layout.parameters))
        log_rate = low + (high - low) * 0.5 * (np.repeat(per_tensor, layout.sizes, axis=-1) + per_parameter)
    return log_rate.astype(np.float32)


def means(log_rate: Array, over: str, layout: Layout) -> Array | None:
    """The means over the "problem", [1, I, 1], or over each "tensor", [1, I, T]; None for "off"."""
    if over == "problem":
        return ops.mean(log_rate, axis=-1, keepdims=True)
    return tensor_mean(log_rate, layout) if over == "tensor" else None


def features(log_rate: Array, mean: Array | None, extreme: bool, absolute: bool) -> list[Array]:
    """What a network may be shown of log learning rates, each shaped as they are.

    Args:
        mean: show them relative to this; None: do not.
        extreme: show how far they lie outside [1e-6, 1].
        absolute: show log(learning rate / 1e-3).
    """
    parts = [] if mean is None else [log_rate - mean]
    if extreme:
        low, high = EXTREMES
        parts.append(ops.relu(log_rate - high) - ops.relu(low - log_rate))
    if absolute:
        parts.append(log_rate - TYPICAL)
    return parts


def clipped(log_rate: Array) -> Array:
    """Clipped to +-33, with the gradient of the identity."""
    inside = ops.clip(log_rate, -LIMIT, LIMIT)
    return log_rate + ops.stop_gradient(inside - log_rate)
