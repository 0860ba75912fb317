"""The loss of one instance as a function of two parameters: values on a grid, where it is least, what to show of it.

Shape letters: M points, P parameters (2).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem, Task
from l2o_problems.random import as_seed, fold

from l2o_cli import devices
from l2o_cli.carry import layout_of
from l2o_cli.graph import Graph
from l2o_cli.optimizers.packing import unpack

AT_ONCE = 4096  # points
MOST_NUMBERS = 4_000_000  # in the tasks of the points that are computed at once
MINIBATCHES = 8  # whose losses are averaged, where there are any
FINE, COARSE = 240, 80  # points of a grid on each axis; the latter where few points fit at once
MARGIN = 0.08  # of the range, on each side of what is to be seen
FAR = 2.0  # times the range of the points: minima farther from them are not shown
MOST_STRETCHED = 8.0  # ranges of the axes, beyond which they do not get the same scale
LEVELS = 24
MUCH = 2.0  # the greatest loss as a multiple of the least, from which levels are logarithmic
DECADES = 8.0  # that logarithmic levels span at most

CANDIDATES = 64  # points of a grid from which minima are looked for
ROUNDS = 200  # of the search
MOST_MINIMIZERS = 4  # more are taken for a line or plain of them


class Landscape:
    """The training loss of one instance at many points: on one fixed set of minibatches, without noise on the gradients."""

    def __init__(self, problem: Problem, task: Task):
        """`task`: of one instance."""
        self.problem = problem
        numbers = sum(int(tf.size(leaf)) for leaf in task.values()) + layout_of(problem).parameters
        self.at_once = max(1, min(AT_ONCE, MOST_NUMBERS // numbers))
        batches = [problem.batch(fold(as_seed(0), index), task, "train") for index in range(MINIBATCHES)]
        self._batches = batches if batches[0] else [{}]
        self._task = task
        self._losses = Graph(self._loss, f"losses of {problem.structure} at points", devices.compiles(problem))
        self._slopes = tf.function(self._derivatives, autograph=False)

    @property
    def resolution(self) -> int:
        """Points of a grid on each axis."""
        return FINE if self.at_once == AT_ONCE else COARSE

    def _loss(self, points: tf.Tensor) -> tf.Tensor:
        """[M, P] -> [M]."""
        count = points.shape[0]
        params = unpack(points, layout_of(self.problem))
        task, *batches = (
            {name: tf.repeat(leaf, count, axis=0) for name, leaf in leaves.items()} for leaves in (self._task, *self._batches)
        )
        return tf.add_n([self.problem.loss(params, task, batch) for batch in batches]) / len(batches)

    def _derivatives(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(points)
            with tf.GradientTape() as inner:
                inner.watch(points)
                loss = self._loss(points)
            slopes = tf.unstack(inner.gradient(loss, points), axis=1)
        rows = [outer.gradient(slope, points, unconnected_gradients="zero") for slope in slopes]
        return tf.stack(slopes, axis=1), tf.stack(rows, axis=1)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Losses [M] at points [M, P], `at_once` at a time."""
        count = len(points)
        size = min(count, self.at_once)
        padded = np.concatenate([points, np.repeat(points[-1:], -count % size, axis=0)]).astype(np.float32)
        parts = [self._losses(tf.constant(padded[start : start + size])).numpy() for start in range(0, len(padded), size)]
        return np.concatenate(parts)[:count].astype(np.float64)

    def derivatives(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradients [M, P] and Hessians [M, P, P]."""
        gradients, hessians = self._slopes(tf.constant(points, tf.float32))
        return gradients.numpy().astype(np.float64), hessians.numpy().astype(np.float64)


def grid_points(low: np.ndarray, high: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coordinates [count] on both axes, and all points [count * count, 2], the second coordinate outermost."""
    x, y = (np.linspace(low[axis], high[axis], count) for axis in (0, 1))
    return x, y, np.stack([np.tile(x, count), np.repeat(y, count)], axis=1)


def minimizers(landscape: Landscape, minimum: float | None, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The points between `low` and `high` where the loss is `minimum`, [M, 2].

    None where that is unknown, is not found, or is taken on more than a few points, a line for example.
    """
    nowhere = np.empty((0, 2))
    if minimum is None:
        return nowhere
    _, _, points = grid_points(low, high, landscape.resolution)
    losses = np.nan_to_num(landscape(points), nan=np.inf, posinf=np.inf)
    tolerance = 1e-4 * (np.median(losses) - minimum)
    found: list[np.ndarray] = []
    ends = _descended(landscape, points[np.argsort(losses)[:: max(1, len(points) // CANDIDATES)]])
    for point, loss in zip(ends, landscape(ends), strict=True):
        inside = np.all((point >= low) & (point <= high))
        apart = all(np.max(np.abs(point - other) / (high - low)) > 0.01 for other in found)
        if inside and apart and loss - minimum <= tolerance:
            found.append(point)
    return np.array(found) if 0 < len(found) <= MOST_MINIMIZERS else nowhere


def _descended(landscape: Landscape, points: np.ndarray) -> np.ndarray:
    """Each point moved downhill by Newton's method: damped more where the loss would grow, and away from saddles."""
    points, losses = points.astype(np.float64), landscape(points)
    damping = np.ones(len(points))
    for _ in range(ROUNDS):
        gradients, hessians = (np.nan_to_num(values, posinf=0.0, neginf=0.0) for values in landscape.derivatives(points))
        values, vectors = np.linalg.eigh((hessians + hessians.swapaxes(1, 2)) / 2)
        curvatures = np.abs(values) + damping[:, None]
        steps = np.einsum("mij,mj->mi", vectors, np.einsum("mji,mj->mi", vectors, gradients) / curvatures)
        tried = landscape(points - steps)
        better = tried < losses
        points, losses = np.where(better[:, None], points - steps, points), np.where(better, tried, losses)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-9, 1e12)
    return points


def shown(points: np.ndarray, minima: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """The range to show: its lower left and upper right corner, and whether both axes have one scale.

    It contains all `points` [M, 2], and the minima that are not far away from them.
    """
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    reach = FAR * (high - low).max()
    near = minima[np.all((minima >= low - reach) & (minima <= high + reach), axis=1)]
    low, high = (function([end, *near], axis=0) for function, end in ((np.min, low), (np.max, high)))
    spans = high - low
    still = spans <= 1e-3 * np.abs([low, high]).max(axis=0)
    equal = bool(still.any() or spans.max() <= MOST_STRETCHED * spans.min())
    wide = np.full(2, spans.max()) if equal else spans
    if still.all():
        wide = np.full(2, 1e-3 * max(1.0, np.abs([low, high]).max()))
    middle = (low + high) / 2
    return middle - wide * (0.5 + MARGIN), middle + wide * (0.5 + MARGIN), equal


def levels(losses: np.ndarray) -> tuple[np.ndarray, bool]:
    """Ascending levels for filled contours, and whether they are logarithmic: where no loss is negative and they differ much."""
    known = losses[np.isfinite(losses)]
    low, high = known.min(), known.max()
    if low >= 0 and high > 0:
        # The few points next to a minimum at 0 must not take all levels.
        least = max(np.quantile(known[known > 0], 0.001), high * 10**-DECADES)
        if high > MUCH * least:
            return np.geomspace(least, high, LEVELS), True
    ends = (low, high) if high > low else (low - 0.5, low + 0.5)
    return np.linspace(*ends, LEVELS), False
