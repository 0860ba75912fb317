"""RNNprop (Lv et al. 2017, "Learning Gradient Descent: Better Generalization and Longer Horizons").

Shape letters: I instances, P parameters of one instance, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import features
from l2o_cli.optimizers.base import per_instance
from l2o_cli.optimizers.lstm import CoordinatewiseLstm
from l2o_cli.optimizers.options import Decay, Layers, Positive, Range, Units
from l2o_cli.optimizers.recurrent import matmul, normal_matrix


@dataclass(frozen=True)
class RnnProp(CoordinatewiseLstm):
    """The step is `output_scale` tanh(readout). An LSTM is fed with m / sqrt(v) and g / sqrt(v), 2 features (section 4).

    g is the gradient, m and v are running means of it and of its square, both unbiased.

    Attributes:
        units: K of each LSTM.
        layers: how many LSTMs, one on top of the other.
        preprocessing_units: units of a linear layer with ELU between the features and the first LSTM; 0: none.
        beta_1: by which m decays at each step.
        beta_2: by which v decays at each step.
        output_scale: the longest step of a parameter.
        learned_initial_state: initial states of the LSTMs are meta-trained; off: zero (the paper).
    """

    name: ClassVar[str] = "rnnprop"
    summary: ClassVar[str] = "an LSTM per parameter, fed with Adam's and RMSprop's directions (Lv et al. 2017)"
    accumulators: ClassVar[tuple[str, ...]] = ("mean", "square")

    units: Units = 20
    layers: Layers = 2
    preprocessing_units: Annotated[int, Range(0, 1024)] = 20
    beta_1: Decay = 0.95
    beta_2: Decay = 0.95
    output_scale: Positive = 0.1
    learned_initial_state: bool = False

    @property
    def features(self):
        return self.preprocessing_units or 2

    def init_weights(self, seed):
        weights = super().init_weights(seed)
        if self.preprocessing_units:
            rng = np.random.default_rng([seed, 1])
            weights["preprocessing/matrix"] = 2 * normal_matrix(rng, self.preprocessing_units, 2)
            weights["preprocessing/bias"] = np.zeros((self.preprocessing_units, 1, 1), np.float32)
        return weights

    def inputs(self, weights, state, gradients, step):
        gradient = ops.clip(gradients, -features.GRADIENT_LIMIT, features.GRADIENT_LIMIT)[None]
        mean = state["mean"] + (gradient - state["mean"]) * (1 - self.beta_1)
        square = state["square"] + (ops.square(gradient) - state["square"]) * (1 - self.beta_2)
        count = ops.cast(step, "float32")[:, None] + 1
        inverse_root = ops.rsqrt(square / (1 - self.beta_2**count) + features.ROOT_EPSILON)
        values = ops.concatenate([mean / (1 - self.beta_1**count) * inverse_root, gradient * inverse_root])
        if self.preprocessing_units:
            drive = matmul(weights["preprocessing/matrix"], values)
            values = ops.elu(drive + per_instance(weights["preprocessing/bias"]))
        return values, {"mean": mean, "square": square}

    def move(self, readout):
        return self.output_scale * ops.tanh(readout)
