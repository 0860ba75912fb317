"""A per-tensor LSTM above a per-parameter MLP (Metz et al. 2020, "Tasks, stability, architecture, and compute: Training more
effective learned optimizers, and using them to train themselves", arXiv 2009.11243).

Shape letters: I instances, P parameters of one instance, T tensors, S decays, F features, L losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from keras import ops

from l2o_cli.optimizers import dense, features, losses
from l2o_cli.optimizers.base import State, Weights, per_instance
from l2o_cli.optimizers.options import Between, Number, Positive, Range, Units, require_entries
from l2o_cli.optimizers.packing import Array, Layout, constant, spread, tensor_mean
from l2o_cli.optimizers.recurrent import init_lstm, lstm, matmul, normal_matrix

SIZE_DECAY = 0.99  # of the running mean square of a tensor's gradient
RELATIVE_FLOOR = 1e-3  # of the tensor's mean second moment, added to second moments under a root
LOG_SCALE = 0.1  # brings logarithms to the size of the other features
MOST_AXES = 3  # a tensor of more axes counts as one of so many
SMALLEST_SQUARE = 1e-18  # of gradients that can be clipped, and of what is left of one that is


@dataclass(frozen=True)
class LstmMlp(dense.DenseOptimizer):
    """An LSTM for each tensor sees statistics of it and the losses, and passes values to an MLP that makes each parameter's step.

    m and v are running means, from zero, of the gradient g and of its square, one of each for each of S decays. No feature
    changes when the loss, and with it the gradients, is multiplied by a number, as long as m stays large against 1e-8.

    A tensor's features, 3 S + 16 and those of the losses:
        S: log of the mean m^2 against that of v;
        S: log of the mean g^2 against that of v;
        S: the cosine between g and the m before it;
        1: log of the mean square of the params;
        1: log of the mean square of the last step against that of the params;
        5: log of the number of params, and whether they have no axis, one, two or more;
        9: the run's age t, as tanh(t / x - 1) with x from 3 to 300,000 steps;
        0, 3 or 7: of the losses (see `l2o_cli.optimizers.losses`).

    A parameter's features, 2 + 3 S beside the values from the tensor: g, the param (1 each) and m (S), divided by their root
    mean squares over the tensor; r = 1 / sqrt(v / mean v + 0.001) (S); and the products of m and r (S). With four
    decays a parameter has 14, its tensor 28 and 7 of the losses.

    Attributes:
        hidden: units of each of the MLP's layers, of ReLUs.
        units: of the LSTM.
        values: how many values are passed to the MLP.
        decays: of m, and of v alike.
        losses: which losses the LSTM sees: "none", those of "training", or "both", of training and of validation.
        clip: scale a tensor's gradient down where its root mean square is more than so many times the running one; None: never.
        step_multiplier: a in the step a * d * exp(b * m), where d and m are the MLP's outputs.
        exponent_multiplier: b.
        normalize_step: divide d by its root mean square over the tensor.
    """

    name: ClassVar[str] = "lstm_mlp"
    summary: ClassVar[str] = "an LSTM per tensor, fed with statistics and losses, above an MLP per parameter (Metz et al. 2020)"

    hidden: tuple[Units, ...] = (32, 32)
    units: Units = 64
    values: Units = 17
    decays: tuple[Between, ...] = (0.5, 0.9, 0.99, 0.999)
    losses: Literal["none", "training", "both"] = "both"
    clip: Annotated[float, Range(1)] | None = 10.0
    step_multiplier: Positive = 1e-2
    exponent_multiplier: Number = 0.1
    normalize_step: bool = False

    def __post_init__(self):
        super().__post_init__()
        require_entries(hidden=self.hidden, decays=self.decays)
        if self.losses not in ("none", "training", "both"):
            raise ValueError(f"losses must be none, training or both, not {self.losses!r}")

    @property
    def reads_validation_loss(self):
        return self.losses == "both"

    @property
    def features(self) -> int:
        """F of a parameter, without the values from its tensor."""
        return 2 + 3 * len(self.decays)

    @property
    def tensor_features(self) -> int:
        """F of a tensor."""
        shape = 1 + MOST_AXES + 1
        return 3 * len(self.decays) + 2 + shape + len(dense.TIME_SCALES) + losses.feature_count(self._losses)

    @property
    def _losses(self) -> int:
        """L."""
        return {"none": 0, "training": 1, "both": 2}[self.losses]

    def init_weights(self, seed):
        rng = np.random.default_rng(seed)
        return {
            **init_lstm(rng, "lstm", self.tensor_features, self.units),
            "values/matrix": 2 * normal_matrix(rng, self.values, self.units),
            "values/bias": np.zeros((self.values, 1, 1), np.float32),
            **dense.init_mlp(rng, self.features + self.values, self.hidden),
        }

    def init_state(self, weights, layout, instances, seed):
        scales, count, tensors = len(self.decays), layout.parameters, layout.tensors
        rows = {"hidden": self.units, "cell": self.units, "mean_momenta": scales, "mean_squares": scales, "mean_step": 1}
        rows |= {"size": 1} if self.clip is not None else {}
        state: State = {name: np.zeros((number, instances, tensors), np.float32) for name, number in rows.items()}
        state |= {name: np.zeros((scales, instances, count), np.float32) for name in ("momenta", "squares")}
        if self._losses:
            state["losses"] = losses.initial_averages(self._losses, instances)
        return state

    def update(self, weights, state, params, gradients, loss, step, layout):
        new: State = {}
        gradient, value = features.bounded(gradients)[None], features.bounded(params)[None]
        mean_gradient, mean_value = (features.mean_square(part, layout) for part in (gradient, value))
        if self.clip is not None:
            share, new["size"] = self._clipped(state["size"], mean_gradient, step)
            gradient, mean_gradient = gradient * spread(ops.sqrt(share), layout), mean_gradient * share

        keep = constant(self.decays)[:, None, None]
        new["momenta"] = gradient + keep * (state["momenta"] - gradient)
        new["squares"] = ops.square(gradient) + keep * (state["squares"] - ops.square(gradient))
        new["mean_momenta"] = features.mean_square(new["momenta"], layout)
        new["mean_squares"] = mean_gradient + keep * (state["mean_squares"] - mean_gradient)  # the means of `squares`

        products = tensor_mean(gradient * state["momenta"], layout)
        cosines = products * _inverse_root(mean_gradient) * _inverse_root(state["mean_momenta"])
        logs = [new["mean_momenta"], mean_gradient, mean_value, state["mean_step"]]
        momenta, latest, size, last = (LOG_SCALE * ops.log(part + features.ROOT_EPSILON) for part in logs)
        squares = LOG_SCALE * ops.log(new["mean_squares"] + features.ROOT_EPSILON)
        statistics = [momenta - squares, latest - squares, cosines, size, last - size]
        new |= self._tensor_level(weights, state, statistics, loss, step, layout)

        inputs = self._inputs(gradient, value, new, mean_gradient, mean_value, layout)
        drive = matmul(dense.input_columns(weights, 0, self.features), inputs) + spread(self._drive(weights, new), layout)
        move = self.step_for(weights, drive, layout)
        new["mean_step"] = features.mean_square(features.bounded(move)[None], layout)
        return params - move, new

    def _clipped(self, size: Array, mean_square: Array, step: Array) -> tuple[Array, Array]:
        """What share of their mean squares the tensors' gradients keep, and the new `size`, their running mean; all [1, I, T]."""
        assert self.clip is not None
        age = 1 - SIZE_DECAY ** ops.cast(step, "float32")[None, :, None]
        most = self.clip**2 * size / ops.maximum(age, 1 - SIZE_DECAY)
        share = most / ops.maximum(ops.maximum(mean_square, most), SMALLEST_SQUARE)
        # A share of 0 would have a root with an infinite derivative.
        share = ops.where(size > SMALLEST_SQUARE, ops.maximum(share, SMALLEST_SQUARE), 1.0)
        return share, size + (1 - SIZE_DECAY) * (mean_square * share - size)

    def _tensor_level(
        self, weights: Weights, state: State, parts: list[Array], loss: Array, step: Array, layout: Layout
    ) -> State:
        """The new state of the LSTM and of the losses; `parts` are the features that the gradients give, [.., I, T]."""
        new: State = {}
        parts = [*parts, _shapes(layout), features.time_features(step, dense.TIME_SCALES)]
        if self._losses:
            seen = ops.reshape(loss, (self._losses, -1, 1))
            new["losses"] = losses.averaged(state["losses"], seen, ops.reshape(ops.equal(step, 0), (1, -1, 1)))
            parts.append(losses.loss_features(new["losses"], seen))
        shape = state["hidden"].shape[1:]
        inputs = ops.concatenate([ops.broadcast_to(part, (part.shape[0], *shape)) for part in parts])
        new["hidden"], new["cell"] = lstm(weights, "lstm", inputs, state["hidden"], state["cell"])
        return new

    def _drive(self, weights: Weights, new: State) -> Array:
        """What a tensor contributes to the MLP's first layer, the same for all of its params, [K, I, T]."""
        values = matmul(weights["values/matrix"], new["hidden"]) + per_instance(weights["values/bias"])
        return matmul(dense.input_columns(weights, self.features, self.values), values) + per_instance(weights["mlp/0/bias"])

    def _inputs(
        self, gradient: Array, value: Array, new: State, mean_gradient: Array, mean_value: Array, layout: Layout
    ) -> Array:
        """The features of the parameters, [F, I, P], in the order of the class's description."""
        means = mean_gradient, mean_value, new["mean_momenta"]
        parts = [
            part * spread(_inverse_root(mean), layout)
            for part, mean in zip((gradient, value, new["momenta"]), means, strict=True)
        ]
        mean = new["mean_squares"] + features.ROOT_EPSILON
        rarity = ops.rsqrt(new["squares"] / spread(mean, layout) + RELATIVE_FLOOR)
        return ops.concatenate([*parts, rarity, parts[-1] * rarity])


def _inverse_root(mean_square: Array) -> Array:
    return ops.rsqrt(mean_square + features.ROOT_EPSILON)


def _shapes(layout: Layout) -> Array:
    """The log of the number of params of each tensor, and whether it has no axis, one, or more: [2 + MOST_AXES, 1, T]."""
    axes = np.minimum([len(shape) for shape in layout.shapes], MOST_AXES)
    logs = LOG_SCALE * np.log(np.array(layout.sizes, np.float64))
    return constant(np.stack([logs, *(axes == count for count in range(MOST_AXES + 1))]))[:, None]
