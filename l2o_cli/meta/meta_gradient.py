"""What all estimators of the meta-gradient share: what they carry, what they tell, and the graphs they are made of.

Shape letters: I instances, W all weights packed, N samples of the meta-gradient.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem

from l2o_cli.carry import RUNNING, Carry, layout_of, start
from l2o_cli.graph import Graph
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.truncation import Truncation, packed, weights_layout
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.packing import Layout
from l2o_cli.spec import Estimator


class Particles(NamedTuple):
    """What the instances of a family carry from truncation to truncation."""

    carries: tuple[Carry, ...]  # one; for persistent ES those of the positive and the negative perturbations
    drift: tf.Tensor  # [I, W], for persistent ES each instance's perturbations added up since its start; else [I, 0]


class Estimate(NamedTuple):
    """What one truncation of one problem family tells."""

    gradient: tf.Tensor  # [W], non-finite entries set to 0
    meta_loss: tf.Tensor  # [], the objective over the truncation
    norm: tf.Tensor  # [], of the gradient
    nonfinite: tf.Tensor  # [] int32, entries of the gradient that were not finite
    diagnostics: dict[str, tf.Tensor]  # [] each; which there are depends on the estimator alone
    particles: Particles  # after the truncation
    diverged: int  # instances frozen so far and not yet reset


Summary = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]  # the first fields of an estimate


def global_norm(vector: tf.Tensor) -> tf.Tensor:
    """The Euclidean norm over the last axis, [...], finite whenever the entries are."""
    largest = tf.maximum(tf.reduce_max(tf.abs(vector), axis=-1, keepdims=True), 1e-30)
    norm = largest[..., 0] * tf.sqrt(tf.reduce_sum(tf.square(vector / largest), axis=-1))
    return tf.minimum(norm, norm.dtype.max)  # of entries near the greatest float the norm is beyond it


class MetaGradient(abc.ABC):
    """An estimator for one problem family: (weights, particles, steps, seed) -> Estimate."""

    persistent = False  # whether both halves of a pair are carried on
    whole_horizon = False  # whether it runs every instance from its start to its horizon
    diagnostics: ClassVar[tuple[str, ...]] = ()  # the names of those that are one number for a truncation

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        objective: MeasuredObjective,
        spec: Estimator,
        maximum: int,
        xla: bool = True,
        parallel: bool = False,
    ):
        """Args:
        maximum: the bound on the steps of a truncation, where a call names no lower one.
        parallel: run the halves of antithetic pairs in two threads.
        """
        self._problem, self._optimizer, self._spec = problem, optimizer, spec
        self.layout = weights_layout(optimizer.init_weights(0))
        self._maximum = maximum
        self._truncation = functools.cache(lambda bound: Truncation(problem, optimizer, self.layout, objective, spec, bound, xla))
        self._pool = ThreadPoolExecutor(2) if parallel else None
        self._packed, self._perturbed, self._summarize = _graphs(type(self), self.layout, spec, xla)

    def start(self, weights: Weights, seed: int, instances: int, horizons: np.ndarray | None = None) -> Particles:
        """Instances at their start, told these horizons [I], where there are any; a function of the arguments alone."""
        carry = start(self._problem, self._optimizer, weights, seed, instances)
        if horizons is not None:
            carry = carry._replace(state=self._optimizer.with_horizons(carry.state, horizons))
        drift = tf.zeros([instances, self.layout.parameters if self.persistent else 0])
        return Particles((carry, carry) if self.persistent else (carry,), drift)

    @functools.cached_property
    def state_like(self) -> dict[str, tf.TensorSpec]:
        """The state of the optimizer on the problem, leaves [F, 1, N]."""
        state = self._optimizer.init_state(self._optimizer.init_weights(0), layout_of(self._problem), 1, 0)
        return {name: tf.TensorSpec(leaf.shape, leaf.dtype if tf.is_tensor(leaf) else tf.float32) for name, leaf in state.items()}

    def __call__(self, weights: Weights, particles: Particles, steps: tf.Tensor, seed: int, bound: int | None = None) -> Estimate:
        """The estimate of one truncation.

        Args:
            steps: at most `bound`.
            seed: the perturbations are drawn with it.
            bound: what the truncation is compiled for, by default the greatest there is.
        """
        results, after = self._run(self._truncation(bound or self._maximum), weights, particles, steps, seed)
        diverged = np.any([carry.diverged.numpy() != RUNNING for carry in after.carries], axis=0)
        return Estimate._make([*self._summarize(*results), after, int(diverged.sum())])

    @abc.abstractmethod
    def _run(
        self, truncation: Truncation, weights: Weights, particles: Particles, steps: tf.Tensor, seed: int
    ) -> tuple[Sequence[Any], Particles]:
        """The truncations of one call: their results, for `summarize`, and the particles afterwards."""

    @staticmethod
    @abc.abstractmethod
    def summarize(layout: Layout, spec: Estimator, *results: Any) -> Summary:
        """What the results of `_run` say; traced once for all families."""

    def _halves(self, function: Callable, weights: Weights, seed: int, carries: Sequence[Carry], steps: tf.Tensor) -> list:
        """A function of `Truncation` at w + e from the first carry and at w - e from the last; and e, [I, W] or shared [1, W]."""
        rows = 1 if self._spec.shared else carries[0].step.shape[0]
        # Drawn by numpy, which does it in a third of XLA's time.
        noise = np.random.default_rng(seed).standard_normal((rows, self.layout.parameters), np.float32)
        noise = tf.constant(np.float32(self._spec.sigma) * noise)
        plus, minus = self._perturbed(weights, noise)
        mapping = self._pool.map if self._pool is not None else map
        return [*mapping(lambda vector, carry: function(vector, carry, steps), (plus, minus), (carries[0], carries[-1])), noise]

    def _pairs(
        self, function: Callable, weights: Weights, carry: Carry, steps: tf.Tensor, seed: int, columns: Sequence[int]
    ) -> tuple[Sequence[Any], Any]:
        """The perturbations of all pairs, and of each of the columns of the function's results those at w + e and at w - e.

        Returns:
            Those, and all that the last pair gave at w + e.
        """
        seeds = [int(np.random.SeedSequence([seed, pair]).generate_state(1)[0]) for pair in range(self._spec.pairs)]
        pairs = [self._halves(function, weights, own, (carry,), steps) for own in seeds]
        plus, minus, noise = zip(*pairs, strict=True)
        values = [[half[column] for half in halves] for column in columns for halves in (plus, minus)]
        return (noise, *values), plus[-1]


def summary_of(samples: tf.Tensor, values: tf.Tensor, diagnostics: dict[str, tf.Tensor]) -> Summary:
    """The mean of samples [N, W] of the meta-gradient, of the objectives `values`; entries not finite are set to 0."""
    samples, nonfinite = finite(samples)
    gradient = tf.reduce_mean(samples, axis=0)
    return gradient, tf.reduce_mean(values), global_norm(gradient), nonfinite, diagnostics


def finite(samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The samples, entries that are not finite set to 0, and how many they are."""
    finite = tf.math.is_finite(samples)
    return tf.where(finite, samples, 0.0), tf.reduce_sum(tf.cast(~finite, tf.int32))


@functools.cache
def _graphs(kind: type[MetaGradient], layout: Layout, spec: Estimator, xla: bool) -> tuple[Graph, Graph, Graph]:
    """Those that all families share: of the packed weights [W], of perturbed ones, and of `summarize`."""

    def perturbed(weights: Weights, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """w + e and w - e, for e [I or 1, W]: like e, or [W] where the instances share it."""
        vector = packed(weights, layout)
        plus, minus = vector + noise, vector - noise
        return (plus[0], minus[0]) if spec.shared else (plus, minus)

    return (
        Graph(lambda weights: packed(weights, layout), "packed weights", xla),
        Graph(perturbed, "perturbed weights", xla),
        Graph(functools.partial(kind.summarize, layout, spec), f"{kind.__name__} {spec}", xla),
    )
