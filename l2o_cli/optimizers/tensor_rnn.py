"""A recurrent network for each tensor that sets its learning rate and mixes its momenta; nothing is learned per parameter.

Shape letters: I instances, P parameters of one instance, T tensors, S time scales, F features, K hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import blockwise, features, horizon, surroundings
from l2o_cli.optimizers.base import Optimizer, Weights, per_instance
from l2o_cli.optimizers.blockwise import Arrays
from l2o_cli.optimizers.horizon import HORIZON
from l2o_cli.optimizers.options import Between, Count, Positive, Units, require_entries
from l2o_cli.optimizers.packing import Array, Layout, constant
from l2o_cli.optimizers.recurrent import gru, init_gru, matmul, normal_matrix

SQUARE_FLOOR = 1e-6  # of the mean over a tensor, which second moments count as at least
TINY = 1e-30  # added under roots: a tensor without gradients gets no steps
DECAY_SPEED = 10.0  # learned decays move by so much for each unit of their weight


@dataclass(frozen=True)
class TensorRnn(Optimizer):
    """GRUs per tensor and for the whole problem above momenta of several time scales.

    A tensor's direction is a sum over its 2 S candidates, divided by its RMS: the momenta m_s, and m_s / sqrt(v) as in Adam, each
    divided by its RMS over the tensor. The tensor's GRU gives the 2 S coefficients and the log learning rate,

        log r = log(rate) + limit * tanh(readout / limit)

    It sees how the momenta agree with the gradient and with each other, their size in units of sqrt(v) (signal against noise),
    the tensor's shape and sizes, the loss and how far the run is (`surroundings`), and the state of the GRU of the whole problem,
    which sees the mean of the tensors' states. All of it is the same when the loss is multiplied by a number. For each parameter
    there are S momenta and a second moment, and no network. Made to stand within `orthogonalized` and `fan_in(power=0.5)`.

    Attributes:
        hidden: units of the tensor and of the global level.
        momentum_decays: of the S momenta, the fastest first; meta-trained from there on.
        square_decay: of the second moment, likewise.
        initial_rate: the learning rate before meta-training, and the middle of its range ever after.
        rate_limit: the range: how far the log learning rate may go from there.
        unevenness: also show how uneven the second moments within a tensor are, as with inputs of different sizes or rare rows.
        steps: of the run, where it is known beforehand.
    """

    name: ClassVar[str] = "tensor_rnn"
    summary: ClassVar[str] = "a GRU per tensor that sets the learning rate and mixes momenta"
    learned: ClassVar[bool] = True

    hidden: tuple[Units, Units] = (16, 16)
    momentum_decays: tuple[Between, ...] = (0.8, 0.95, 0.99)
    square_decay: Between = 0.99
    initial_rate: Positive = 0.005
    rate_limit: Positive = 4.0
    unevenness: bool = False
    steps: Count | None = None

    def __post_init__(self):
        super().__post_init__()
        if len(self.hidden) != 2:
            raise ValueError(f"hidden must be two sizes, of the tensor and the global level, not {len(self.hidden)}")
        require_entries(momentum_decays=self.momentum_decays)

    @property
    def features(self) -> int:
        """F, how many the tensor level is shown, the state of the global level aside."""
        own = 3 * len(self.momentum_decays) - 1 + 2 + self.unevenness  # agreement and size of the momenta; two of the rate
        return own + surroundings.TENSOR_FEATURES + surroundings.RUN_FEATURES

    def init_weights(self, seed):
        rng = np.random.default_rng(seed)
        scales, (units, above) = len(self.momentum_decays), self.hidden
        weights: Weights = init_gru(rng, "tensor", self.features + above, units)
        weights |= init_gru(rng, "global", units + surroundings.RUN_FEATURES, above)
        readout = normal_matrix(rng, 1 + 2 * scales, units)
        readout[0] = 0.0
        bias = np.zeros((1 + 2 * scales, 1, 1), np.float32)
        bias[1 + min(1, scales - 1)] = 1.0
        weights |= {"readout": readout, "readout_bias": bias}
        weights["momentum_decays"] = np.zeros((scales, 1, 1), np.float32)
        weights["square_decay"] = np.zeros((1, 1, 1), np.float32)
        return weights

    def init_state(self, weights, layout, instances, seed):
        scales, (units, above) = len(self.momentum_decays), self.hidden
        return {
            "momenta": np.zeros((scales, instances, layout.parameters), np.float32),
            "squares": np.zeros((1, instances, layout.parameters), np.float32),
            "tensor": np.zeros((units, instances, layout.tensors), np.float32),
            "global": np.zeros((above, instances, 1), np.float32),
            "log_rate": np.zeros((1, instances, layout.tensors), np.float32),
            HORIZON: np.full((1, instances, 1), self.steps or 0, np.float32),
            **surroundings.initial_of_tensors(layout, instances),
            **surroundings.initial_of_run(instances),
        }

    def over(self, steps):
        return replace(self, steps=self.steps or steps)

    def with_horizons(self, state, horizons):
        return {**state, HORIZON: horizon.shaped(horizons)} if self.steps is None else state

    def update(self, weights, state, params, gradients, loss, step, layout):
        first = ops.reshape(ops.equal(step, 0), (1, -1, 1))
        count = ops.cast(ops.convert_to_tensor(step), "float32")[None, :, None] + 1.0
        decays = _moved(self.momentum_decays, weights["momentum_decays"])
        square_decay = _moved((self.square_decay,), weights["square_decay"])
        given = {"momenta": state["momenta"], "squares": state["squares"], "gradients": gradients[None], "params": params[None]}
        moments = partial(self._moments, decays, square_decay)
        written, means = blockwise.compute(moments, given, {}, layout)

        seen, kept = surroundings.of_tensors(state, means["params"], means["gradients"], first, layout)
        run, kept_of_run = surroundings.of_run(state, loss, step, layout)
        signal = means["momenta"] / ops.square(1.0 - decays**count) / (means["squares"] / (1.0 - square_decay**count) + TINY)
        parts = [
            *_agreement(means, first),
            surroundings.small(0.5 * ops.log(signal + TINY)),
            surroundings.LOG_SCALE * state["log_rate"],
            surroundings.LOG_SCALE * (state["log_rate"] - ops.mean(state["log_rate"], axis=-1, keepdims=True)),
            seen,
            _for_tensors(run, layout),
            _for_tensors(state["global"], layout),
        ]
        if self.unevenness:
            parts.append(surroundings.small(ops.log((ops.square(means["roots"]) + TINY) / (means["squares"] + TINY))))
        tensor = gru(weights, "tensor", ops.concatenate(parts, axis=0), state["tensor"])
        above = ops.concatenate([ops.mean(tensor, axis=-1, keepdims=True), run], axis=0)
        outputs = matmul(weights["readout"], tensor) + per_instance(weights["readout_bias"])

        log_rate = self.rate_limit * ops.tanh(outputs[:1] / self.rate_limit)
        scales = len(self.momentum_decays)
        of_tensors = {
            "plain": outputs[1 : 1 + scales] * ops.rsqrt(means["momenta"] + TINY),
            "scaled": outputs[1 + scales :],
            "floor": SQUARE_FLOOR * means["squares"],
            "rate": ops.exp(log_rate) * self.initial_rate,
        }
        moved, means = blockwise.compute(_step, {**written, "params": params[None]}, of_tensors, layout)
        new_state = {
            **written,
            "tensor": tensor,
            "global": gru(weights, "global", above, state["global"]),
            "log_rate": log_rate,
            HORIZON: state[HORIZON],
            **kept,
            **kept_of_run,
            **surroundings.last_move(means["move"]),
        }
        return moved["params"][0], new_state

    def _moments(self, decays: Array, square_decay: Array, _: Callable, given: Arrays) -> blockwise.Result:
        """The new moments, and what the networks are shown the means of."""
        gradient, old = features.bounded(given["gradients"]), given["momenta"]
        momenta = gradient + decays * (old - gradient)
        squares = ops.square(gradient) + square_decay * (given["squares"] - ops.square(gradient))
        averaged = {
            "momenta": ops.square(momenta),
            "squares": squares,
            "params": ops.square(given["params"]),
            "gradients": ops.square(gradient),
            "old": ops.square(old),
            "with_gradient": gradient * old,
            "neighbours": momenta[:-1] * momenta[1:],
        }
        if self.unevenness:
            averaged["roots"] = ops.sqrt(squares + TINY)
        return {"momenta": momenta, "squares": squares}, averaged


def _agreement(means: Arrays, first: Array) -> list[Array]:
    """Cosines, over each tensor, of the gradient with the S old momenta, and of neighbouring new ones; [.., I, T]."""
    roots = ops.rsqrt(means["gradients"] + TINY) * ops.rsqrt(means["old"] + TINY)
    with_gradient = ops.where(first, 0.0, means["with_gradient"] * roots)
    roots = ops.rsqrt(means["momenta"] + TINY)
    return [with_gradient, means["neighbours"] * roots[:-1] * roots[1:]]


def _step(spread: Callable[[Array], Array], given: Arrays) -> Generator[Arrays, Arrays, blockwise.Result]:
    """The new params: the sum of the candidates, divided by its RMS over each tensor, times the rate."""
    momenta = given["momenta"]
    scaled = momenta * ops.rsqrt(given["squares"] + spread(given["floor"]) + TINY)
    sizes = yield {"scaled": ops.square(scaled)}
    own = given["scaled"] * ops.rsqrt(sizes["scaled"] + TINY)
    mixed = ops.sum(spread(given["plain"]) * momenta + spread(own) * scaled, axis=0, keepdims=True)
    sizes = yield {"mixed": ops.square(mixed)}
    move = spread(given["rate"]) * (mixed * spread(ops.rsqrt(sizes["mixed"] + features.ROOT_EPSILON)))
    return {"params": given["params"] - move}, {"move": ops.square(move)}


def _moved(decays: tuple[float, ...], offsets: Array) -> Array:
    """The decays in use, [S, 1 or I, 1]: sigmoid(logit(d) + 10 * offset)."""
    values = np.array(decays)[:, None, None]
    return ops.sigmoid(constant(np.log(values / (1 - values))) + DECAY_SPEED * per_instance(offsets))


def _for_tensors(values: Array, layout: Layout) -> Array:
    """[F, I, 1] -> [F, I, T]."""
    return ops.broadcast_to(values, (*values.shape[:2], layout.tensors))
