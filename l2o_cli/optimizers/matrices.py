"""Which tensors are matrices, and what is done to a matrix as a whole.

Shape letters: I instances, N rows and M columns of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

from keras import backend, ops

from l2o_cli.optimizers.packing import Array, InTurn, Layout, joined

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5: bring singular values from 0.01 to about 1 in 5 iterations
SMALLEST_SQUARE = 1e-30  # under a root, whose derivative at 0 would be infinite


def is_embedding(name: str) -> bool:
    """Whether a tensor's name says that its rows are looked up: it has "embedding" in it."""
    return "embedding" in name.lower()


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is a matrix by its shape, and no embedding, whose rows are vectors."""
    return len(shape) > 1 and not is_embedding(name)


class Parts(NamedTuple):
    """The matrices of a layout and all other tensors, each packed by themselves."""

    layouts: dict[bool, Layout]  # of the matrices (True), of the others
    runs: list[tuple[bool, slice]]  # stretches of the packed axis that are matrices, or are not, in turn

    @classmethod
    def of(cls, layout: Layout, exclude_embeddings: bool = True) -> Parts:
        shapes = dict(zip(layout.names, layout.shapes, strict=True))
        matrix = {name: is_matrix(name if exclude_embeddings else "", shape) for name, shape in shapes.items()}
        matrices, others = ({name: shapes[name] for name in shapes if matrix[name] is kind} for kind in (True, False))
        runs, begin = [], 0
        for kind, members in groupby(zip(layout.names, layout.sizes, strict=True), key=lambda tensor: matrix[tensor[0]]):
            end = begin + sum(size for _, size in members)
            runs.append((kind, slice(begin, end)))
            begin = end
        return cls({True: Layout.of(matrices), False: Layout.of(others)}, runs)

    def take(self, array: Array, matrices: bool) -> Array:
        """What of an array [I, P] is of the matrices, or of the others."""
        return joined([array[:, entries] for kind, entries in self.runs if kind is matrices])

    def together(self, arrays: Mapping[bool, Array]) -> Array:
        """The array [I, P] of which both parts are given."""
        pieces = InTurn(arrays)
        return joined([pieces.take(kind, entries.stop - entries.start) for kind, entries in self.runs])


def rows_and_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    """N and M of a tensor of two axes or more as one matrix: the last axis are the columns, all others the rows.

    So N is the fan-in of a dense kernel and of a convolution's.
    """
    return math.prod(shape[:-1]), shape[-1]


def _iterated(x: Array) -> Array:
    a, b, c = COEFFICIENTS
    square = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    return ops.matmul(b * square + c * ops.matmul(square, square), x) + a * x


def newton_schulz(matrices: Array, steps: int, rolled: bool = False) -> Array:
    """About U V^T of each matrix U S V^T, [I, N, M]: all singular values end between 0.7 and 1.2, but for those too small.

    Each step is X <- a X + b X X^T X + c X X^T X X^T X, from X divided by its Frobenius norm (Jordan et al. 2024).

    Args:
        rolled: as a compiled loop, in which XLA does not keep the products of all steps to compute each X from them anew.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else ops.transpose(matrices, (0, 2, 1))  # X X^T is then the smaller product
    del matrices  # or PyTorch would keep them to the end
    norm = ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=(1, 2), keepdims=True), SMALLEST_SQUARE))
    x = x / (norm + 1e-7)
    if rolled and backend.backend() != "torch":
        x = ops.fori_loop(0, steps, lambda _, x: _iterated(x), x)
    else:
        for _ in range(steps):
            x = _iterated(x)
    return x if wide else ops.transpose(x, (0, 2, 1))
