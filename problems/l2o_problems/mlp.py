"""Problems whose model is an MLP: with normalization and skip connections or without.

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence

import tensorflow as tf

from l2o_problems.base import Params, Problem, Task
from l2o_problems.networks import Activation, he_deviation, initial_network, mlp_logits, mlp_shapes
from l2o_problems.normalization import initial_normalized, normalized_logits, normalized_shapes
from l2o_problems.options import Layers


class MlpProblem(Problem):
    """An MLP; subclasses have the fields below, those with a value where it is an option. Without hidden layers it is affine.

    Normalization (`l2o_problems.normalization`) is before the activations of the hidden layers, which then have no bias. With
    `residual`, each hidden layer after the first adds what it computes to what it is given: h + f(h). Kernels start normal
    with `initial_scale` * sqrt(2 / fan_in), those of the r layers that add with 1 / sqrt(r) of it, so that outputs do not
    grow with the depth; biases and offsets start 0, scales 1.
    """

    hidden: Layers
    activation: Activation
    # Without types: with them a specification would take them for options of every subclass.
    normalization = "none"
    residual = False
    initial_scale = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.residual and len(set(self.hidden)) > 1:
            raise ValueError(f"residual needs hidden layers of one width, but hidden is {list(self.hidden)}")

    @property
    @abc.abstractmethod
    def ends(self) -> tuple[int, int]:
        """How many inputs and outputs the MLP has."""

    @property
    def mlp_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The tensors of the MLP, in packing order."""
        inputs, outputs = self.ends
        sizes = (inputs, *self.hidden, outputs)
        return mlp_shapes(sizes) if self.normalization == "none" else normalized_shapes(sizes)

    @property
    def param_shapes(self):
        return self.mlp_shapes

    def initial_mlp(self, seed: tf.Tensor, instances: int) -> Params:
        def deviation(shape: Sequence[int]) -> float:
            return self.initial_scale * he_deviation(shape)

        initial = initial_network if self.normalization == "none" else initial_normalized
        params = initial(seed, self.mlp_shapes, instances, deviation)
        for index in range(1, len(self.hidden) if self.residual else 0):
            params[f"kernel{index}"] /= math.sqrt(len(self.hidden) - 1)
        return params

    def initial_params(self, seed, task: Task):
        return self.initial_mlp(seed, task["key"].shape[0])

    def outputs(self, params: Params, inputs: tf.Tensor) -> tf.Tensor:
        """inputs [I, B, in] -> [I, B, out]; `params` are those of the MLP alone."""
        if self.normalization == "none":
            return mlp_logits(params, inputs, self.activation, self.residual)
        return normalized_logits(params, inputs, self.activation, self.normalization, self.residual)
