"""A hand-designed term beside a learned one, for stability ("STAR": Harrison et al. 2022, arXiv 2209.11208).

Shape letters: I instances, P parameters of one instance, K running means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State, Weights, per_instance
from l2o_cli.optimizers.features import GRADIENT_LIMIT, divided_by_tensor_rms
from l2o_cli.optimizers.hand_designed import number, root
from l2o_cli.optimizers.options import Decay, Positive, require_entries
from l2o_cli.optimizers.packing import Array, Layout, constant
from l2o_cli.optimizers.transforms.base import Transform, names_of

ROOT_EPSILON = 1e-7  # added to the root that the nominal term is divided by, as in Keras's Adam
SQUARE_EPSILON = 1e-6  # added under the root that the correction is divided by, as in the code released with the paper
STEP_LIMIT = 1e15  # entries of the inner step beyond count as this: their squares have a finite mean


@dataclass(frozen=True)
class Nominal(Transform):
    """step = -rate * n + gain * P c: a nominal term n, and as its correction c the step of the inner learned optimizer.

    Of the gradient g there are K running means m_k and one of its square, v, both unbiased as Adam's:

        n = sum_k softmax(mixture)_k m_k / (sqrt(v) + 1e-7)    adam
        n = sum_k softmax(mixture)_k m_k                       momentum
        P = 1 / sqrt(v + 1e-6)                                 root_square
        P = 1 / (root mean square of c over the tensor)        normalized
        P = 1                                                  none

    log(rate), log(gain) and mixture [K, 1, 1] are meta-trained with the weights of the inner optimizer: these are the one
    transformation that is learned itself. At the start the mixture weighs all means alike, and all decays being 0.9 is Adam's
    direction. The paper's network puts out the magnitudes of both terms for each tensor or parameter; here they are scalars, as
    the inner optimizer may be any. With the nominal term the paper trains under a strong decay of the weights towards zero
    (`objective.weight_decay`), so that the correction stays small where it is of no use.

    Attributes:
        kind: whether the running means are divided by the root of v.
        decays: beta_k of the means, in [0, 1).
        square_decay: of v.
        precondition: P. `root_square` makes steps long where gradients are small, at most 1000 times; `normalized` leaves to
            the inner optimizer its direction alone; `none` suits optimizers that set their own step lengths, such as hrnn.
        initial_rate: of the nominal term.
        initial_gain: of the correction; small, so that meta-training begins near the nominal term alone. With `normalized` it
            is the length of the correction, and should be of the size of initial_rate.
    """

    name: ClassVar[str] = "nominal"
    summary: ClassVar[str] = "a learned optimizer as the correction of an Adam-like term (STAR, Harrison et al. 2022)"

    kind: Literal["adam", "momentum"] = "adam"
    decays: tuple[Decay, ...] = (0.9, 0.99, 0.999)
    square_decay: Decay = 0.999
    precondition: Literal["root_square", "normalized", "none"] = "root_square"
    initial_rate: Positive = 0.001
    initial_gain: Positive = 0.01

    def __post_init__(self):
        super().__post_init__()
        if not self.inner.learned:
            raise ValueError(f"nominal corrects by a learned optimizer, but {names_of(self.inner)!r} is not learned")
        if self.inner.evaluates_elsewhere:
            raise ValueError(f"nominal needs gradients at the params, but {names_of(self.inner)!r} takes them elsewhere")
        require_entries(decays=self.decays)

    def init_weights(self, seed):
        own = {
            "nominal/log_rate": np.float32(np.log(self.initial_rate)),
            "nominal/log_gain": np.float32(np.log(self.initial_gain)),
            "nominal/mixture": np.zeros((len(self.decays), 1, 1), np.float32),
        }
        return {**self.inner.init_weights(seed), **own}

    def init_own_state(self, layout, instances):
        shape = (instances, layout.parameters)
        return {"means": np.zeros((len(self.decays), *shape), np.float32), "square": np.zeros((1, *shape), np.float32)}

    def update(self, weights, state, params, gradients, loss, step, layout):
        inner_params, new_state = super().update(weights, state, params, gradients, loss, step, layout)
        own = self._averages(self.own_state(state), gradients)
        square = own["square"][0] / _unbiased(self.square_decay, step)
        rate, gain = (ops.exp(per_instance(weights[f"nominal/{name}"])) for name in ("log_rate", "log_gain"))
        correction = gain * self._preconditioned(inner_params - params, square, layout)
        nominal = rate * self._nominal(weights, own["means"], square, step)
        return params - nominal + correction, self.joined(self.inner_state(new_state), own)

    def _averages(self, own: State, gradients: Array) -> State:
        """The running means [K, I, P] and that of the square [1, I, P], biased, after these gradients."""
        gradient = ops.clip(gradients, -GRADIENT_LIMIT, GRADIENT_LIMIT)[None]
        kept = constant(self.decays)[:, None, None]
        means = own["means"] + (gradient - own["means"]) * (1 - kept)
        square = own["square"] + (ops.square(gradient) - own["square"]) * (1 - self.square_decay)
        return {"means": means, "square": square}

    def _nominal(self, weights: Weights, means: Array, square: Array, step: Array) -> Array:
        """n, [I, P]."""
        mixture = per_instance(weights["nominal/mixture"])
        shares = ops.exp(mixture - ops.logsumexp(mixture, axis=0, keepdims=True))  # Keras's softmax warns of a single mean
        unbiased = ops.stack([_unbiased(decay, step) for decay in self.decays])
        mixed = ops.sum(shares / unbiased * means, axis=0)
        return mixed / (root(square) + ROOT_EPSILON) if self.kind == "adam" else mixed

    def _preconditioned(self, move: Array, square: Array, layout: Layout) -> Array:
        """P c, [I, P]."""
        if self.precondition == "root_square":
            return move * ops.rsqrt(square + SQUARE_EPSILON)
        if self.precondition == "normalized":
            return divided_by_tensor_rms(ops.clip(move, -STEP_LIMIT, STEP_LIMIT), layout)
        return move


def _unbiased(decay: float, step: Array) -> Array:
    """1 - decay^(step + 1), the sum of the weights of all that went into a running mean, [I, 1]."""
    return 1 - decay ** number(step)
