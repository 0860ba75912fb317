"""Second moments of matrices kept as the means of their rows and of their columns (Shazeer and Stern 2018, "Adafactor").

A tensor with two or more axes is factored in its two longest ones: a row mean is taken along the longest axis, a column mean
along the second longest. Of a 2-D tensor [m, n] with m <= n these are m and n numbers. Other tensors are plain: their second
moments are kept whole.

Shape letters: I instances, P parameters of one instance, F features, R rows and C columns of all factored tensors, N entries of
all plain ones. Arrays by part are a dict of "rows" [F, I, R], "columns" [F, I, C] and "plain" [F, I, N]; a part without entries
is left out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from l2o_cli.optimizers.packing import Array, Group, InTurn, Layout, joined

ByPart = dict[str, Array]


class Matrix(NamedTuple):
    """Factored tensors of one shape as matrices with axes between and around those that count: [F, I, ., first, ., second, .].

    The first of these axes is that of the tensors too.
    """

    shape: tuple[int, ...]  # of the five axes of the tensors
    longest: int  # the axis of the seven along which row means are taken
    second: int  # that of column means

    @classmethod
    def of(cls, group: Group) -> Matrix:
        second, longest = longest_axes(group.shape)
        low, high = sorted((second, longest))
        around = np.split([group.members, *group.shape], [low + 1, low + 2, high + 1, high + 2])
        places = {low: 3, high: 5}
        return cls(tuple(math.prod(sizes.tolist()) for sizes in around), places[longest], places[second])

    def entries(self, axis: int) -> int:
        """How many means along the axis there are."""
        return math.prod(self.shape) // self.shape[axis - 2]

    def whole(self, packed: Array) -> Array:
        """[F, I, size] -> the seven axes."""
        return ops.reshape(packed, (packed.shape[0], -1, *self.shape))

    def along(self, axis: int, packed: Array) -> Array:
        """Means along the axis, [F, I, size / length] -> seven axes, of which that one has the length 1."""
        shape = tuple(1 if place == axis else size for place, size in enumerate(self.shape, 2))
        return ops.reshape(packed, (packed.shape[0], -1, *shape))


def longest_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """The second longest axis and the longest; of axes of one length, the later counts as the longer."""
    second, longest = np.argsort(shape, kind="stable")[-2:]
    return int(second), int(longest)


@functools.lru_cache(maxsize=256)
def part_layouts(layout: Layout) -> dict[str, Layout]:
    """How each part is packed: {"rows", "columns", "plain"} without those that would be empty."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {"rows": {}, "columns": {}, "plain": {}}
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        if len(shape) < 2:
            shapes["plain"][name] = shape
        else:
            second, longest = longest_axes(shape)
            shapes["rows"][name] = shape[:longest] + shape[longest + 1 :]
            shapes["columns"][name] = shape[:second] + shape[second + 1 :]
    return {part: Layout(tuple(own), tuple(own.values())) for part, own in shapes.items() if own}


def means(values: Array, layout: Layout) -> ByPart:
    """The means of rows and columns of [F, I, P], and plain tensors as they are."""
    pieces: dict[str, list[Array]] = {part: [] for part in part_layouts(layout)}
    for group, matrix in _matrices(layout):
        own = values[..., group.entries]
        if matrix is None:
            pieces["plain"].append(own)
        else:
            pieces["rows"].append(_flat(ops.mean(matrix.whole(own), axis=matrix.longest)))
            pieces["columns"].append(_flat(ops.mean(matrix.whole(own), axis=matrix.second)))
    return {part: joined(own) for part, own in pieces.items()}


def divided_by_row_mean(rows: Array, layout: Layout, epsilon: float) -> Array:
    """Each row's mean divided by (the mean over the rows + epsilon), [F, I, R]: what rows and columns both hold is left out."""
    pieces = []
    taken = InTurn({"rows": rows})
    for _, matrix in _matrices(layout):
        if matrix is not None:
            own = matrix.along(matrix.longest, taken.take("rows", matrix.entries(matrix.longest)))
            pieces.append(_flat(own / (ops.mean(own, axis=matrix.second, keepdims=True) + epsilon)))
    return joined(pieces)


def spread_parts(parts: ByPart, combine: Callable[[Array, Array], Array], layout: Layout) -> Array:
    """`combine(row, column)` of every parameter's row and column, and plain entries as they are: [F, I, P]."""
    taken = InTurn(parts)
    pieces = []
    for group, matrix in _matrices(layout):
        if matrix is None:
            pieces.append(taken.take("plain", group.members * math.prod(group.shape)))
        else:
            rows = matrix.along(matrix.longest, taken.take("rows", matrix.entries(matrix.longest)))
            columns = matrix.along(matrix.second, taken.take("columns", matrix.entries(matrix.second)))
            pieces.append(_flat(combine(rows, columns)))
    return joined(pieces)


def _matrices(layout: Layout) -> list[tuple[Group, Matrix | None]]:
    """Each group of tensors, and as matrices unless they are plain."""
    return [(group, Matrix.of(group) if len(group.shape) > 1 else None) for group in layout.groups]


def _flat(values: Array) -> Array:
    """[F, I, ...] -> [F, I, all the rest]."""
    return ops.reshape(values, (values.shape[0], values.shape[1], -1))
