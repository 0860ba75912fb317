"""A multilayer perceptron that makes each parameter's step from its features (Metz et al. 2019, "Understanding and Correcting
Pathologies in the Training of Learned Optimizers").

Shape letters: I instances, P parameters of one instance, F features, K hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import features
from l2o_cli.optimizers.base import Optimizer, Weights, per_instance
from l2o_cli.optimizers.options import Number, Positive, Units
from l2o_cli.optimizers.packing import Array, Layout
from l2o_cli.optimizers.recurrent import matmul

TIME_SCALES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 300_000.0)  # steps, of the age of the run
OUTPUTS = 2  # direction and log magnitude
READOUT_SCALE = 0.1  # of the last layer's initial weights, so that untrained steps are a tenth of the step multiplier


class DenseOptimizer(Optimizer):
    """An update rule whose steps an MLP makes; subclasses are frozen dataclasses with the fields below."""

    learned: ClassVar[bool] = True

    hidden: tuple[Units, ...]
    step_multiplier: Positive
    exponent_multiplier: Number
    normalize_step: bool

    def step_for(self, weights: Weights, drive: Array, layout: Layout) -> Array:
        """a * d * exp(b * m), [I, P], where direction d and log magnitude m are the outputs for the first layer's sums [K, I, P].

        a and b are the multipliers; `normalize_step` divides d by its RMS over the tensor.
        """
        for layer in range(1, len(self.hidden) + 1):
            drive = matmul(weights[f"mlp/{layer}/matrix"], ops.relu(drive)) + per_instance(weights[f"mlp/{layer}/bias"])
        direction = features.divided_by_tensor_rms(drive[:1], layout) if self.normalize_step else drive[:1]
        return self.step_multiplier * direction[0] * ops.exp(self.exponent_multiplier * drive[1])


def init_mlp(rng: np.random.Generator, inputs: int, hidden: Sequence[int]) -> Weights:
    """Layers of ReLUs and a readout: matrices [K, F], N(0, 1 / fan in), the last one smaller; biases [K, 1, 1], zero."""
    sizes = (inputs, *hidden, OUTPUTS)
    weights: Weights = {}
    for layer, (fan_in, units) in enumerate(pairwise(sizes)):
        scale = (READOUT_SCALE if layer == len(hidden) else 1.0) / np.sqrt(fan_in)
        weights[f"mlp/{layer}/matrix"] = (scale * rng.standard_normal((units, fan_in))).astype(np.float32)
        weights[f"mlp/{layer}/bias"] = np.zeros((units, 1, 1), np.float32)
    return weights


def input_columns(weights: Weights, first: int, count: int) -> Array:
    """The columns of the first matrix for `count` inputs from number `first` on: [K, count], or [I, K, count]."""
    return weights["mlp/0/matrix"][..., first : first + count]


def time_drive(weights: Weights, step: Array, time_scales: Sequence[float]) -> Array:
    """What the bias and the age of the run, the last of the inputs, contribute to the first layer: [K, I, 1].

    All parameters are equally old, so that these inputs cost nothing per parameter.
    """
    matrix = weights["mlp/0/matrix"]
    count = len(time_scales)
    age = features.time_features(step, time_scales)
    return matmul(matrix[..., matrix.shape[-1] - count :], age) + per_instance(weights["mlp/0/bias"])
