"""The per-parameter MLP optimizer with Adafactor's moments (Metz et al. 2022, arXiv 2203.11860, "small_fc_lopt").

Shape letters: I instances, P parameters of one instance, S decays, F features, K hidden units; R, C, N as in `factored`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import dense, factored, features
from l2o_cli.optimizers.base import Weights, per_instance
from l2o_cli.optimizers.factored import ByPart
from l2o_cli.optimizers.options import Between, Number, Positive, Units, require_entries
from l2o_cli.optimizers.packing import Array, Layout, constant
from l2o_cli.optimizers.recurrent import matmul

TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0)  # steps
FACTOR_EPSILON = 1e-9  # added to the mean of the rows, and the least factor under a root
ROW_EPSILON = 1e-8  # added to the moments of rows and columns under a root
DECAY_SPEED = 10.0  # learned decays move by so much for each unit of their weight


@dataclass(frozen=True)
class AdafactorMlp(dense.DenseOptimizer):
    """A very small network, the same for every parameter, fed with momenta and with factored second moments.

    Each parameter's 39 inputs, with the default decays: g is the gradient, m are momenta (3 decays), v is the second moment
    (1 decay), r and c are the factored moments of the parameter's row and column (3 decays; see `factored`; of tensors without
    rows and columns both are the plain second moment). The factor f = 1 / sqrt(r c / mean(r)), where r / mean(r) and c are at
    least 1e-9, stands for 1 / sqrt(v). (For plain tensors the authors' code adds 1e-6 to v in m f; here it is 1e-9 as in g f.)

        each parameter's own, 16:            g 1, value 1, m 3, v 1, m / sqrt(v) 3, 1 / sqrt(v) 1, g f 3, m f 3
        the same for all of a row, 6:        r 3, 1 / sqrt(r) 3
        the same for all of a column, 6:     c 3, 1 / sqrt(c) 3
        the same for all, of the age t, 11:  tanh(t / x - 1) with x from 1 to 100,000 steps

    Each but the last is divided by its RMS over the tensor. What is the same for many parameters enters the first layer's
    sums once for all of them.

    Attributes:
        hidden: units of each hidden layer, of ReLUs.
        momentum_decays: of m; as many as `factored_decays`.
        square_decays: of v; one for all momenta, or as many as there are momenta.
        factored_decays: of r and c.
        learned_decays: the decays above are initial ones, meta-trained as offsets: log(d / (1 - d)) + 10 * offset.
        step_multiplier: a in the step a * d * exp(b * m), where d and m are the network's outputs.
        exponent_multiplier: b.
        normalize_step: divide d by its RMS over the tensor, so that a sets the length of the steps (Celo2, arXiv 2602.19142).
    """

    name: ClassVar[str] = "adafactor_mlp"
    summary: ClassVar[str] = "a tiny network per parameter, fed with momenta and Adafactor's moments (Metz et al. 2022)"

    hidden: tuple[Units, ...] = (4, 4)
    momentum_decays: tuple[Between, ...] = (0.9, 0.99, 0.999)
    square_decays: tuple[Between, ...] = (0.999,)
    factored_decays: tuple[Between, ...] = (0.9, 0.99, 0.999)
    learned_decays: bool = True
    step_multiplier: Positive = 1e-3
    exponent_multiplier: Number = 1e-3
    normalize_step: bool = False

    def __post_init__(self):
        super().__post_init__()
        require_entries(hidden=self.hidden, **self._decays)
        if len(self.factored_decays) != len(self.momentum_decays):
            raise ValueError("factored_decays must be as many as momentum_decays, with which they are multiplied")
        if len(self.square_decays) not in (1, len(self.momentum_decays)):
            raise ValueError("square_decays must be one, or as many as momentum_decays, by which they divide")

    @property
    def _decays(self) -> dict[str, tuple[float, ...]]:
        names = ("momentum_decays", "square_decays", "factored_decays")
        return {name: getattr(self, name) for name in names}

    @property
    def features(self) -> int:
        """F, how many features each parameter has of its own; those of rows, columns and the run's age come after them."""
        return 2 + 2 * len(self.momentum_decays) + 2 * len(self.square_decays) + 2 * len(self.factored_decays)

    def init_weights(self, seed):
        inputs = self.features + 4 * len(self.factored_decays) + len(TIME_SCALES)
        weights = dense.init_mlp(np.random.default_rng(seed), inputs, self.hidden)
        if self.learned_decays:
            weights |= {name: np.zeros((len(decays), 1, 1), np.float32) for name, decays in self._decays.items()}
        return weights

    def init_state(self, weights, layout, instances, seed):
        def zeros(scales: tuple[float, ...], length: int) -> np.ndarray:
            return np.zeros((len(scales), instances, length), np.float32)

        parts = factored.part_layouts(layout)
        return {
            "momenta": zeros(self.momentum_decays, layout.parameters),
            "squares": zeros(self.square_decays, layout.parameters),
            **{part: zeros(self.factored_decays, own.parameters) for part, own in parts.items()},
        }

    def update(self, weights, state, params, gradients, loss, step, layout):
        gradient = features.bounded(gradients)[None]
        square = ops.square(gradient)
        momenta = self._averaged(weights, "momentum_decays", state["momenta"], gradient)
        squares = self._averaged(weights, "square_decays", state["squares"], square)
        moments = {
            part: self._averaged(weights, "factored_decays", state[part], new)
            for part, new in factored.means(square, layout).items()
        }

        inverse = ops.rsqrt(squares + features.MOMENT_EPSILON)
        factor = factored.spread_parts(self._factors(moments, layout), ops.multiply, layout)
        parts = [gradient, features.bounded(params)[None], momenta, features.bounded(squares)]
        parts += [momenta * inverse, inverse, gradient * factor, momenta * factor]
        inputs = ops.concatenate([features.normalized(part, layout) for part in parts], axis=0)

        drive = matmul(dense.input_columns(weights, 0, self.features), inputs)
        drive = drive + factored.spread_parts(self._drives(weights, moments, layout), ops.add, layout)
        drive = drive + dense.time_drive(weights, step, TIME_SCALES)
        move = self.step_for(weights, drive, layout)
        return params - move, {"momenta": momenta, "squares": squares, **moments}

    def _averaged(self, weights: Weights, decays: str, old: Array, new: Array) -> Array:
        """Running means with the decays of that name, [S, I, N]."""
        values = np.array(getattr(self, decays))[:, None, None]
        rate = constant(1 - values)
        if self.learned_decays:
            logit = constant(np.log((1 - values) / values))
            rate = ops.sigmoid(logit - DECAY_SPEED * per_instance(weights[decays]))
        return old + rate * (new - old)

    def _factors(self, moments: ByPart, layout: Layout) -> ByPart:
        """Of which each parameter's f is the product."""
        factors: ByPart = {}
        if "rows" in moments:
            rows = factored.divided_by_row_mean(moments["rows"], layout, FACTOR_EPSILON)
            factors["rows"] = ops.rsqrt(ops.maximum(rows, FACTOR_EPSILON))
            factors["columns"] = ops.rsqrt(ops.maximum(moments["columns"], FACTOR_EPSILON))
        if "plain" in moments:
            factors["plain"] = ops.rsqrt(moments["plain"] + FACTOR_EPSILON)
        return factors

    def _drives(self, weights: Weights, moments: ByPart, layout: Layout) -> ByPart:
        """What the moments of rows and columns contribute to the first layer: [K, I, R], [K, I, C], [K, I, N]."""
        count = 2 * len(self.factored_decays)
        matrices = {
            "rows": dense.input_columns(weights, self.features, count),
            "columns": dense.input_columns(weights, self.features + count, count),
        }
        matrices["plain"] = matrices["rows"] + matrices["columns"]
        drives = {}
        for part, own in factored.part_layouts(layout).items():
            values = [features.bounded(moments[part]), ops.rsqrt(moments[part] + ROW_EPSILON)]
            inputs = ops.concatenate([features.normalized(value, own) for value in values], axis=0)
            drives[part] = matmul(matrices[part], inputs)
        return drives
