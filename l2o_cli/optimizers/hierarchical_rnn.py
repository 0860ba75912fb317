"""The hierarchical RNN optimizer (Wichrowska et al. 2017, "Learned Optimizers that Scale and Generalize").

Shape letters: I instances, P parameters of one instance, T tensors, S time scales, F features, K hidden units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from keras import ops

from l2o_cli.optimizers import features, fused, horizon, levels, log_rates, surroundings
from l2o_cli.optimizers.base import Optimizer, State, Weights, per_instance
from l2o_cli.optimizers.horizon import HORIZON
from l2o_cli.optimizers.options import Count, Few, Positive, Units
from l2o_cli.optimizers.packing import Array, Layout, spread
from l2o_cli.optimizers.recurrent import init_gru, matmul, normal_matrix, refreshed

MOMENTUM_DECAY_BIAS = 2.2  # sigmoid: 0.9
SQUARE_DECAY_BIAS = 3.2  # sigmoid: 0.96
RATE_MOMENTUM_LOGIT = 3.2


@dataclass(frozen=True)
class HierarchicalRNN(Optimizer):
    """GRUs per parameter, per tensor and for the whole problem, fed with scale-free features of the gradients.

    Attributes:
        hidden: units of the parameter, tensor and global level; two or one of them leave the upper levels out.
        time_scales: S, the number of gradient averages per parameter, each twice as slow as the one before.
        attention: take the next gradient at an attended point ahead of the parameters (Nesterov-like).
        dynamic_scaling: divide the averaged gradients by the root of their own second moments; off: only asinh.
        grad_products: feed the products of neighboring time scales (a measure of curvature).
        relative_log_moments: feed the log second moments relative to their mean over the time scales (signal against noise).
        relative_rate: feed the log learning rate relative to its mean over the "problem", over the "tensor", or not ("off").
        extreme_rate: feed how far the learning rate lies outside [1e-6, 1].
        absolute_rate: feed log(learning rate / 1e-3).
        gradient_shortcut: add a learned linear map of the scaled gradients to the directions.
        normalize_direction: divide each direction by its RMS over the tensor, so that the learning rate alone sets step lengths.
        rate_momentum: average the log learning rate over the steps; off: the latest one is carried on.
        rate_change_limit: bound on |delta_eta|, by which a step's log learning rate differs from the average; None: no bound
            (the paper). Bounded, the first steps cannot be so long that they ruin a network for good, which
            meta-gradients do not see when it is the units that die.
        multiple_scale_decays: space the decays of the second moments over the time scales too (the paper; its code: not).
        scale_by_raw_moment: scale the averaged gradients by the second moment of the raw gradients, as Adam does.
        learned_initial_state: initial hidden states are meta-trained; off: zero.
        initial_rate: range of the log-uniform initial learning rates, half of it drawn per tensor, half per parameter.
        rate_level: who moves the learning rates: each "parameter" its own, each "tensor" that of all its parameters, which
            then are no inputs of the parameter level, or "both" of them those of the parameters.
        momentum_shortcut: add a learned linear map of the averaged gradients, in units of their RMS over the tensor, to the
            directions, as in gradient descent with momentum.
        tensor_features: show the tensor level shapes and sizes (`surroundings.of_tensors`).
        run_features: show the global level the loss, the share of the run that is over and the size of the problem
            (`surroundings.of_run`).
        steps: of the run, where it is known beforehand; for `run_features`.
    """

    name: ClassVar[str] = "hrnn"
    summary: ClassVar[str] = "hierarchical RNN: a GRU per parameter, tensor and problem (Wichrowska et al. 2017)"
    learned: ClassVar[bool] = True

    hidden: tuple[Units, ...] = (10, 20, 20)
    time_scales: Few = 4
    attention: bool = False
    dynamic_scaling: bool = True
    grad_products: bool = True
    relative_log_moments: bool = True
    relative_rate: Literal["problem", "tensor", "off"] = "problem"
    extreme_rate: bool = False
    absolute_rate: bool = False
    gradient_shortcut: bool = True
    normalize_direction: bool = True
    rate_momentum: bool = True
    rate_change_limit: Positive | None = None
    multiple_scale_decays: bool = False
    scale_by_raw_moment: bool = False
    learned_initial_state: bool = True
    initial_rate: tuple[Positive, Positive] = (1e-6, 1e-2)
    rate_level: Literal["parameter", "tensor", "both"] = "parameter"
    momentum_shortcut: bool = False
    tensor_features: bool = False
    run_features: bool = False
    steps: Count | None = None

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= len(self.hidden) <= len(levels.LEVELS):
            raise ValueError(f"hidden must be one to three sizes, not {len(self.hidden)}")
        low, high = self.initial_rate
        if low > high:
            raise ValueError(f"initial_rate must be two numbers in order, not {self.initial_rate}")
        if len(self.hidden) < 2 and (self.rate_level != "parameter" or self.tensor_features):
            raise ValueError("rate_level and tensor_features need a tensor level: hidden must have at least two sizes")
        if self.rate_level == "tensor" and self.relative_rate == "tensor":
            raise ValueError("relative_rate: tensor compares the rates within a tensor, of which rate_level: tensor leaves one")
        if len(self.hidden) < 3 and self.run_features:
            raise ValueError("run_features needs a global level: hidden must have three sizes")

    @property
    def evaluates_elsewhere(self) -> bool:
        return self.attention

    @property
    def features(self) -> int:
        """F, the length of the feature vector of one parameter."""
        scales = self.time_scales
        return (
            scales
            + (scales - 1) * self.grad_products
            + scales * self.relative_log_moments
            + self._rate_features * (self.rate_level != "tensor")
        )

    @property
    def _rate_features(self) -> int:
        return (self.relative_rate != "off") + self.extreme_rate + self.absolute_rate

    @property
    def readouts(self) -> tuple[str, ...]:
        """What is read out of a parameter's state, in the order of the readout's rows."""
        return ("direction", "rate", "momentum_decay", "square_decay") + ("attention",) * self.attention

    def init_weights(self, seed):
        rng = np.random.default_rng(seed)
        units = self.hidden[0]
        weights: Weights = init_gru(rng, "parameter", self.features, units)
        readout = {name: normal_matrix(rng, 1, units) for name in self.readouts}
        readout["rate"][:] = 0.0
        if self.momentum_shortcut:
            readout["direction"][:] = 0.0  # so that it begins as gradient descent with momentum
        if self.attention:
            readout["attention"] = readout["direction"].copy()
        weights["readout"] = np.concatenate([readout[name] for name in self.readouts])
        weights["decay_bias"] = np.array([MOMENTUM_DECAY_BIAS, SQUARE_DECAY_BIAS], np.float32)[:, None, None]
        weights["rate_bias"] = np.zeros((1, 1, 1), np.float32)
        weights["step_offset"] = np.float32(-1.0)
        if self.rate_momentum:
            weights["rate_momentum"] = np.float32(RATE_MOMENTUM_LOGIT)
        if self.gradient_shortcut:
            directions = 1 + self.attention
            shape = (directions, self.time_scales)
            weights["shortcut"] = np.full(shape, 0.0 if self.momentum_shortcut else 1.0 / self.time_scales, np.float32)
        if self.momentum_shortcut:
            weights["momentum_shortcut"] = np.full((1 + self.attention, self.time_scales), 1.0 / self.time_scales, np.float32)
        if self.rate_level != "parameter":
            weights["tensor/rate"] = np.zeros((1, self.hidden[1]), np.float32)
        below = units + self.features
        extra = (
            self.tensor_features * surroundings.TENSOR_FEATURES + self._rate_features * (self.rate_level == "tensor"),
            self.run_features * surroundings.RUN_FEATURES,
        )
        return weights | levels.init_weights(rng, self.hidden, below, extra, self.learned_initial_state)

    def init_state(self, weights, layout, instances, seed):
        rng = np.random.default_rng(seed)
        scales, count = self.time_scales, layout.parameters
        log_rate = log_rates.initial(rng, self.initial_rate, self.rate_level == "tensor", instances, layout)
        squares = 1 if self.scale_by_raw_moment else scales
        state: State = {
            "momenta": np.zeros((scales, instances, count), np.float32),
            "squares": np.zeros((squares, instances, count), np.float32),
            "log_rate": log_rate,
        }
        state |= levels.init_state(self.hidden, instances, layout)
        if self.attention:
            state["offset"] = np.zeros((1, instances, count), np.float32)
        if self.tensor_features:
            state |= surroundings.initial_of_tensors(layout, instances)
        if self.run_features:
            state |= surroundings.initial_of_run(instances)
            state[HORIZON] = np.full((1, instances, 1), self.steps or 0, np.float32)
        return self.refresh_state(weights, state, np.ones(instances, bool))

    def over(self, steps):
        return replace(self, steps=self.steps or steps) if self.run_features else self

    def with_horizons(self, state, horizons):
        return {**state, HORIZON: horizon.shaped(horizons)} if self.run_features and self.steps is None else state

    def refresh_state(self, weights, state, fresh):
        learned = {level: f"{level}/initial" for level in levels.LEVELS[: len(self.hidden)] if self.learned_initial_state}
        return refreshed(weights, state, fresh, learned)

    def evaluation_point(self, weights, state, params, layout):
        return params + state["offset"][0] if self.attention else params

    def update(self, weights, state, params, gradients, loss, step, layout):
        first = ops.reshape(ops.equal(step, 0), (1, -1, 1))
        level = fused.parameter_level(self, weights, state, gradients, first, layout)
        seen: list[list[Array]] = [level.means, []]
        kept: State = {}
        if self.rate_level == "tensor":
            seen[0] = seen[0] + self.rate_inputs(state["log_rate"], layout)
        if self.tensor_features:
            sizes = (features.mean_square(values[None], layout) for values in (params, gradients))
            shown, kept = surroundings.of_tensors(state, *sizes, first, layout)
            seen[0] = [*seen[0], shown]
        if self.run_features:
            shown, kept_of_run = surroundings.of_run(state, loss, step, layout)
            seen[1].append(shown)
            kept |= {**kept_of_run, HORIZON: state[HORIZON]}
        hidden = levels.upper(weights, state, len(self.hidden), seen)

        of_tensors = None if self.rate_level == "parameter" else matmul(weights["tensor/rate"], hidden["tensor"])
        directions = [self._direction(weights, level, row, layout) for row in range(1 + self.attention)]
        scales = [features.inverse_rms(direction, layout) for direction in directions] if self.normalize_direction else []
        own = {name: weights[name] for name in ("rate_bias", "step_offset", "rate_momentum") if name in weights}
        arguments = (own, params, state["log_rate"], level.rate, of_tensors, directions, scales)
        moved = fused.moves(self, arguments, layout)
        new_state = {**level.state, **hidden, **kept, "log_rate": moved["log_rate"]}
        if self.attention:
            new_state["offset"] = moved["offset"]
        if self.tensor_features:
            new_state |= surroundings.last_move(features.mean_square(moved["move"][None], layout))
        return moved["params"], new_state

    def moves(
        self,
        spread: Callable[[Array], Array],
        weights: Weights,
        params: Array,
        log_rate: Array,
        rate: Array,
        of_tensors: Array | None,
        directions: list[Array],
        scales: list[Array],
    ) -> dict[str, Array]:
        """The end of an update, which is elementwise: the new "params", "log_rate", and what else is asked for.

        Args:
            spread: from [.., T] to [.., P].
            log_rate: the old one.
            rate, of_tensors: what is read out for the learning rates, of parameters and of tensors.
            directions: [1, I, P]; they are multiplied with the scales, [1, I, T], if there are some.
        """
        change = per_instance(weights["rate_bias"])
        if of_tensors is not None:
            change = change + (of_tensors if self.rate_level == "tensor" else spread(of_tensors))
        if self.rate_level != "tensor":
            change = rate + change
        if self.rate_change_limit is not None:
            change = self.rate_change_limit * ops.tanh(change / self.rate_change_limit)
        new_rate = log_rates.clipped(log_rate + change)
        carried_rate = new_rate
        if self.rate_momentum:
            carried_rate = new_rate + ops.sigmoid(per_instance(weights["rate_momentum"])) * (log_rate - new_rate)
        rate, offset = ops.exp(new_rate), ops.exp(per_instance(weights["step_offset"]))
        if self.rate_level == "tensor":
            rate = spread(rate)
        if scales:
            directions = [direction * spread(scale) for direction, scale in zip(directions, scales, strict=True)]
        move = rate * offset * directions[0]
        moved = {"params": params - move[0], "log_rate": carried_rate}
        if self.attention:
            moved["offset"] = move - rate * directions[1]
        if self.tensor_features:
            moved["move"] = move[0]
        return moved

    def rate_inputs(self, log_rate: Array, layout: Layout, mean: Array | None = None) -> list[Array]:
        """What is shown of the log learning rates, each shaped as they are, counted from their `mean` if it is known."""
        if mean is None:
            mean = log_rates.means(log_rate, self.relative_rate, layout)
        if self.relative_rate == "tensor":
            mean = spread(mean, layout)
        return log_rates.features(log_rate, mean, self.extreme_rate, self.absolute_rate)

    def _direction(self, weights: Weights, level: fused.ParameterLevel, row: int, layout: Layout) -> Array:
        """A direction [1, I, P]: that of the parameter level, plus the momentum shortcut."""
        direction = level.directions[row]
        if self.momentum_shortcut:
            momenta = features.divided_by_tensor_rms(level.state["momenta"], layout)
            direction = direction + matmul(weights["momentum_shortcut"][..., row : row + 1, :], momenta)
        return direction
