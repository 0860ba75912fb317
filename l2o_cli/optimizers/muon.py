"""Muon (Jordan et al. 2024), scaled as by Liu et al. 2025, "Muon is Scalable for LLM Training"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.matrices import Parts, newton_schulz, rows_and_columns
from l2o_cli.optimizers.options import Decay, Few, NonNegative
from l2o_cli.optimizers.packing import Array, Layout, joined


@dataclass(frozen=True)
class Muon(HandDesigned):
    """The momentum of each matrix is brought near to the nearest orthogonal one; everything else is optimized by AdamW.

    Matrices are the tensors of two or more axes, the last of which are the columns and all others the rows (so a convolution's
    kernel is one matrix), but for those with "embedding" in their name as long as `exclude_embeddings` is set. The step of a
    matrix [N, M] is learning_rate * rms_rate * sqrt(max(N, M)) times what `newton_schulz` makes of its momentum. Weight decay
    is decoupled. Defaults are those of Keras, which takes tensors of more than two axes for no matrices.

    The state, where such tensors are: "momentum" of the matrices, "mean" and "square" of the others.
    """

    name: ClassVar[str] = "muon"
    summary: ClassVar[str] = "orthogonalized momentum for matrices (Jordan et al. 2024), AdamW for the rest"
    gradient_limit: ClassVar[float] = 1e12  # the squares are added up

    learning_rate: NonNegative = 0.001
    momentum: Decay = 0.95
    rms_rate: NonNegative = 0.2
    weight_decay: NonNegative = 0.004
    adam_lr_ratio: NonNegative = 1.0
    adam_beta_1: Decay = 0.9
    adam_beta_2: Decay = 0.999
    adam_weight_decay: NonNegative = 0.004
    epsilon: NonNegative = 1e-7
    nesterov: bool = True
    ns_steps: Few = 5
    exclude_embeddings: bool = True

    def init_state(self, weights, layout, instances, seed):
        parts = self._parts(layout).layouts
        leaves = {"momentum": parts[True], "mean": parts[False], "square": parts[False]}
        return {name: np.zeros((1, instances, part.parameters), np.float32) for name, part in leaves.items() if part.tensors}

    def move(self, weights, state, params, gradients, step, layout):
        parts = self._parts(layout)
        ends, new = {}, {}
        for matrices, part in parts.layouts.items():
            if part.tensors:
                move = self._move_matrices if matrices else self._move_others
                given = parts.take(params, matrices), parts.take(gradients, matrices)
                ends[matrices], own = move(weights, state, *given, step, part)
                new |= own
        return parts.together(ends), new

    def _move_matrices(
        self, weights: Weights, state: State, params: Array, gradients: Array, step: Array, layout: Layout
    ) -> tuple[Array, State]:
        rate, decay, keep, scale = hyperparameters(weights, "learning_rate", "weight_decay", "momentum", "rms_rate")
        momentum = keep * state["momentum"] + gradients
        directions = keep * momentum[0] + gradients if self.nesterov else momentum[0]
        steps = []
        for group in layout.groups:
            rows, columns = rows_and_columns(group.shape)
            matrix = newton_schulz(ops.reshape(directions[:, group.entries], (-1, rows, columns)), self.ns_steps)
            steps.append(ops.reshape(matrix, (-1, group.members * rows * columns)) * float(np.sqrt(max(rows, columns))))
        return params * (1 - rate * decay) - rate * scale * joined(steps), {"momentum": momentum}

    def _move_others(
        self, weights: Weights, state: State, params: Array, gradients: Array, step: Array, layout: Layout
    ) -> tuple[Array, State]:
        rate, decay = hyperparameters(weights, "learning_rate", "adam_weight_decay")
        own = {name.removeprefix("adam_"): value for name, value in weights.items()}
        own["learning_rate"] = ops.multiply(weights["learning_rate"], weights["adam_lr_ratio"])
        return Adam().move(own, state, params * (1 - rate * decay), gradients, step, layout)

    def _parts(self, layout: Layout) -> Parts:
        return Parts.of(layout, self.exclude_embeddings)
