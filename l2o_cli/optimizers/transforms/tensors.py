"""Transformations of each tensor's step by what the tensor is: its shape, its size, its singular values.

They are for steps that suit networks of every width. Matrices are the tensors of two axes or more (`matrices`), but for
embeddings, whose rows are vectors that are looked up.

Shape letters: I instances, P parameters of one instance, T tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import blockwise
from l2o_cli.optimizers.elementwise import AdamW
from l2o_cli.optimizers.features import ROOT_EPSILON, mean_square
from l2o_cli.optimizers.matrices import Parts, is_matrix, newton_schulz, rows_and_columns
from l2o_cli.optimizers.options import Count, Decay, Few, NonNegative, Positive
from l2o_cli.optimizers.packing import Array, Layout, constant, joined, spread
from l2o_cli.optimizers.transforms.base import Transform, scaled_steps


@dataclass(frozen=True)
class FanIn(Transform):
    """Each matrix's step is multiplied by (base / fan-in)^power; the steps of vectors and embeddings stay as they are.

    With power 1 it is maximal update parametrization for steps whose entries are all of a size, as Adam's (Yang et al. 2021,
    "Tensor Programs V"; for learned optimizers Thérien et al. 2024, arXiv 2406.00153): what is right for a narrow network is
    then right for a wide one. For orthogonalized steps that power is 0.5.

    Attributes:
        base: the fan-in at which a step stays as it is.
        power: 1 or 0.5, see above.
    """

    name: ClassVar[str] = "fan_in"
    summary: ClassVar[str] = "steps of matrices divided by their fan-in, so that they suit networks of every width (muP)"
    constants: ClassVar[tuple[str, ...]] = ("base",)

    base: Count = 32
    power: NonNegative = 1.0

    def update(self, weights, state, params, gradients, loss, step, layout):
        new_params, state = super().update(weights, state, params, gradients, loss, step, layout)
        factors = ops.exp(self.option(weights, "power") * self._log_ratios(layout))
        return scaled_steps(params, new_params, factors, layout), state

    def _log_ratios(self, layout: Layout) -> Array:
        """log(base / fan-in) of the matrices, 0 of the others, [1, T]."""
        fan_in = [
            rows_and_columns(shape)[0] if is_matrix(name, shape) else self.base
            for name, shape in zip(layout.names, layout.shapes, strict=True)
        ]
        return constant(np.log(self.base / np.array([fan_in], np.float32)))


@dataclass(frozen=True)
class TrustRatio(Transform):
    """Each tensor's step is multiplied by the RMS of its params, of at least `least` (You et al. 2020, LAMB; Adafactor).

    With `normalize` it is divided by its own RMS besides, as in LAMB, so that the optimizer inside says directions alone.

    Attributes:
        least: params count as at least so large, those that start at 0 too.
        normalize: divide each step by its own RMS.
        scale: the step's RMS in units of that of the params.
    """

    name: ClassVar[str] = "trust_ratio"
    summary: ClassVar[str] = "steps in proportion to the size of each tensor's params (LAMB, Adafactor)"

    least: Positive = 1e-2
    normalize: bool = False
    scale: NonNegative = 1.0

    def update(self, weights, state, params, gradients, loss, step, layout):
        new_params, state = super().update(weights, state, params, gradients, loss, step, layout)
        move = new_params - params
        length = ops.sqrt(ops.maximum(mean_square(params, layout), ops.square(self.option(weights, "least"))))
        if self.normalize:
            length = length * ops.rsqrt(mean_square(move, layout) + ROOT_EPSILON)
        return params + self.option(weights, "scale") * spread(length, layout) * move, state


@dataclass(frozen=True)
class Orthogonalized(Transform):
    """Each matrix's step is replaced by one of the same RMS whose singular values are all about the same.

    It is what Muon does to its momentum (Jordan et al. 2024), here to the steps of any optimizer. Vectors and embeddings, and
    matrices with a row or a column alone, keep their steps.

    Attributes:
        iterations: Newton-Schulz iterations.
    """

    name: ClassVar[str] = "orthogonalized"
    summary: ClassVar[str] = "steps of matrices brought near to orthogonal ones of the same length, as in Muon"
    constants: ClassVar[tuple[str, ...]] = ("iterations",)

    iterations: Few = 5

    def update(self, weights, state, params, gradients, loss, step, layout):
        new_params, state = super().update(weights, state, params, gradients, loss, step, layout)
        given = {"params": params[None], "new": new_params[None]}
        written, _ = blockwise.compute(
            lambda _, given: ({"new": given["new"] - given["params"]}, {}), given, {}, layout, in_place=True
        )
        move = written["new"][0]
        named = zip(layout.names, layout.shapes, strict=True)
        changed = [is_matrix(name, shape) and min(rows_and_columns(shape)) > 1 for name, shape in named]
        groups = layout.groups_of(changed)
        if not blockwise.wanted(layout):
            pieces = [move[:, group.entries] for group in groups]
            pieces = [
                self._orthogonal(piece, group.shape) if changed[group.tensors.start] else piece
                for piece, group in zip(pieces, groups, strict=True)
            ]
            return params + joined(pieces), state
        for group in groups:
            if changed[group.tensors.start]:
                move = blockwise.each_in_place(partial(self._orthogonal, shape=group.shape, rolled=True), move, group)
        given = {"params": params[None], "new": move[None]}
        written, _ = blockwise.compute(
            lambda _, given: ({"new": given["new"] + given["params"]}, {}), given, {}, layout, in_place=True
        )
        return written["new"][0], state

    def _orthogonal(self, move: Array, shape: tuple[int, ...], rolled: bool = False) -> Array:
        """The steps [I, N] of tensors of one shape that lie side by side."""
        rows, columns = rows_and_columns(shape)
        given = ops.reshape(move, (-1, rows, columns))
        length = ops.sqrt(ops.mean(ops.square(given), axis=(1, 2), keepdims=True) + ROOT_EPSILON)
        made = newton_schulz(given / length, self.iterations, rolled) * math.sqrt(max(rows, columns)) * length
        return ops.reshape(made, (-1, move.shape[1]))


@dataclass(frozen=True)
class AdamWForVectors(Transform):
    """Vectors and embeddings are moved by AdamW alone; matrices keep the steps of the inner optimizer.

    So it is in Muon, and in Celo2 (arXiv 2602.19142), whose other parts are `adafactor_mlp(normalize_step=true)` and
    `orthogonalized`.

    Attributes:
        learning_rate: AdamW's, as are the others.
    """

    name: ClassVar[str] = "adamw_for_vectors"
    summary: ClassVar[str] = "AdamW for vectors and embeddings, as in Celo2: the optimizer inside moves the matrices alone"

    learning_rate: NonNegative = 0.001
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: NonNegative = 1e-7
    weight_decay: NonNegative = 0.0

    def init_own_state(self, layout, instances):
        vectors = Parts.of(layout).layouts[False]
        return AdamW().init_state({}, vectors, instances, 0) if vectors.tensors else {}

    def update(self, weights, state, params, gradients, loss, step, layout):
        new_params, state = super().update(weights, state, params, gradients, loss, step, layout)
        parts = Parts.of(layout)
        vectors = parts.layouts[False]
        if not vectors.tensors:
            return new_params, state
        own = {name: self.option(weights, name) for name in self._numbers()}
        ends, own_state = AdamW().update(
            own, self.own_state(state), parts.take(params, False), parts.take(gradients, False), loss, step, vectors
        )
        ends = {False: ends} | ({True: parts.take(new_params, True)} if parts.layouts[True].tensors else {})
        return parts.together(ends), self.joined(self.inner_state(state), own_state)
