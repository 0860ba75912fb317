"""The per-parameter MLP optimizer (Metz et al. 2019, "Understanding and Correcting Pathologies in the Training of Learned
Optimizers").

Shape letters: I instances, P parameters of one instance, S decays, F features, K hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import dense, features
from l2o_cli.optimizers.options import Between, Number, Positive, Units, require_entries
from l2o_cli.optimizers.packing import Array, Layout, constant
from l2o_cli.optimizers.recurrent import matmul


@dataclass(frozen=True)
class Mlp(dense.DenseOptimizer):
    """A small network, the same for every parameter, from running averages of its gradients to its step.

    With S decays a parameter has 2 + 4 S features, each divided by its RMS over the tensor: the gradient (1), the value (1),
    the momenta m (S), m / sqrt(v) (S), the second moments v (S) and 1 / sqrt(v) (S). Then come 9 of the run's age t,
    tanh(t / x - 1) with x from 3 to 300,000 steps. With five decays these are 31 inputs. m and v begin at zero, unbiased by
    nothing: the age lets the network see how young they are.

    Attributes:
        hidden: units of each hidden layer, of ReLUs.
        decays: of the momenta, and of the second moments alike.
        step_multiplier: a in the step a * d * exp(b * m), where d and m are the network's outputs.
        exponent_multiplier: b.
        normalize_step: divide d by its RMS over the tensor, so that a sets the length of the steps (Celo2, arXiv 2602.19142).
    """

    name: ClassVar[str] = "mlp"
    summary: ClassVar[str] = "a network per parameter, fed with momenta and second moments (Metz et al. 2019)"

    hidden: tuple[Units, ...] = (32,)
    decays: tuple[Between, ...] = (0.5, 0.9, 0.99, 0.999, 0.9999)
    step_multiplier: Positive = 1e-3
    exponent_multiplier: Number = 1e-3
    normalize_step: bool = False

    def __post_init__(self):
        super().__post_init__()
        require_entries(hidden=self.hidden, decays=self.decays)

    @property
    def features(self) -> int:
        """F, how many features each parameter has of its own; those of the run's age come after them."""
        return 2 + 4 * len(self.decays)

    def init_weights(self, seed):
        return dense.init_mlp(np.random.default_rng(seed), self.features + len(dense.TIME_SCALES), self.hidden)

    def init_state(self, weights, layout, instances, seed):
        shape = (len(self.decays), instances, layout.parameters)
        return {"momenta": np.zeros(shape, np.float32), "squares": np.zeros(shape, np.float32)}

    def update(self, weights, state, params, gradients, loss, step, layout):
        gradient = features.bounded(gradients)[None]
        rates = constant(1 - np.array(self.decays))[:, None, None]
        momenta = state["momenta"] + rates * (gradient - state["momenta"])
        squares = state["squares"] + rates * (ops.square(gradient) - state["squares"])

        inputs = self._inputs(gradient, params, momenta, squares, layout)
        drive = matmul(dense.input_columns(weights, 0, self.features), inputs)
        drive = drive + dense.time_drive(weights, step, dense.TIME_SCALES)
        move = self.step_for(weights, drive, layout)
        return params - move, {"momenta": momenta, "squares": squares}

    def _inputs(self, gradient: Array, params: Array, momenta: Array, squares: Array, layout: Layout) -> Array:
        """The features [F, I, P], in the order of the class's description."""
        inverse = ops.rsqrt(squares + features.MOMENT_EPSILON)
        parts = [gradient, features.bounded(params)[None], momenta, momenta * inverse, features.bounded(squares), inverse]
        return ops.concatenate([features.normalized(part, layout) for part in parts], axis=0)
