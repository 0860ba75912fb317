"""Problems whose model is an MLP: with normalization and skip connections or without.

Shape letters: I instances, B minibatch.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping

import tensorflow as tf

from l2o_problems.base import Params, Problem, Task
from l2o_problems.networks import Activation, cross_entropy, he_deviation, initial_network, mlp_logits, mlp_shapes
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
        return mlp_shapes((inputs, *self.hidden, outputs), self.normalization != "none")

    @property
    def param_shapes(self):
        return self.mlp_shapes

    def initial_mlp(self, seed: tf.Tensor, instances: int) -> Params:
        params = initial_network(seed, self.mlp_shapes, instances, lambda shape: self.initial_scale * he_deviation(shape))
        for index in range(1, len(self.hidden) if self.residual else 0):
            params[f"kernel{index}"] /= math.sqrt(len(self.hidden) - 1)
        return params

    def initial_params(self, seed, task: Task):
        return self.initial_mlp(seed, task["key"].shape[0])

    def outputs(self, params: Params, inputs: tf.Tensor) -> tf.Tensor:
        """inputs [I, B, in] -> [I, B, out]; `params` are those of the MLP alone."""
        return mlp_logits(params, inputs, self.activation, self.normalization, self.residual)

    def loss(self, params, task, batch):
        """Of a classifier: the cross-entropy."""
        return cross_entropy(self.outputs(params, batch["inputs"]), batch["labels"])
