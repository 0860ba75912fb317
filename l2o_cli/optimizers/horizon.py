"""The length of a run as a leaf of an optimizer's state, for rules that go by the share of it that is over.

Shape letter: I instances.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from l2o_cli.optimizers.packing import Array

HORIZON = "horizon"  # the leaf [1, I, 1], in steps; 0 where the length of the run is not known


def unknown(instances: int) -> np.ndarray:
    """The leaf of runs whose length is not known."""
    return np.zeros((1, instances, 1), np.float32)


def shaped(horizons: Array) -> Array:
    """The leaf of runs of these lengths: [I] -> [1, I, 1]."""
    return ops.cast(ops.convert_to_tensor(horizons), "float32")[None, :, None]


def share_over(horizon: Array, step: Array) -> Array:
    """The share of the run that `step` [I] updates are, from 0 to 1, [1, I, 1]; 0 where its length is not known."""
    count = ops.cast(ops.convert_to_tensor(step), "float32")[None, :, None]
    return ops.where(horizon > 0, ops.minimum(count / ops.maximum(horizon, 1.0), 1.0), 0.0)
