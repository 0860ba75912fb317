"""LSTMs that see one parameter each (Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent").

Shape letters: I instances, P parameters of one instance, F features, K units of a layer.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import Optimizer, State, Weights, per_instance
from l2o_cli.optimizers.options import Layers, Positive, Range, Units
from l2o_cli.optimizers.packing import Array
from l2o_cli.optimizers.recurrent import init_lstm, lstm, matmul, normal_matrix, refreshed

READOUT_SCALE = 0.1  # of new readouts, so that the first steps are short


class CoordinatewiseLstm(Optimizer):
    """A stack of LSTMs with a linear readout for each parameter; parameters share the weights and do not see each other.

    Subclasses are frozen dataclasses with the fields below; they say what the LSTMs are fed with and what their readout means.
    """

    learned: ClassVar[bool] = True
    accumulators: ClassVar[tuple[str, ...]] = ()  # leaves of the state beside those of the LSTMs, each [1, I, P]

    units: Units
    layers: Layers
    output_scale: Positive
    learned_initial_state: bool

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """F, what the first LSTM is fed with."""

    @abc.abstractmethod
    def inputs(self, weights: Weights, state: State, gradients: Array, step: Array) -> tuple[Array, State]:
        """The inputs of the first LSTM, [F, I, P], and the new accumulators."""

    @abc.abstractmethod
    def move(self, readout: Array) -> Array:
        """What is added to the params, [I, P], for the readout [I, P]."""

    def init_weights(self, seed):
        rng = np.random.default_rng(seed)
        weights: dict[str, np.ndarray] = {}
        for layer in range(self.layers):
            prefix = f"layer{layer}"
            weights |= init_lstm(rng, prefix, self.units if layer else self.features, self.units)
            if self.learned_initial_state:
                initial = rng.uniform(-1, 1, (2, self.units, 1, 1)).astype(np.float32)
                weights |= {f"{prefix}/initial_hidden": initial[0], f"{prefix}/initial_cell": initial[1]}
        weights["readout"] = np.float32(READOUT_SCALE) * normal_matrix(rng, 1, self.units)
        weights["readout_bias"] = np.zeros((1, 1, 1), np.float32)
        return weights

    @property
    def _recurrent(self) -> dict[str, str]:
        """The leaves of the state that the LSTMs have, and what weights they begin with if that is learned."""
        parts = [(layer, part) for layer in range(self.layers) for part in ("hidden", "cell")]
        return {f"layer{layer}/{part}": f"layer{layer}/initial_{part}" for layer, part in parts}

    def init_state(self, weights, layout, instances, seed):
        shape = (instances, layout.parameters)
        state = {name: np.zeros((1, *shape), np.float32) for name in self.accumulators}
        state |= {leaf: np.zeros((self.units, *shape), np.float32) for leaf in self._recurrent}
        return self.refresh_state(weights, state, np.ones(instances, bool))

    def refresh_state(self, weights, state, fresh):
        return refreshed(weights, state, fresh, self._recurrent if self.learned_initial_state else {})

    def update(self, weights, state, params, gradients, loss, step, layout):
        values, new_state = self.inputs(weights, state, gradients, step)
        for layer in range(self.layers):
            prefix = f"layer{layer}"
            values, cell = lstm(weights, prefix, values, state[f"{prefix}/hidden"], state[f"{prefix}/cell"])
            new_state = {**new_state, f"{prefix}/hidden": values, f"{prefix}/cell": cell}
        readout = matmul(weights["readout"], values) + per_instance(weights["readout_bias"])
        return params + self.move(readout[0]), new_state


@dataclass(frozen=True)
class Lstm(CoordinatewiseLstm):
    """The step is `output_scale` times the readout. An input is the gradient's log size and sign, 2 features (appendix A).

    Attributes:
        units: K of each LSTM.
        layers: how many LSTMs, one on top of the other.
        preprocessing: p. A gradient g is fed as (log|g| / p, sign g) where |g| >= e^-p, and as (-1, e^p g) elsewhere.
        output_scale: what readouts are multiplied by.
        learned_initial_state: initial states of the LSTMs are meta-trained; off: zero (the paper).
    """

    name: ClassVar[str] = "lstm"
    summary: ClassVar[str] = "an LSTM per parameter, fed with its gradient (Andrychowicz et al. 2016)"
    features = 2

    units: Units = 20
    layers: Layers = 2
    preprocessing: Annotated[float, Range(0, 80, above=True)] = 10.0  # e^-80 is about the smallest number with an inverse
    output_scale: Positive = 0.1
    learned_initial_state: bool = False

    def inputs(self, weights, state, gradients, step):
        threshold = float(np.exp(-self.preprocessing))
        size = ops.log(ops.maximum(ops.abs(gradients), threshold)) / self.preprocessing
        direction = ops.clip(gradients, -threshold, threshold) / threshold
        return ops.stack([size, direction]), {}

    def move(self, readout):
        return self.output_scale * readout
