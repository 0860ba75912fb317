"""Muon (Jordan et al. 2024), scaled as by Liu et al. 2025, "Muon is Scalable for LLM Training"."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.optimizers.hand_designed import HandDesigned, hyperparameters
from l2o_cli.optimizers.matrices import is_matrix, newton_schulz, rows_and_columns
from l2o_cli.optimizers.options import Decay, Few, NonNegative
from l2o_cli.optimizers.packing import Array, InTurn, Layout, joined


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
        matrices, others = self._parts(layout)
        leaves = {"momentum": matrices, "mean": others, "square": others}
        return {name: np.zeros((1, instances, part.parameters), np.float32) for name, part in leaves.items() if part.tensors}

    def move(self, weights, state, params, gradients, step, layout):
        matrices, others = self._parts(layout)
        runs = self._runs(layout)

        def part(array: Array, of_matrices: bool) -> Array:
            return joined([array[:, entries] for kind, entries in runs if kind == of_matrices])

        ends, new = {}, {}
        if matrices.tensors:
            own = part(params, True), part(gradients, True)
            ends[True], new["momentum"] = self._move_matrices(weights, state["momentum"], *own, matrices)
        if others.tensors:
            ends[False], rest = self._move_others(weights, state, part(params, False), part(gradients, False), step, others)
            new |= rest
        pieces = InTurn(ends)
        return joined([pieces.take(kind, entries.stop - entries.start) for kind, entries in runs]), new

    def _move_matrices(
        self, weights: Weights, momentum: Array, params: Array, gradients: Array, layout: Layout
    ) -> tuple[Array, Array]:
        rate, decay, keep, scale = hyperparameters(weights, "learning_rate", "weight_decay", "momentum", "rms_rate")
        momentum = keep * momentum + gradients
        directions = keep * momentum[0] + gradients if self.nesterov else momentum[0]
        steps = []
        for group in layout.groups:
            rows, columns = rows_and_columns(group.shape)
            matrix = newton_schulz(ops.reshape(directions[:, group.entries], (-1, rows, columns)), self.ns_steps)
            steps.append(ops.reshape(matrix, (-1, group.members * rows * columns)) * float(np.sqrt(max(rows, columns))))
        return params * (1 - rate * decay) - rate * scale * joined(steps), momentum

    def _move_others(
        self, weights: Weights, state: State, params: Array, gradients: Array, step: Array, layout: Layout
    ) -> tuple[Array, State]:
        rate, decay = hyperparameters(weights, "learning_rate", "adam_weight_decay")
        own = {name.removeprefix("adam_"): value for name, value in weights.items()}
        own["learning_rate"] = ops.multiply(weights["learning_rate"], weights["adam_lr_ratio"])
        return Adam().move(own, state, params * (1 - rate * decay), gradients, step, layout)

    def _parts(self, layout: Layout) -> tuple[Layout, Layout]:
        """The matrices, and everything else."""
        shapes = dict(zip(layout.names, layout.shapes, strict=True))
        matrices = {name: shape for name, shape in shapes.items() if self._is_matrix(name, shape)}
        return Layout.of(matrices), Layout.of({name: shape for name, shape in shapes.items() if name not in matrices})

    def _runs(self, layout: Layout) -> list[tuple[bool, slice]]:
        """Stretches of the packed axis that are matrices, or are not, in turn."""
        kinds = [self._is_matrix(name, shape) for name, shape in zip(layout.names, layout.shapes, strict=True)]
        runs, begin = [], 0
        for kind, members in groupby(zip(kinds, layout.sizes, strict=True), key=lambda tensor: tensor[0]):
            end = begin + sum(size for _, size in members)
            runs.append((kind, slice(begin, end)))
            begin = end
        return runs

    def _is_matrix(self, name: str, shape: tuple[int, ...]) -> bool:
        return is_matrix(name if self.exclude_embeddings else "", shape)
